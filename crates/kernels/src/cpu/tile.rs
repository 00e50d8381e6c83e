//! The innermost loops of [`packed`](super::packed): a few rows by one panel, with the sums in
//! registers.

use super::packed::Rows;
use super::pieces::Number;

/// Output columns of a panel.
pub(super) const WIDTH: usize = 32;

/// The weights of one input in a panel, on a cache line's border.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Columns(pub(super) [f32; WIDTH]);

impl Number for Columns {}

impl Columns {
    pub(super) const ZERO: Self = Self([0.0; WIDTH]);
}

/// Where the first row's first column goes, how far rows are apart, and whether to add.
pub(super) type Place = (*mut f32, usize, bool);

/// All rows by one panel, of which `width` columns exist.
///
/// # Safety
/// The rows must lie within the input's slice, as wide as the panel is long. The columns of each row
/// at `place` must be writable and nobody else's.
#[expect(unsafe_code, reason = "the output is shared by threads; vector instructions")]
pub(super) unsafe fn multiply_panel(
    input: Rows<'_>,
    panel: &[Columns],
    begin: &Columns,
    place: Place,
    width: usize,
) {
    let (rows_of_a_tile, tile) = kernel();
    let (target, stride, adds) = place;
    let mut first = 0;
    while first < input.count {
        let count = rows_of_a_tile.min(input.count - first);
        let x = &input.data[first * input.stride..];
        // SAFETY: passed on from the caller; the panel that isn't full goes through a buffer that is.
        unsafe {
            let target = target.add(first * stride);
            if width == WIDTH {
                tile(x, input.stride, panel, begin, (target, stride, adds), count);
            } else {
                let mut whole = [0.0; MAX_ROWS * WIDTH];
                tile(x, input.stride, panel, begin, (whole.as_mut_ptr(), WIDTH, false), count);
                for (row, sums) in whole.chunks_exact(WIDTH).take(count).enumerate() {
                    let target = std::slice::from_raw_parts_mut(target.add(row * stride), width);
                    for (y, sum) in target.iter_mut().zip(sums) {
                        *y = if adds { *y + sum } else { *sum };
                    }
                }
            }
        }
        first += count;
    }
}

/// Rows of the largest tile of any kernel.
const MAX_ROWS: usize = 12;

/// Some rows, at most as many as the kernel takes, by a panel.
type Tile = unsafe fn(&[f32], usize, &[Columns], &Columns, Place, usize);

/// The kernel for the processor at hand, and how many rows it takes.
fn kernel() -> (usize, Tile) {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            return (12, avx512::tile);
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return (6, avx2::tile);
        }
    }
    (4, portable)
}

