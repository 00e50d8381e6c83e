//! Strips of f32: a unit is one input.

use super::{Begin, COLUMNS, Columns, Lanes, Place, ROWS, Rows, SAME_LINES, Unit};

#[expect(unsafe_code, reason = "the output is shared by threads; vector instructions")]
impl Unit for f32 {
    const INPUTS: usize = 1;

    fn fill<const WIDTH: usize>(strip: &mut [Self], from: Lanes<'_>) {
        assert_eq!(strip.len(), from.n_inputs * WIDTH, "a strip holds all inputs");
        assert!(from.n_lanes <= WIDTH && from.is_inside(), "lanes end beyond their slice");
        #[cfg(target_arch = "x86_64")]
        if super::is_fast() && (from.lane == 1 || from.input == 1) {
            // SAFETY: the processor has the instructions, the strip all inputs, the slice all lanes.
            return unsafe {
                if from.input == 1 {
                    avx512::transpose::<WIDTH>(strip, from);
                } else {
                    avx512::copy::<WIDTH>(strip, from);
                }
            };
        }
        fill_one_by_one::<WIDTH>(strip, from);
    }

    fn fill_row(row: &mut [Self], inputs: &[f32]) {
        row.copy_from_slice(inputs);
    }

    fn as_they_lie(lanes: Lanes<'_>) -> Option<&[Self]> {
        let Lanes { data, lane, input, .. } = lanes;
        let fits = lane.min(input) == 1 && !lane.max(input).is_multiple_of(SAME_LINES);
        fits.then_some(data)
    }

    unsafe fn multiply(
        rows: Rows<'_, Self>,
        columns: Columns<'_, Self>,
        n_units: usize,
        begin: &Begin,
        place: Place,
    ) {
        debug_assert!(place.shape[0] <= ROWS && place.shape[1] <= COLUMNS);
        rows.check(place.shape[0], n_units);
        columns.check(n_units);
        #[cfg(target_arch = "x86_64")]
        if super::is_fast() {
            // SAFETY: the processor has the instructions; the rest is the caller's word.
            return unsafe { avx512::tile(rows, columns, n_units, begin, place) };
        }
        // SAFETY: the caller's word.
        unsafe { multiply_one_by_one(rows, columns, n_units, begin, place) }
    }
}

/// The twin of the vector code.
fn fill_one_by_one<const WIDTH: usize>(strip: &mut [f32], from: Lanes<'_>) {
    for (input, lanes) in strip.chunks_exact_mut(WIDTH).enumerate() {
        lanes.iter_mut().enumerate().for_each(|(lane, place)| *place = from.at(lane, input));
    }
}

