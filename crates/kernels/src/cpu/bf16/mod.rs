//! Matrix products of numbers rounded to bfloat16, with sums in f32.
//!
//! A bf16 number is the upper half of an f32: 8 bits of mantissa. Both factors are rounded to it (to
//! the nearest, ties to even), products are exact and sums are those of f32, so that
//!
//! `|x̂y − xy| ≤ (2⁻⁸ + n 2⁻²⁴ + …) Σ|x||y|`
//!
//! for `n` inputs: two roundings of half a unit of 2⁻⁸ each, and what the sums round away.
//!
//! Processors with AVX-512-BF16 multiply two pairs at a time in each lane, twice as many as in f32.
//! Factors are put in order in strips, a pair of neighbouring inputs beside the other lanes' pairs,
//! which is what the tile reads from front to back. Other processors run the same sums in the
//! same order one by one: [`is_fast`] says which it will be.

pub mod random;
mod strip;
mod tile;

use super::matmul::{Target, View, is_small};
use super::strips::{Begin, Columns, Lanes, Place, Rows, Unit, product as product_of};

/// `target = scale · a b` with both factors in bf16, on all threads if it is large.
///
/// # Panics
/// Shapes that don't fit together.
pub fn product(a: View<'_>, b: View<'_>, scale: f32, target: Target<'_>) {
    product_of::<Pair>(a, b, scale, target, !is_small(a, b));
}

/// [`product`] on this thread.
///
/// # Panics
/// Shapes that don't fit together.
pub fn product_here(a: View<'_>, b: View<'_>, scale: f32, target: Target<'_>) {
    product_of::<Pair>(a, b, scale, target, false);
}

/// Two neighbouring inputs of a lane, the earlier one in the lower half.
pub(super) type Pair = u32;

#[expect(unsafe_code, reason = "the output is shared by threads")]
impl Unit for Pair {
    const INPUTS: usize = 2;

    fn fill<const WIDTH: usize>(strip: &mut [Self], from: Lanes<'_>) {
        strip::fill::<WIDTH>(strip, from);
    }

    fn fill_row(row: &mut [Self], inputs: &[f32]) {
        strip::fill_row(row, inputs);
    }

    unsafe fn multiply(
        rows: Rows<'_, Self>,
        columns: Columns<'_, Self>,
        n_units: usize,
        begin: &Begin,
        place: Place,
    ) {
        // SAFETY: the caller's word.
        unsafe { tile::multiply(rows, columns, n_units, begin, place) }
    }
}

/// Whether this processor multiplies bf16 by instructions of its own. Without, products are the same
/// and many times slower than in f32.
pub fn is_fast() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        is_x86_feature_detected!("avx512bf16")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512f")
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// The upper half of the nearest f32 with a mantissa of 8 bits, ties to even. Numbers below the
/// smallest normal one become 0, as they do by AVX-512-BF16.
#[inline(always)]
pub fn round(x: f32) -> u16 {
    let bits = x.to_bits();
    if x.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    if bits & 0x7f80_0000 == 0 {
        return (bits >> 16) as u16 & 0x8000;
    }
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// The number that [`round`] stands for.
#[inline(always)]
pub fn widen(x: u16) -> f32 {
    f32::from_bits(u32::from(x) << 16)
}
