//! Numbers in the order in which a tile reads them.
//!
//! A strip has some lanes, rows of the left factor or columns of the right one. It holds the first two
//! inputs of each lane, then the next two, and so on: `[pairs, lanes]`, the earlier input of a pair in
//! the lower half. Lanes and inputs that don't exist are 0.

use super::round;
use crate::cpu::strips::Lanes;

/// Writes a strip of `WIDTH` lanes.
///
/// # Panics
/// A strip of another length, and lanes that end beyond their slice.
#[cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "calls what it has looked for"))]
pub(crate) fn fill<const WIDTH: usize>(strip: &mut [u32], from: Lanes<'_>) {
    assert_eq!(strip.len(), from.n_inputs.div_ceil(2) * WIDTH, "a strip holds all pairs");
    assert!(from.n_lanes <= WIDTH && from.is_inside(), "lanes end beyond their slice");
    #[cfg(target_arch = "x86_64")]
    if super::is_fast() && (from.lane == 1 || from.input == 1) {
        // SAFETY: the processor has the instructions, the strip all pairs, the slice all lanes.
        return unsafe {
            if from.input == 1 {
                avx512::transpose::<WIDTH>(strip, from);
            } else {
                avx512::interleave::<WIDTH>(strip, from);
            }
        };
    }
    fill_one_by_one::<WIDTH>(strip, from);
}

/// Writes one lane's pairs.
///
/// # Panics
/// Not as many pairs as there are.
#[cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "calls what it has looked for"))]
pub(crate) fn fill_row(row: &mut [u32], inputs: &[f32]) {
    assert_eq!(row.len(), inputs.len().div_ceil(2), "a row holds all pairs");
    #[cfg(target_arch = "x86_64")]
    if super::is_fast() {
        // SAFETY: the processor has the instructions, the row all pairs.
        return unsafe { avx512::narrow(row, inputs) };
    }
    let n_inputs = inputs.len();
    fill_one_by_one::<1>(
        row,
        Lanes { data: inputs, n_lanes: 1, n_inputs, lane: n_inputs, input: 1 },
    );
}

