//! Losses of reward models, one number a row, before the mean over the batch.

use burn::prelude::*;
use burn::tensor::activation::log_sigmoid;
use rein_model::backend::LmBackend;

/// The Bradley-Terry loss of preference pairs (Bradley and Terry, 1952), with margins (Touvron et
/// al., 2023) and centring (Eisenstein et al., 2023), as TRL's `RewardTrainer` computes it:
///
/// `−log σ(chosen − rejected − margin) + c (chosen + rejected)²`
///
/// # Shapes
/// - `chosen`, `rejected`, `margins`, returns: `[pairs]`
pub fn bradley_terry<B: LmBackend>(
    chosen: Tensor<B, 1>,
    rejected: Tensor<B, 1>,
    margins: Option<Tensor<B, 1>>,
    center: f64,
) -> Tensor<B, 1> {
    let difference = differences(chosen.clone(), rejected.clone(), margins);
    centring(log_sigmoid(difference).neg(), chosen, rejected, center)
}

/// By how much the preferred sides of pairs are ahead, beyond their margins, `[pairs]`.
pub(crate) fn differences<B: LmBackend>(
    chosen: Tensor<B, 1>,
    rejected: Tensor<B, 1>,
    margins: Option<Tensor<B, 1>>,
) -> Tensor<B, 1> {
    let difference = chosen - rejected;
    match margins {
        Some(margins) => difference - margins,
        None => difference,
    }
}

/// The losses of pairs and what pulls the sum of their scores towards zero, `[pairs]`.
pub(crate) fn centring<B: LmBackend>(
    loss: Tensor<B, 1>,
    chosen: Tensor<B, 1>,
    rejected: Tensor<B, 1>,
    center: f64,
) -> Tensor<B, 1> {
    if center == 0.0 { loss } else { loss + (chosen + rejected).square() * center }
}

/// The loss of pairs of which the first side is preferred with some probability `p`, as label smoothing and soft
/// labels have it; 0.5 is a tie. With `d` the difference of the scores:
///
/// `−p log σ(d) − (1 − p) log σ(−d) = −log σ(d) + (1 − p) d`
///
/// # Shapes
/// - `differences`, `probabilities`, returns: `[pairs]`
pub fn soft<B: LmBackend>(differences: Tensor<B, 1>, probabilities: Tensor<B, 1>) -> Tensor<B, 1> {
    let doubts = probabilities.neg() + 1.0;
    log_sigmoid(differences.clone()).neg() + doubts * differences
}

/// The logistic loss of labelled completions: `−log σ(s)` for a good one, `−log σ(−s)` for a bad
/// one, so that the sign of the score is the prediction.
///
/// # Shapes
/// - `scores`, `signs` (+1 good, −1 bad), returns: `[rows]`
pub fn binary<B: LmBackend>(scores: Tensor<B, 1>, signs: Tensor<B, 1>) -> Tensor<B, 1> {
    log_sigmoid(scores * signs).neg()
}
