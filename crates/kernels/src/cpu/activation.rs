//! Activations of feed-forward layers.

use multiversion::multiversion;

use super::math::{erf, exp, sigmoid, tanh};
use super::pieces::{for_rows, for_rows_of_two, unwritten};
use crate::Gelu;

/// `silu(gate) · up` (Shazeer, 2020).
pub fn swiglu(gate: &[f32], up: &[f32]) -> Vec<f32> {
    let mut output = unwritten(gate.len());
    for_rows(&mut output, 1, |first, output| {
        let at = first..first + output.len();
        swiglu_rows(&gate[at.clone()], &up[at], output);
    });
    output
}

/// The same, of a few numbers on this thread.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma"))]
pub fn swiglu_rows(gate: &[f32], up: &[f32], output: &mut [f32]) {
    for ((y, gate), up) in output.iter_mut().zip(gate).zip(up) {
        *y = gate * sigmoid(*gate) * up;
    }
}

/// Gradients of the gate and of what it lets through.
pub fn swiglu_backward(gate: &[f32], up: &[f32], grad: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let mut of_gate = unwritten(gate.len());
    let mut of_up = unwritten(gate.len());
    for_rows_of_two((&mut of_gate, 1), (&mut of_up, 1), |first, of_gate, of_up| {
        let at = first..first + of_gate.len();
        swiglu_backward_rows([&gate[at.clone()], &up[at.clone()], &grad[at]], of_gate, of_up);
    });
    (of_gate, of_up)
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma"))]
fn swiglu_backward_rows([gate, up, grad]: [&[f32]; 3], of_gate: &mut [f32], of_up: &mut [f32]) {
    let numbers = gate.iter().zip(up).zip(grad);
    for (((x, up), g), (of_gate, of_up)) in numbers.zip(of_gate.iter_mut().zip(of_up.iter_mut())) {
        let s = sigmoid(*x);
        *of_up = g * x * s;
        *of_gate = g * up * s * (1.0 + x * (1.0 - s));
    }
}

/// `x Φ(x)`, or its approximation by a hyperbolic tangent.
pub fn gelu(input: &[f32], kind: Gelu) -> Vec<f32> {
    let mut output = unwritten(input.len());
    for_rows(&mut output, 1, |first, output| {
        gelu_rows(&input[first..first + output.len()], kind, output);
    });
    output
}

/// The same, of a few numbers on this thread.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma"))]
pub fn gelu_rows(input: &[f32], kind: Gelu, output: &mut [f32]) {
    match kind {
        Gelu::Erf => {
            for (y, x) in output.iter_mut().zip(input) {
                *y = 0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2));
            }
        }
        Gelu::Tanh => {
            for (y, x) in output.iter_mut().zip(input) {
                *y = 0.5 * x * (1.0 + tanh(inner(*x)));
            }
        }
    }
}

/// The gradient of the input.
pub fn gelu_backward(input: &[f32], kind: Gelu, grad: &[f32]) -> Vec<f32> {
    let mut of_input = unwritten(input.len());
    for_rows(&mut of_input, 1, |first, of_input| {
        let at = first..first + of_input.len();
        gelu_backward_rows(&input[at.clone()], kind, &grad[at], of_input);
    });
    of_input
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma"))]
fn gelu_backward_rows(input: &[f32], kind: Gelu, grad: &[f32], of_input: &mut [f32]) {
    const DENSITY: f32 = 0.398_942_3;
    match kind {
        Gelu::Erf => {
            for ((d, x), g) in of_input.iter_mut().zip(input).zip(grad) {
                let below = 0.5 * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2));
                *d = g * (below + x * DENSITY * exp(-0.5 * x * x));
            }
        }
        Gelu::Tanh => {
            for ((d, x), g) in of_input.iter_mut().zip(input).zip(grad) {
                let t = tanh(inner(*x));
                let slope = ROOT_2_OVER_PI * (1.0 + 3.0 * CUBIC * x * x);
                *d = g * 0.5 * (1.0 + t + x * (1.0 - t * t) * slope);
            }
        }
    }
}

/// `√(2/π)`
const ROOT_2_OVER_PI: f32 = 0.797_884_6;
const CUBIC: f32 = 0.044_715;

#[inline(always)]
fn inner(x: f32) -> f32 {
    ROOT_2_OVER_PI * (x + CUBIC * x * x * x)
}
