//! Root-mean-square and layer normalisation of rows.

use multiversion::multiversion;

use super::math::{dot3, sum};
use super::pieces::{for_rows, sum_over_rows, unwritten};

/// What a normalisation multiplies by and adds, each as wide as a row.
#[derive(Clone, Copy, Debug)]
pub struct Affine<'a> {
    /// Is multiplied by.
    pub weight: &'a [f32],
    /// Is added, by layer normalisation; without it the mean isn't taken out.
    pub bias: Option<&'a [f32]>,
    /// Is added to the variance.
    pub eps: f32,
}

/// `(x − mean) / √(var + ε) · w + b`, or without a bias `x / √(mean(x²) + ε) · w`, of each row.
pub fn forward(input: &[f32], affine: Affine<'_>) -> Vec<f32> {
    let width = affine.weight.len();
    let mut output = unwritten(input.len());
    for_rows(&mut output, width, |first, rows| {
        let input = &input[first * width..][..rows.len()];
        forward_rows(input, affine, rows);
    });
    output
}

/// The same, of a few rows on this thread.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma"))]
pub fn forward_rows(input: &[f32], affine: Affine<'_>, output: &mut [f32]) {
    let Affine { weight, bias, eps } = affine;
    let width = weight.len();
    for (x, y) in input.chunks_exact(width).zip(output.chunks_exact_mut(width)) {
        match bias {
            None => {
                let scale = 1.0 / (sum(x, |x| x * x) / width as f32 + eps).sqrt();
                for ((y, x), w) in y.iter_mut().zip(x).zip(weight) {
                    *y = x * scale * w;
                }
            }
            Some(bias) => {
                let (mean, scale) = moments(x, eps);
                for (((y, x), w), b) in y.iter_mut().zip(x).zip(weight).zip(bias) {
                    *y = (x - mean) * scale * w + b;
                }
            }
        }
    }
}

/// Gradients of the input, of the weight and, where there is one, of the bias.
pub fn backward(
    input: &[f32],
    affine: Affine<'_>,
    grad: &[f32],
) -> (Vec<f32>, Vec<f32>, Option<Vec<f32>>) {
    let width = affine.weight.len();
    let mut of_input = unwritten(input.len());
    let n_sums = if affine.bias.is_some() { 2 * width } else { width };
    let mut sums = sum_over_rows(&mut of_input, width, n_sums, |first, rows, sums| {
        let at = first * width..first * width + rows.len();
        backward_rows(&input[at.clone()], affine, &grad[at], rows, sums);
    });
    let of_bias = affine.bias.map(|_| sums.split_off(width));
    (of_input, sums, of_bias)
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma"))]
fn backward_rows(
    input: &[f32],
    affine: Affine<'_>,
    grad: &[f32],
    of_input: &mut [f32],
    sums: &mut [f32],
) {
    let Affine { weight, bias, eps } = affine;
    let width = weight.len();
    let (of_weight, of_bias) = sums.split_at_mut(width);
    let rows = input.chunks_exact(width).zip(grad.chunks_exact(width));
    for ((x, g), d) in rows.zip(of_input.chunks_exact_mut(width)) {
        let (mean, scale) = match bias {
            None => (0.0, 1.0 / (sum(x, |x| x * x) / width as f32 + eps).sqrt()),
            Some(_) => moments(x, eps),
        };
        // With x̂ = (x − mean) · scale: dx = scale · (g w − mean(g w) − x̂ · mean(g w x̂)).
        let (grad_sum, shift) = match bias {
            None => (0.0, 0.0),
            Some(_) => {
                let total = super::math::dot(g, weight);
                (total / width as f32, total * mean)
            }
        };
        let along = (dot3(g, weight, x) - shift) * scale / width as f32;
        for ((((d, x), g), w), dw) in
            d.iter_mut().zip(x).zip(g).zip(weight).zip(of_weight.iter_mut())
        {
            let normal = (x - mean) * scale;
            *d = scale * (g * w - grad_sum - normal * along);
            *dw += g * normal;
        }
        for (db, g) in of_bias.iter_mut().zip(g) {
            *db += g;
        }
    }
}

/// The mean and `1 / √(var + ε)`.
#[inline(always)]
fn moments(x: &[f32], eps: f32) -> (f32, f32) {
    let mean = sum(x, |x| x) / x.len() as f32;
    let variance = sum(x, |x| (x - mean) * (x - mean)) / x.len() as f32;
    (mean, 1.0 / (variance + eps).sqrt())
}
