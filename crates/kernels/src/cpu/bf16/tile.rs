//! The innermost loops: a few rows by one strip of columns, with the sums in registers.

use super::Pair;
use crate::cpu::strips::{Begin, Columns, Place, Rows};

/// Multiplies some rows by a strip of columns, pair by pair.
///
/// # Safety
/// That of [`Unit::multiply`](crate::cpu::strips::Unit::multiply).
///
/// # Panics
/// Rows or columns that end beyond their slices.
#[expect(unsafe_code, reason = "the output is shared by threads; vector instructions")]
pub(crate) unsafe fn multiply(
    rows: Rows<'_, Pair>,
    columns: Columns<'_, Pair>,
    n_pairs: usize,
    begin: &Begin,
    place: Place,
) {
    rows.check(place.shape[0], n_pairs);
    columns.check(n_pairs);
    #[cfg(target_arch = "x86_64")]
    if super::is_fast() {
        // SAFETY: the processor has the instructions; the rest is the caller's word.
        return unsafe { avx512::tile(rows, columns, n_pairs, begin, place) };
    }
    // SAFETY: the caller's word.
    unsafe { one_by_one(rows, columns, n_pairs, begin, place) }
}

/// The same sums in the same order: a pair's later product first, as the instruction adds them.
///
/// # Safety
/// That of [`multiply`].
#[expect(unsafe_code, reason = "the output is shared by threads")]
unsafe fn one_by_one(
    rows: Rows<'_, Pair>,
    columns: Columns<'_, Pair>,
    n_pairs: usize,
    begin: &Begin,
    place: Place,
) {
    let halves = |pair: u32| [f32::from_bits(pair << 16), f32::from_bits(pair & 0xffff_0000)];
    for row in 0..place.shape[0] {
        for (column, begin) in begin.iter().enumerate().take(place.shape[1]) {
            let mut sum = *begin;
            for pair in 0..n_pairs {
                let x = rows.data[row * rows.row + pair * rows.unit];
                let y = columns.data[pair * columns.unit + column];
                let ([x, x_later], [y, y_later]) = (halves(x), halves(y));
                // Products of bf16 are exact in f32.
                sum = x * y + (x_later * y_later + sum);
            }
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
    use std::mem::transmute;

    use crate::cpu::bf16::Pair;
    use crate::cpu::strips::{Begin, Columns, Place, Rows, write};

    /// # Safety
    /// That of [`multiply`](super::multiply), and AVX-512 with BF16.
    pub(super) unsafe fn tile(
        rows: Rows<'_, Pair>,
        columns: Columns<'_, Pair>,
        n_pairs: usize,
        begin: &Begin,
        place: Place,
    ) {
        macro_rules! by_rows {
            ($($count:literal)*) => {
                match place.shape[0] {
                    // SAFETY: passed on from the caller.
                    $($count => unsafe { sum::<$count>(rows, columns, n_pairs, begin, place) },)*
                    _ => {}
                }
            };
        }
        by_rows!(1 2 3 4 5 6 7 8 9 10 11 12);
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn sum<const M: usize>(
        rows: Rows<'_, Pair>,
        columns: Columns<'_, Pair>,
        n_pairs: usize,
        begin: &Begin,
        place: Place,
    ) {
        let (mut x, mut y) = (rows.data.as_ptr(), columns.data.as_ptr());
        // SAFETY: rows and columns have as many pairs as are read, and the caller answers for the
        // target, of which masks hide the columns that don't exist.
        unsafe {
            let begin = [_mm512_loadu_ps(begin.as_ptr()), _mm512_loadu_ps(begin.as_ptr().add(16))];
            let mut sums = [begin; M];
            for _ in 0..n_pairs {
                let low: __m512bh = transmute(_mm512_loadu_si512(y.cast()));
                let high: __m512bh = transmute(_mm512_loadu_si512(y.add(16).cast()));
                for (row, sums) in sums.iter_mut().enumerate() {
                    let pair = _mm512_set1_epi32(*x.add(row * rows.row) as i32);
                    let pair: __m512bh = transmute(pair);
                    sums[0] = _mm512_dpbf16_ps(sums[0], pair, low);
                    sums[1] = _mm512_dpbf16_ps(sums[1], pair, high);
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
    use crate::cpu::bf16::round;
    use crate::cpu::strips::{COLUMNS, ROWS};

    fn pairs(count: usize, salt: usize) -> Vec<Pair> {
        let number = |i: usize| u32::from(round(((i * 37 + salt) as f32 * 0.31).sin()));
        (0..count).map(|i| number(2 * i) | number(2 * i + 1) << 16).collect()
    }

    type Multiply = unsafe fn(Rows<'_, Pair>, Columns<'_, Pair>, usize, &Begin, Place);

    /// The instruction and its twin agree to the last bit, for all shapes of a tile.
    #[test]
    #[expect(unsafe_code, reason = "kernels are called one by one")]
    fn sums_are_those_of_the_twin() {
        const N_PAIRS: usize = 57;
        let (x, y) = (pairs(N_PAIRS * 60, 1), pairs(N_PAIRS * COLUMNS, 2));
        let begin = std::array::from_fn(|column| column as f32 * 0.25);
        let columns = Columns::of_strip(&y);
        for rows in [Rows::of_strip(&x), Rows { data: &x, row: 60, unit: 1 }] {
            for n_rows in 1..=ROWS {
                for n_columns in [1, 15, 16, 17, 31, 32] {
                    let run = |by: Multiply| {
                        let mut sums = vec![0.5; ROWS * 40];
                        let (target, shape) = (sums.as_mut_ptr(), [n_rows, n_columns]);
                        let place = Place { target, stride: 40, shape, scale: 0.75, adds: true };
                        // SAFETY: the buffer has all rows and columns.
                        unsafe { by(rows, columns, N_PAIRS, &begin, place) };
                        sums
                    };
                    assert_eq!(run(multiply), run(one_by_one), "{n_rows} by {n_columns}");
                }
            }
        }
    }
}
