//! An update of weights in one pass over memory.

use multiversion::multiversion;
use rayon::prelude::*;

use super::math::dot;
use crate::AdamW;

/// Numbers of a piece.
const PIECE: usize = 1 << 15;

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

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma"))]
fn adamw_piece(weights: &mut [f32], grad: &[f32], [first, second]: [&mut [f32]; 2], step: &AdamW) {
    let AdamW { keep, rate, beta1, beta2, root_correction, epsilon, grad_scale } = *step;
    let cells = weights.iter_mut().zip(grad).zip(first.iter_mut().zip(second.iter_mut()));
    for ((weight, g), (m, v)) in cells {
        let g = g * grad_scale;
        *m = *m * beta1 + g * (1.0 - beta1);
        *v = *v * beta2 + g * g * (1.0 - beta2);
        *weight = *weight * keep - *m / (v.sqrt() / root_correction + epsilon) * rate;
    }
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
