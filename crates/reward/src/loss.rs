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
    let mut difference = chosen.clone() - rejected.clone();
    if let Some(margins) = margins {
        difference = difference - margins;
    }
    let loss = log_sigmoid(difference).neg();
    if center == 0.0 { loss } else { loss + (chosen + rejected).square() * center }
}

/// The logistic loss of labelled completions: `−log σ(s)` for a good one, `−log σ(−s)` for a bad
/// one, so that the sign of the score is the prediction.
///
/// # Shapes
/// - `scores`, `signs` (+1 good, −1 bad), returns: `[rows]`
pub fn binary<B: LmBackend>(scores: Tensor<B, 1>, signs: Tensor<B, 1>) -> Tensor<B, 1> {
    log_sigmoid(scores * signs).neg()
}
