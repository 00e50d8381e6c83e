//! An update of weights in one pass over memory.

use burn::tensor::bf16;
use multiversion::multiversion;
use rayon::prelude::*;

use super::bf16::random::{Noise, PIECE, round_at_random};
use super::bf16::widen;
use super::math::dot;
use crate::AdamW;

/// One step of AdamW (Loshchilov and Hutter, 2019) on a tensor and its moments, in place.
///
/// # Panics
/// Lengths that differ.
pub fn adamw(weights: &mut [f32], grad: &[f32], [first, second]: [&mut [f32]; 2], step: &AdamW) {
    let count = weights.len();
    assert!([grad.len(), first.len(), second.len()] == [count; 3], "lengths differ");
    let pieces = weights.par_chunks_mut(PIECE).zip(grad.par_chunks(PIECE));
    let moments = first.par_chunks_mut(PIECE).zip(second.par_chunks_mut(PIECE));
    pieces.zip(moments).for_each(|((weights, grad), (first, second))| {
        adamw_piece(weights, grad, [first, second], step);
    });
}

/// [`adamw`] with moments that are rounded [at random](super::bf16::random).
///
/// # Panics
/// Lengths that differ.
pub fn adamw_bf16(
    weights: &mut [f32],
    grad: &[f32],
    [first, second]: [&mut [bf16]; 2],
    step: &AdamW,
) {
    let count = weights.len();
    assert!([grad.len(), first.len(), second.len()] == [count; 3], "lengths differ");
    let pieces = weights.par_chunks_mut(PIECE).zip(grad.par_chunks(PIECE));
    let moments = first.par_chunks_mut(PIECE).zip(second.par_chunks_mut(PIECE));
    pieces.zip(moments).enumerate().for_each(|(piece, ((weights, grad), (first, second)))| {
        let noise = Noise::new(step.seed, piece);
        adamw_bf16_piece(weights, grad, [first, second], step, noise);
    });
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma"))]
fn adamw_piece(weights: &mut [f32], grad: &[f32], [first, second]: [&mut [f32]; 2], step: &AdamW) {
    let cells = weights.iter_mut().zip(grad).zip(first.iter_mut().zip(second.iter_mut()));
    for ((weight, grad), (first, second)) in cells {
        [*weight, *first, *second] = adamw_cell(*weight, *grad, [*first, *second], step);
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+fma", "x86_64+avx2+fma"))]
fn adamw_bf16_piece(
    weights: &mut [f32],
    grad: &[f32],
    [first, second]: [&mut [bf16]; 2],
    step: &AdamW,
    noise: Noise,
) {
    let cells = weights.iter_mut().zip(grad).zip(first.iter_mut().zip(second.iter_mut()));
    for (place, ((weight, grad), (first, second))) in cells.enumerate() {
        let moments = [widen(first.to_bits()), widen(second.to_bits())];
        let [updated, m, v] = adamw_cell(*weight, *grad, moments, step);
        let [draw, other] = noise.at(place as u32);
        *weight = updated;
        *first = bf16::from_bits(round_at_random(m, draw));
        *second = bf16::from_bits(round_at_random(v, other));
    }
}

/// A weight and its moments after the step.
#[inline(always)]
fn adamw_cell(weight: f32, grad: f32, [m, v]: [f32; 2], step: &AdamW) -> [f32; 3] {
    let AdamW { keep, rate, beta1, beta2, root_correction, epsilon, grad_scale, .. } = *step;
    let g = grad * grad_scale;
    let m = m * beta1 + g * (1.0 - beta1);
    let v = v * beta2 + g * g * (1.0 - beta2);
    [weight * keep - m / (v.sqrt() / root_correction + epsilon) * rate, m, v]
}

/// Adds `other` to `sum`.
///
/// # Panics
/// Lengths that differ.
pub fn plus(sum: &mut [f32], other: &[f32]) {
    assert_eq!(sum.len(), other.len(), "lengths differ");
    let pieces = sum.par_chunks_mut(PIECE).zip(other.par_chunks(PIECE));
    pieces.for_each(|(sum, other)| sum.iter_mut().zip(other).for_each(|(sum, it)| *sum += it));
}

/// `Σ x²`; the pieces are added up in `f64`.
pub fn sum_of_squares(values: &[f32]) -> f64 {
    let parts: Vec<f64> = values.par_chunks(PIECE).map(|part| f64::from(square(part))).collect();
    parts.iter().sum()
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma"))]
fn square(values: &[f32]) -> f32 {
    dot(values, values)
}