/// Defines a kernel of vectors with `$lanes` numbers: two of them are a part of a panel's columns,
/// and two for each row hold sums.
#[cfg(target_arch = "x86_64")]
macro_rules! kernel {
    ($name:ident, $features:literal, $lanes:literal, [$($rows:literal)*],
     $load:ident, $set:ident, $fma:ident, $add:ident, $store:ident) => {
        #[expect(unsafe_code, reason = "vector instructions")]
        mod $name {
            use std::arch::x86_64::{$add, $fma, $load, $set, $store};

            use super::{Columns, Place, WIDTH};

            /// # Safety
            /// Those of [`multiply_panel`](super::multiply_panel), and the processor's support.
            pub(super) unsafe fn tile(
                x: &[f32],
                stride: usize,
                panel: &[Columns],
                begin: &Columns,
                place: Place,
                count: usize,
            ) {
                // SAFETY: passed on from the caller.
                unsafe {
                    match count {
                        $($rows => rows::<$rows>(x, stride, panel, begin, place),)*
                        _ => unreachable!("the kernel was given more rows than it takes"),
                    }
                }
            }

            #[target_feature(enable = $features)]
            unsafe fn rows<const M: usize>(
                x: &[f32],
                stride: usize,
                panel: &[Columns],
                begin: &Columns,
                (target, target_stride, adds): Place,
            ) {
                let last = (M - 1) * stride + panel.len();
                assert!(last <= x.len(), "the rows end beyond their slice");
                let x = x.as_ptr();
                for part in (0..WIDTH).step_by(2 * $lanes) {
                    // SAFETY: columns have `WIDTH` numbers, rows were checked above, and the caller
                    // answers for the target.
                    unsafe {
                        let begin = begin.0.as_ptr().add(part);
                        let mut sums = [[$load(begin), $load(begin.add($lanes))]; M];
                        for (input, columns) in panel.iter().enumerate() {
                            let weights = columns.0.as_ptr().add(part);
                            let (low, high) = ($load(weights), $load(weights.add($lanes)));
                            for row in 0..M {
                                let x = $set(*x.add(row * stride + input));
                                sums[row][0] = $fma(x, low, sums[row][0]);
                                sums[row][1] = $fma(x, high, sums[row][1]);
                            }
                        }
                        for (row, sums) in sums.into_iter().enumerate() {
                            for (half, sum) in sums.into_iter().enumerate() {
                                let at = row * target_stride + part + half * $lanes;
                                let y = target.add(at);
                                $store(y, if adds { $add($load(y), sum) } else { sum });
                            }
                        }
                    }
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
kernel!(
    avx512, "avx512f", 16, [1 2 3 4 5 6 7 8 9 10 11 12],
    _mm512_loadu_ps, _mm512_set1_ps, _mm512_fmadd_ps, _mm512_add_ps, _mm512_storeu_ps
);
#[cfg(target_arch = "x86_64")]
kernel!(
    avx2, "avx2,fma", 8, [1 2 3 4 5 6],
    _mm256_loadu_ps, _mm256_set1_ps, _mm256_fmadd_ps, _mm256_add_ps, _mm256_storeu_ps
);

/// The kernel of other processors, left to the compiler.
///
/// # Safety
/// Those of [`multiply_panel`].
#[expect(unsafe_code, reason = "the output is shared by threads")]
unsafe fn portable(
    x: &[f32],
    stride: usize,
    panel: &[Columns],
    begin: &Columns,
    (target, target_stride, adds): Place,
    count: usize,
) {
    const FUSED: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));
    for row in 0..count {
        let mut sums = begin.0;
        for (x, columns) in x[row * stride..].iter().zip(panel) {
            for (sum, weight) in sums.iter_mut().zip(&columns.0) {
                *sum = if FUSED { x.mul_add(*weight, *sum) } else { x * weight + *sum };
            }
        }
        // SAFETY: the caller answers for the target.
        let target =
            unsafe { std::slice::from_raw_parts_mut(target.add(row * target_stride), WIDTH) };
        for (y, sum) in target.iter_mut().zip(sums) {
            *y = if adds { *y + sum } else { sum };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernels that this processor has all compute the same, but for rounding.
    #[test]
    #[expect(unsafe_code, reason = "kernels are called one by one")]
    fn kernels_agree() {
        let panel: Vec<Columns> = (0..50)
            .map(|k| Columns(std::array::from_fn(|c| ((k * 7 + c * 3) % 13) as f32 - 6.0)))
            .collect();
        let x: Vec<f32> = (0..4 * 50).map(|i| (i % 17) as f32 * 0.1).collect();
        let begin = Columns([0.5; WIDTH]);
        let run = |tile: Tile| {
            let mut y = vec![2.0; 4 * WIDTH];
            // SAFETY: four rows of 50 numbers, four rows of the output, and a processor that was
            // asked for what it has.
            unsafe { tile(&x, 50, &panel, &begin, (y.as_mut_ptr(), WIDTH, true), 4) };
            y
        };
        let want = run(portable);
        let mut tiles = vec![kernel().1];
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            tiles.push(avx2::tile);
        }
        for tile in tiles {
            for (got, want) in run(tile).iter().zip(&want) {
                assert!((got - want).abs() < 1e-3, "{got} and {want}");
            }
        }
    }
}