/// The twin of the vector code.
fn fill_one_by_one<const WIDTH: usize>(strip: &mut [u32], from: Lanes<'_>) {
    for (pair, lanes) in strip.chunks_exact_mut(WIDTH).enumerate() {
        for (lane, place) in lanes.iter_mut().enumerate() {
            let [low, high] =
                [2 * pair, 2 * pair + 1].map(|input| u32::from(round(from.at(lane, input))));
            *place = high << 16 | low;
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "vector instructions")]
mod avx512 {
    use std::arch::x86_64::*;
    use std::mem::transmute;

    use crate::cpu::strips::Lanes;
    use crate::cpu::strips::avx512::{VECTOR, lowest, turn};

    /// One lane, whose inputs lie side by side.
    ///
    /// # Safety
    /// AVX-512 with BF16; a row with all pairs.
    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) unsafe fn narrow(row: &mut [u32], inputs: &[f32]) {
        for (pairs, inputs) in row.chunks_mut(VECTOR).zip(inputs.chunks(2 * VECTOR)) {
            let [read, more] = [inputs.len(), inputs.len().saturating_sub(VECTOR)].map(lowest);
            // SAFETY: masks hide what lies beyond the inputs and the pairs.
            unsafe {
                let low = _mm512_maskz_loadu_ps(read, inputs.as_ptr());
                let high = _mm512_maskz_loadu_ps(more, inputs.as_ptr().wrapping_add(VECTOR));
                let both: __m512i = transmute(_mm512_cvtne2ps_pbh(high, low));
                _mm512_mask_storeu_epi32(pairs.as_mut_ptr().cast(), lowest(pairs.len()), both);
            }
        }
    }

    /// Lanes that lie side by side: two inputs are read and woven into one another.
    ///
    /// # Safety
    /// AVX-512 with BF16 and BW; a strip with all pairs; a slice with all lanes.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub(super) unsafe fn interleave<const WIDTH: usize>(strip: &mut [u32], from: Lanes<'_>) {
        let weave: [u16; 32] = std::array::from_fn(|i| (i / 2 + i % 2 * VECTOR) as u16);
        for first in (0..WIDTH).step_by(VECTOR) {
            let kept = lowest(WIDTH - first);
            let read = lowest(from.n_lanes.saturating_sub(first));
            // SAFETY: masks hide what lies beyond the lanes, in the slice and in the strip.
            unsafe {
                let weave = _mm512_loadu_si512(weave.as_ptr().cast());
                for (pair, lanes) in strip.chunks_exact_mut(WIDTH).enumerate() {
                    let at = from.data.as_ptr().wrapping_add(2 * pair * from.input + first);
                    let next = at.wrapping_add(from.input);
                    let more = if 2 * pair + 1 < from.n_inputs { read } else { 0 };
                    let low = _mm512_maskz_loadu_ps(read, at);
                    let high = _mm512_maskz_loadu_ps(more, next);
                    let both: __m512i = transmute(_mm512_cvtne2ps_pbh(high, low));
                    let pairs = _mm512_permutexvar_epi16(weave, both);
                    let to = lanes.as_mut_ptr().add(first);
                    _mm512_mask_storeu_epi32(to.cast(), kept, pairs);
                }
            }
        }
    }

    /// Lanes whose inputs lie side by side: blocks of 16 by 16 pairs are transposed.
    ///
    /// # Safety
    /// That of [`interleave`].
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub(super) unsafe fn transpose<const WIDTH: usize>(strip: &mut [u32], from: Lanes<'_>) {
        for first in (0..WIDTH).step_by(VECTOR) {
            let kept = lowest(WIDTH - first);
            for (block, pairs) in strip.chunks_mut(VECTOR * WIDTH).enumerate() {
                let begin = block * 2 * VECTOR;
                let n_inputs = from.n_inputs - begin;
                let [read, more] = [lowest(n_inputs), lowest(n_inputs.saturating_sub(VECTOR))];
                // SAFETY: masks hide what lies beyond the inputs; there are as many lanes as are
                // read, and the last block's pairs are counted.
                unsafe {
                    let mut rows = [_mm512_setzero_si512(); VECTOR];
                    for (lane, row) in (first..from.n_lanes).zip(&mut rows) {
                        let at = from.data.as_ptr().wrapping_add(lane * from.lane + begin);
                        let low = _mm512_maskz_loadu_ps(read, at);
                        let high = _mm512_maskz_loadu_ps(more, at.wrapping_add(VECTOR));
                        *row = transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low));
                    }
                    let columns = turn(rows);
                    for (lanes, column) in pairs.chunks_exact_mut(WIDTH).zip(columns) {
                        let to = lanes.as_mut_ptr().add(first);
                        _mm512_mask_storeu_epi32(to.cast(), kept, column);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<const WIDTH: usize>(n_lanes: usize, n_inputs: usize) {
        let special = [f32::NAN, f32::INFINITY, -0.0, 1e-40, -3.4e38, 1.001_953_1, 1.005_859_4];
        let number = |i: usize| special.get(i % 91).copied().unwrap_or((i as f32 * 0.7).sin());
        let data: Vec<f32> = (0..n_lanes * n_inputs).map(number).collect();
        let by_lane = Lanes { data: &data, n_lanes, n_inputs, lane: n_inputs, input: 1 };
        let by_input = Lanes { data: &data, n_lanes, n_inputs, lane: 1, input: n_lanes };
        for from in [by_lane, by_input] {
            let mut strip = vec![7; n_inputs.div_ceil(2) * WIDTH];
            let mut twin = strip.clone();
            fill::<WIDTH>(&mut strip, from);
            fill_one_by_one::<WIDTH>(&mut twin, from);
            assert_eq!(strip, twin, "{n_lanes} lanes of {n_inputs}, {WIDTH} wide");
        }
    }

    #[test]
    fn rows_are_strips_of_one_lane() {
        for n_inputs in [1, 2, 15, 31, 32, 33, 64, 97] {
            let inputs: Vec<f32> = (0..n_inputs).map(|i| (i as f32 * 0.7).sin()).collect();
            let mut row = vec![7; inputs.len().div_ceil(2)];
            let mut twin = row.clone();
            fill_row(&mut row, &inputs);
            let from = Lanes { data: &inputs, n_lanes: 1, n_inputs, lane: n_inputs, input: 1 };
            fill_one_by_one::<1>(&mut twin, from);
            assert_eq!(row, twin, "{n_inputs} inputs");
        }
    }

    #[test]
    fn strips_are_those_of_the_twin() {
        for n_inputs in [1, 2, 15, 31, 32, 33, 64, 97] {
            (1..=12).for_each(|n_lanes| check::<12>(n_lanes, n_inputs));
            (1..=32).for_each(|n_lanes| check::<32>(n_lanes, n_inputs));
        }
    }
}
