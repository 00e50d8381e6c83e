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

mod product;
pub mod random;
pub(super) mod strip;
pub(super) mod tile;

pub use product::{product, product_here};

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