/// The same sums in the same order.
///
/// # Safety
/// That of [`Unit::multiply`].
#[expect(unsafe_code, reason = "the output is shared by threads")]
unsafe fn multiply_one_by_one(
    rows: Rows<'_, f32>,
    columns: Columns<'_, f32>,
    n_units: usize,
    begin: &Begin,
    place: Place,
) {
    for row in 0..place.shape[0] {
        for (column, begin) in begin.iter().enumerate().take(place.shape[1]) {
            let sum = (0..n_units).fold(*begin, |sum, unit| {
                let x = rows.data[row * rows.row + unit * rows.unit];
                x.mul_add(columns.data[unit * columns.unit + column], sum)
            });
            // SAFETY: the caller's word.
            unsafe {
                let target = place.target.add(row * place.stride + column);
                *target = place.scale * sum + if place.adds { *target } else { 0.0 };
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "vector instructions")]
mod avx512 {
    use std::arch::x86_64::*;

    use crate::cpu::strips::avx512::{VECTOR, lowest, turn};
    use crate::cpu::strips::{Begin, Columns, Lanes, Place, Rows, write};

    /// Lanes that lie side by side are copied.
    ///
    /// # Safety
    /// AVX-512; a strip with all inputs; a slice with all lanes.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn copy<const WIDTH: usize>(strip: &mut [f32], from: Lanes<'_>) {
        for first in (0..WIDTH).step_by(VECTOR) {
            let kept = lowest(WIDTH - first);
            let read = lowest(from.n_lanes.saturating_sub(first));
            for (input, lanes) in strip.chunks_exact_mut(WIDTH).enumerate() {
                let at = from.data.as_ptr().wrapping_add(input * from.input + first);
                // SAFETY: masks hide what lies beyond the lanes, in the slice and in the strip.
                unsafe {
                    let numbers = _mm512_maskz_loadu_ps(read, at);
                    _mm512_mask_storeu_ps(lanes.as_mut_ptr().add(first), kept, numbers);
                }
            }
        }
    }

    /// Lanes whose inputs lie side by side: blocks of 16 by 16 are transposed.
    ///
    /// # Safety
    /// That of [`copy`].
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn transpose<const WIDTH: usize>(strip: &mut [f32], from: Lanes<'_>) {
        for first in (0..WIDTH).step_by(VECTOR) {
            let kept = lowest(WIDTH - first);
            for (block, inputs) in strip.chunks_mut(VECTOR * WIDTH).enumerate() {
                let begin = block * VECTOR;
                let read = lowest(from.n_inputs - begin);
                // SAFETY: masks hide what lies beyond the inputs; there are as many lanes as are
                // read, and the last block's inputs are counted.
                unsafe {
                    let mut rows = [_mm512_setzero_si512(); VECTOR];
                    for (lane, row) in (first..from.n_lanes).zip(&mut rows) {
                        let at = from.data.as_ptr().wrapping_add(lane * from.lane + begin);
                        *row = _mm512_castps_si512(_mm512_maskz_loadu_ps(read, at));
                    }
                    for (lanes, column) in inputs.chunks_exact_mut(WIDTH).zip(turn(rows)) {
                        let to = lanes.as_mut_ptr().add(first);
                        _mm512_mask_storeu_epi32(to.cast(), kept, column);
                    }
                }
            }
        }
    }

    /// # Safety
    /// That of [`Unit::multiply`](super::Unit::multiply), and AVX-512.
    pub(super) unsafe fn tile(
        rows: Rows<'_, f32>,
        columns: Columns<'_, f32>,
        n_units: usize,
        begin: &Begin,
        place: Place,
    ) {
        macro_rules! by_rows {
            ($($count:literal)*) => {
                match (place.shape[0], place.shape[1] > VECTOR) {
                    // SAFETY: passed on from the caller.
                    $(($count, true) => unsafe { sum::<$count, 2>(rows, columns, n_units, begin, place) },
                    ($count, false) => unsafe { sum::<$count, 1>(rows, columns, n_units, begin, place) },)*
                    _ => {}
                }
            };
        }
        by_rows!(1 2 3 4 5 6 7 8 9 10 11 12);
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn sum<const M: usize, const VECTORS: usize>(
        rows: Rows<'_, f32>,
        columns: Columns<'_, f32>,
        n_units: usize,
        begin: &Begin,
        place: Place,
    ) {
        let (mut x, mut y) = (rows.data.as_ptr(), columns.data.as_ptr());
        if place.adds {
            // What is added to is fetched meanwhile.
            for row in 0..M {
                let target = place.target.wrapping_add(row * place.stride);
                _mm_prefetch::<_MM_HINT_T0>(target.cast());
                _mm_prefetch::<_MM_HINT_T0>(target.wrapping_add(VECTOR).cast());
            }
        }
        // SAFETY: strips have as many inputs as are read; the caller answers for the target.
        unsafe {
            let mut sums = [[_mm512_setzero_ps(); VECTORS]; M];
            for sums in &mut sums {
                for (half, sum) in sums.iter_mut().enumerate() {
                    *sum = _mm512_loadu_ps(begin.as_ptr().add(half * VECTOR));
                }
            }
            for _ in 0..n_units {
                let mut weights = [_mm512_setzero_ps(); VECTORS];
                for (half, weights) in weights.iter_mut().enumerate() {
                    *weights = _mm512_loadu_ps(y.add(half * VECTOR));
                }
                for (row, sums) in sums.iter_mut().enumerate() {
                    let x = _mm512_set1_ps(*x.add(row * rows.row));
                    for (sum, weights) in sums.iter_mut().zip(weights) {
                        *sum = _mm512_fmadd_ps(x, weights, *sum);
                    }
                }
                x = x.wrapping_add(rows.unit);
                y = y.wrapping_add(columns.unit);
            }
            write(sums, place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize) -> Vec<f32> {
        (0..count).map(|i| (i as f32 * 0.7).sin()).collect()
    }

    fn check_fill<const WIDTH: usize>(n_lanes: usize, n_inputs: usize) {
        let data = numbers(n_lanes * n_inputs);
        let by_lane = Lanes { data: &data, n_lanes, n_inputs, lane: n_inputs, input: 1 };
        let by_input = Lanes { data: &data, n_lanes, n_inputs, lane: 1, input: n_lanes };
        for from in [by_lane, by_input] {
            let mut strip = vec![7.0; n_inputs * WIDTH];
            let mut twin = strip.clone();
            f32::fill::<WIDTH>(&mut strip, from);
            fill_one_by_one::<WIDTH>(&mut twin, from);
            assert_eq!(strip, twin, "{n_lanes} lanes of {n_inputs}, {WIDTH} wide");
        }
    }

    #[test]
    fn strips_are_those_of_the_twin() {
        for n_inputs in [1, 2, 15, 16, 17, 33, 64, 97] {
            (1..=ROWS).for_each(|n_lanes| check_fill::<ROWS>(n_lanes, n_inputs));
            (1..=COLUMNS).for_each(|n_lanes| check_fill::<COLUMNS>(n_lanes, n_inputs));
        }
    }

    type Multiply = unsafe fn(Rows<'_, f32>, Columns<'_, f32>, usize, &Begin, Place);

    /// The instructions and their twin agree to the last bit, for all shapes of a tile.
    #[test]
    #[expect(unsafe_code, reason = "kernels are called one by one")]
    fn sums_are_those_of_the_twin() {
        const N_UNITS: usize = 57;
        let (x, y) = (numbers(N_UNITS * 60), numbers(N_UNITS * 40));
        let begin = std::array::from_fn(|column| column as f32 * 0.25);
        let left = [
            Rows::of_strip(&x[..N_UNITS * ROWS]),
            Rows { data: &x, row: 59, unit: 1 },
            Rows { data: &x, row: 1, unit: 60 },
        ];
        for (rows, unit) in left.into_iter().zip([COLUMNS, 40, 40]) {
            let columns = Columns { data: &y, unit };
            for n_rows in 1..=ROWS {
                for n_columns in [1, 15, 16, 17, 31, 32] {
                    let run = |by: Multiply| {
                        let mut sums = vec![0.5; ROWS * 40];
                        let (target, shape) = (sums.as_mut_ptr(), [n_rows, n_columns]);
                        let place = Place { target, stride: 40, shape, scale: 0.75, adds: true };
                        // SAFETY: the buffer has all rows and columns.
                        unsafe { by(rows, columns, N_UNITS, &begin, place) };
                        sums
                    };
                    let [sums, twin] = [run(f32::multiply), run(multiply_one_by_one)];
                    assert_eq!(sums, twin, "{n_rows} by {n_columns}");
                }
            }
        }
    }
}
