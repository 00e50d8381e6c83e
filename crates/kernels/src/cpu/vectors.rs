//! Numbers side by side in a vector of the processor, however many it holds.
//!
//! All of this is inlined into functions that are compiled for each kind of vector.

use pulp::{Simd, bytemuck};

use super::math::{HIGHEST, LN_2, LOWEST, SERIES, WHOLE};

/// The most numbers that a vector holds.
pub(super) const MOST_LANES: usize = 16;

/// The first numbers, a lane to each.
#[inline(always)]
pub(super) fn load<S: Simd>(simd: S, numbers: &[f32; MOST_LANES]) -> S::f32s {
    simd.partial_load_f32s(&numbers[..S::F32_LANES])
}

/// The numbers of the lanes.
#[inline(always)]
pub(super) fn numbers<S: Simd>(lanes: &S::f32s) -> &[f32] {
    bytemuck::cast_slice(std::slice::from_ref(lanes))
}

/// Counts from a number on, a lane to each.
#[inline(always)]
pub(super) fn count_from<S: Simd>(simd: S, first: usize) -> S::u32s {
    let mut numbers = [0; MOST_LANES];
    for (lane, number) in numbers.iter_mut().enumerate() {
        *number = (first + lane) as u32;
    }
    simd.partial_load_u32s(&numbers[..S::U32_LANES])
}

/// `Σ heads[i] one[i]`: of a head in each lane with the same one.
#[inline(always)]
pub(super) fn dot_across<S: Simd, const D: usize>(
    simd: S,
    heads: &[S::f32s; D],
    one: &[f32; D],
) -> S::f32s {
    let mut sum = simd.mul_f32s(heads[0], simd.splat_f32s(one[0]));
    for i in 1..D {
        sum = simd.mul_add_e_f32s(heads[i], simd.splat_f32s(one[i]), sum);
    }
    sum
}

/// `heads[i] += times one[i]`
#[inline(always)]
pub(super) fn add_scaled<S: Simd, const D: usize>(
    simd: S,
    heads: &mut [S::f32s; D],
    times: S::f32s,
    one: &[f32; D],
) {
    for i in 0..D {
        heads[i] = simd.mul_add_e_f32s(times, simd.splat_f32s(one[i]), heads[i]);
    }
}

/// [`exp`](super::math::exp) of each lane.
#[inline(always)]
pub(super) fn exp<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let number = |it: f32| simd.splat_f32s(it);
    let inside = simd.min_f32s(simd.max_f32s(x, number(LOWEST)), number(HIGHEST));
    let shifted = simd.mul_add_e_f32s(inside, number(std::f32::consts::LOG2_E), number(WHOLE));
    let n = simd.sub_f32s(shifted, number(WHOLE));
    let rest = simd.mul_add_e_f32s(n, number(-LN_2[0]), inside);
    let rest = simd.mul_add_e_f32s(n, number(-LN_2[1]), rest);
    let mut p = number(SERIES[0]);
    for factor in &SERIES[1..] {
        p = simd.mul_add_e_f32s(p, rest, number(*factor));
    }
    // 1 + rest + rest² p
    let p = simd.mul_add_e_f32s(simd.mul_f32s(rest, rest), p, rest);
    let bits = simd.transmute_u32s_f32s(shifted);
    let bits = simd.add_u32s(bits, simd.splat_u32s(127_u32.wrapping_sub(WHOLE.to_bits())));
    let power = simd.transmute_f32s_u32s(simd.wrapping_dyn_shl_u32s(bits, simd.splat_u32s(23)));
    let result = simd.mul_add_e_f32s(p, power, power);
    simd.select_f32s(simd.less_than_f32s(x, number(LOWEST)), number(0.0), result)
}
