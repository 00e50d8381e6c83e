//! Pairs of which neither side is better.

use burn::prelude::*;
use burn::tensor::activation::log_sigmoid;
use rein_model::backend::LmBackend;

/// Davidson's model of ties (Davidson, 1970): with `d` the difference of two scores and `ν = exp(ln_nu)`,
///
/// `P(first) = e^{d/2} / Z`, `P(second) = e^{−d/2} / Z`, `P(tie) = ν / Z`, `Z = e^{d/2} + e^{−d/2} + ν`
///
/// and the loss is `−log P` of what was said: `ln Z − ln ν` of a tie, `ln Z − (2 p − 1) d / 2` of a pair whose first
/// side is preferred with probability `p`. Without ties (`ν → 0`) it is Bradley and Terry's.
///
/// # Shapes
/// - `differences`, `targets` (the probabilities), `ties` (1 for a tie, else 0), returns: `[pairs]`
pub fn davidson<B: LmBackend>(
    differences: Tensor<B, 1>,
    targets: Tensor<B, 1>,
    ties: Tensor<B, 1>,
    ln_nu: f64,
) -> Tensor<B, 1> {
    let half = differences.clone() / 2.0;
    // ln(e^{d/2} + e^{−d/2}), and with ν beside them, neither of which can overflow.
    let decided = half.clone() - log_sigmoid(differences);
    let normalizer = decided.clone() - log_sigmoid(decided - ln_nu);
    let won = half * (targets * 2.0 - 1.0);
    let said = won * (ties.clone().neg() + 1.0) + ties * ln_nu;
    normalizer - said
}
