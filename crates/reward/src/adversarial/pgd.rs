//! Projected gradient ascent: the worst that may be added to vectors within balls.

use burn::prelude::*;
use rein_model::backend::{LmAutodiffBackend, LmBackend};

/// What raises `objective` within the `L₂` ball of `radius` around 0, each vector in a ball of its own
/// (projected gradient descent; Madry et al., 2018).
///
/// From 0, each of `n_steps` steps goes `2 radius / n_steps` along each vector's gradient `g / ‖g‖`, and back onto
/// the ball where it has left it: `δ ← Π(δ + 2 ε / n · g / ‖g‖)`. A vector without a gradient stays. Two
/// steps reach the edge, so a linear objective is maximised exactly.
///
/// # Shapes
/// - `shape`: `[vectors, width]`
/// - `objective`: from `[vectors, width]` to `[1]`
/// - returns: `[vectors, width]`
pub fn ascend<B: LmAutodiffBackend>(
    shape: [usize; 2],
    radius: f64,
    n_steps: usize,
    device: &B::Device,
    objective: impl Fn(Tensor<B, 2>) -> Tensor<B, 1>,
) -> Tensor<B::InnerBackend, 2> {
    let mut delta = Tensor::<B::InnerBackend, 2>::zeros(shape, device);
    for _ in 0..n_steps {
        let leaf = Tensor::<B, 2>::from_inner(delta.clone()).require_grad();
        let gradients = objective(leaf.clone()).backward();
        let Some(gradient) = leaf.grad(&gradients) else { break };
        delta = step(delta, gradient, radius, 2.0 * radius / n_steps as f64);
    }
    delta
}

/// A step along the gradients, and back onto the balls.
fn step<B: LmBackend>(
    delta: Tensor<B, 2>,
    gradient: Tensor<B, 2>,
    radius: f64,
    size: f64,
) -> Tensor<B, 2> {
    let direction = gradient.clone() / norms(gradient);
    project(delta + direction * size, radius)
}

/// Vectors shortened to the radius where they are longer: `v · min(1, ε / ‖v‖)`.
pub fn project<B: LmBackend>(vectors: Tensor<B, 2>, radius: f64) -> Tensor<B, 2> {
    let factors = norms(vectors.clone()).recip() * radius;
    vectors * factors.clamp_max(1.0)
}

/// Norms, `[vectors, 1]`; of none, something above 0.
fn norms<B: LmBackend>(vectors: Tensor<B, 2>) -> Tensor<B, 2> {
    vectors.square().sum_dim(1).sqrt().clamp_min(1e-18)
}
