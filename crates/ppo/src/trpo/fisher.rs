//! Products of a softmax policy's Fisher matrix with vectors, without the matrix.
//!
//! `F = Σ_i J_iᵀ (diag p_i − p_i p_iᵀ) J_i` over tokens `i`, where `J_i` is the Jacobian of the token's logits
//! and `p_i` their softmax (Schulman et al., 2015, appendix C.1). For a softmax, the Gauss-Newton matrix
//! is the Fisher matrix and the Hessian of `KL(π_old ‖ π_θ)` at `θ = θ_old`, exactly (Schraudolph, 2002).
//!
//! `J v` is a central difference of logits, so that nothing is differentiated twice; the curvature between
//! is exact, and `Jᵀ u` is one backward pass. [`Logits`] are looked at a few entries at a time. Parameters must be f32: rounding of bf16 would be larger than
//! the difference.

use burn::module::AutodiffModule;
use burn::prelude::*;
use rein_model::backend::{LmAutodiffBackend, LmBackend};
use rein_model::flat::FlatParams;
use rein_model::optim::Gradients;
use rein_model::tokens::scalar;

use super::conjugate::{add_scaled, norm};
use super::logits::{Logits, Tangent};

/// How far a logit may move from the mean of its token's, so that rounding and curvature both err little.
const LARGEST_MOVE: f64 = 0.01;
/// The longest step relative to the parameters' norm, for directions that change next to nothing.
const LONGEST_STEP: f64 = 1e-3;
/// The step that says how far logits move, relative to the parameters' norm.
const PROBING_STEP: f64 = 1e-6;

/// How many times `v` the parameters are moved, forward and back, to see what logits do.
///
/// What a good step is depends on the direction: gradients move logits a hundred times as far as other
/// directions of their length. So a tiny step is tried on some parts, and the step is as many times longer as
/// leaves the largest move at 0.01: products then err by about 10⁻⁴, and a step half or twice as long does as
/// well.
///
/// # Shapes
/// - `v`: `[n_values]`, not 0
pub fn difference_step<B: LmBackend, M: Module<B>, T>(
    module: &M,
    params: &FlatParams,
    v: &[f32],
    probe: &[T],
    logits: impl Fn(&M, &T) -> Logits<B>,
) -> f64 {
    let relative = (1.0 + norm(&params.values(module))) / norm(v);
    let probing = PROBING_STEP * relative;
    let [ahead, behind] = moved(module, params, v, probing);
    let moves = probe.iter().map(|part| {
        let [ahead, behind] = [&ahead, &behind].map(|it| logits(it, part));
        scalar(Tangent { ahead, behind, distance: 2.0 * probing }.largest_move()) / 2.0
    });
    let largest = moves.fold(0.0, f64::max);
    (LARGEST_MOVE / largest * probing).min(LONGEST_STEP * relative)
}

/// `F v`, a sum over all tokens of all parts; the tape of one part exists at a time.
///
/// `logits` and `valid_logits` compute the same of a part, the first on a tape.
///
/// # Shapes
/// - `v`: `[n_values]`
pub fn product<B: LmAutodiffBackend, M: AutodiffModule<B>, T>(
    module: &M,
    params: &FlatParams,
    v: &[f32],
    step: f64,
    parts: &[T],
    logits: impl Fn(&M, &T) -> Logits<B>,
    valid_logits: impl Fn(&M::InnerModule, &T) -> Logits<B::InnerBackend>,
) -> Gradients<B::InnerBackend> {
    let [ahead, behind] = moved(&module.valid(), params, v, step);
    Gradients::of(module, parts, |module, part| {
        let [ahead, behind] = [&ahead, &behind].map(|it| valid_logits(it, part));
        let logits = logits(module, part);
        let pulled = logits.pulled(&Tangent { ahead, behind, distance: 2.0 * step });
        logits.times(pulled)
    })
}

/// The module at `θ + step · v` and at `θ − step · v`.
fn moved<B: LmBackend, M: Module<B>>(
    module: &M,
    params: &FlatParams,
    v: &[f32],
    step: f64,
) -> [M; 2] {
    [step, -step].map(|step| {
        let mut theta = params.values(module);
        add_scaled(&mut theta, step, v);
        params.with_values(module.clone(), &theta)
    })
}
