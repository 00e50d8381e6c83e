//! Losses of preference pairs, one number a pair, before the mean over the batch.
//!
//! All are functions of two numbers: the log-ratios `log π(y|x) − log π_ref(y|x)` of the preferred
//! completion (`chosen`, `x` in the formulas) and of the other one (`rejected`, `y`), in nats. Without a
//! reference, they are the log-probabilities themselves.

use burn::prelude::*;
use burn::tensor::activation::{log_sigmoid, relu, sigmoid};
use rein_model::backend::LmBackend;
use serde::{Deserialize, Serialize};

/// What `exo_pair` takes for a label smoothing of 0, where its loss has no value; as in TRL.
const EXO_SMOOTHING: f64 = 1e-3;

/// Log-probabilities per token above this count as this: the odds of what is certain are infinite.
const MOST_CERTAIN: f64 = -1e-6;

/// The losses, by TRL's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossType {
    /// DPO, with label smoothing cDPO: [`sigmoid_loss`].
    #[default]
    Sigmoid,
    /// DPO for labels of which some are known to be wrong: [`robust_loss`].
    Robust,
    /// IPO: [`ipo_loss`].
    Ipo,
    /// SLiC-HF's hinge: [`hinge_loss`].
    Hinge,
    /// EXO: [`exo_pair_loss`].
    ExoPair,
    /// NCA: [`nca_pair_loss`].
    NcaPair,
    /// SPPO with certain preferences: [`sppo_hard_loss`].
    SppoHard,
    /// APO that makes the preferred completion more probable: [`apo_zero_loss`].
    ApoZero,
    /// APO that makes both less probable: [`apo_down_loss`].
    ApoDown,
    /// CPO (Xu et al., 2024): [`sigmoid_loss`] without a reference, beside imitation.
    Cpo,
    /// SimPO: [`simpo_loss`].
    Simpo,
    /// ORPO: [`orpo_loss`].
    Orpo,
    /// KTO, the one loss of single completions with a label:
    /// [`KtoLoss`](crate::preference::unpaired::KtoLoss).
    Kto,
}

impl LossType {
    /// Whether it learns from pairs, and not from labels.
    pub fn is_of_pairs(self) -> bool {
        self != Self::Kto
    }

    /// Whether it compares the policy with a reference.
    pub fn has_reference(self) -> bool {
        !matches!(self, Self::Cpo | Self::Simpo | Self::Orpo)
    }

    /// Whether it takes log-probabilities per token, and not those of whole completions.
    pub fn is_per_token(self) -> bool {
        matches!(self, Self::Ipo | Self::Simpo | Self::Orpo)
    }

    /// The weight of imitation beside it (TRL's `cpo_alpha`; ORPO's first term).
    pub fn nll_coefficient(self) -> f64 {
        f64::from(u8::from(matches!(self, Self::Cpo | Self::Orpo)))
    }
}

/// A loss and its numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairLoss {
    /// Which one.
    pub loss_type: LossType,
    /// How far the policy is held from leaving the reference, `β`.
    pub beta: f64,
    /// The share of pairs whose label is taken to be wrong, `ε`.
    pub label_smoothing: f64,
    /// By how much SimPO's rewards shall differ, `γ`.
    pub gamma: f64,
}

impl PairLoss {
    /// The loss of each pair.
    ///
    /// # Shapes
    /// - `chosen`, `rejected`, returns: `[pairs]`
    ///
    /// # Panics
    /// On `kto`, which is no loss of pairs.
    pub fn losses<B: LmBackend>(
        &self,
        chosen: Tensor<B, 1>,
        rejected: Tensor<B, 1>,
    ) -> Tensor<B, 1> {
        let Self { loss_type, beta, label_smoothing, gamma } = *self;
        match loss_type {
            LossType::Sigmoid | LossType::Cpo => {
                sigmoid_loss(chosen, rejected, beta, label_smoothing)
            }
            LossType::Robust => robust_loss(chosen, rejected, beta, label_smoothing),
            LossType::Ipo => ipo_loss(chosen, rejected, beta),
            LossType::Hinge => hinge_loss(chosen, rejected, beta),
            LossType::ExoPair => exo_pair_loss(chosen, rejected, beta, label_smoothing),
            LossType::NcaPair => nca_pair_loss(chosen, rejected, beta),
            LossType::SppoHard => sppo_hard_loss(chosen, rejected, beta),
            LossType::ApoZero => apo_zero_loss(chosen, rejected, beta),
            LossType::ApoDown => apo_down_loss(chosen, rejected, beta),
            LossType::Simpo => simpo_loss(chosen, rejected, beta, gamma, label_smoothing),
            LossType::Orpo => orpo_loss(chosen, rejected, beta),
            LossType::Kto => panic!("`kto` is a loss of labelled completions"),
        }
    }
}

/// `−(1 − ε) log σ(β(x − y)) − ε log σ(−β(x − y))` (Rafailov et al., 2023, eq. 7; with smoothing
/// Mitchell, 2023).
pub fn sigmoid_loss<B: LmBackend>(
    chosen: Tensor<B, 1>,
    rejected: Tensor<B, 1>,
    beta: f64,
    label_smoothing: f64,
) -> Tensor<B, 1> {
    smoothed((chosen - rejected) * beta, label_smoothing)
}

/// `(−(1 − ε) log σ(β(x − y)) + ε log σ(−β(x − y))) / (1 − 2ε)`, whose mean over labels that are wrong
/// with probability `ε` is DPO's loss of the right ones (Chowdhury et al., 2024, eq. 12).
pub fn robust_loss<B: LmBackend>(
    chosen: Tensor<B, 1>,
    rejected: Tensor<B, 1>,
    beta: f64,
    label_smoothing: f64,
) -> Tensor<B, 1> {
    let margin = (chosen - rejected) * beta;
    let right = log_sigmoid(margin.clone()) * (label_smoothing - 1.0);
    (right + log_sigmoid(margin.neg()) * label_smoothing) / (1.0 - 2.0 * label_smoothing)
}

/// `(x − y − 1/(2β))²`, of log-ratios per token (Azar et al., 2023, eq. 17, where `β` is `τ`).
pub fn ipo_loss<B: LmBackend>(
    chosen: Tensor<B, 1>,
    rejected: Tensor<B, 1>,
    beta: f64,
) -> Tensor<B, 1> {
    (chosen - rejected - 0.5 / beta).square()
}

/// `max(0, 1 − β(x − y))` (Zhao et al., 2023; Liu et al., 2023).
pub fn hinge_loss<B: LmBackend>(
    chosen: Tensor<B, 1>,
    rejected: Tensor<B, 1>,
    beta: f64,
) -> Tensor<B, 1> {
    relu((chosen - rejected) * -beta + 1.0)
}

/// The reverse divergence of the policy's preference from the smoothed label, with `d = β(x − y)`
/// (Ji et al., 2024, eq. 16): `σ(d) (log σ(d) − log(1 − ε)) + σ(−d) (log σ(−d) − log ε)`.
pub fn exo_pair_loss<B: LmBackend>(
    chosen: Tensor<B, 1>,
    rejected: Tensor<B, 1>,
    beta: f64,
    label_smoothing: f64,
) -> Tensor<B, 1> {
    let epsilon = if label_smoothing == 0.0 { EXO_SMOOTHING } else { label_smoothing };
    let margin = (chosen - rejected) * beta;
    let part = |margin: Tensor<B, 1>, label: f64| {
        sigmoid(margin.clone()) * (log_sigmoid(margin) - label.ln())
    };
    part(margin.clone(), 1.0 - epsilon) + part(margin.neg(), epsilon)
}

/// `−log σ(βx) − ½ log σ(−βx) − ½ log σ(−βy)` (Chen et al., 2024, eq. 8 for two completions).
pub fn nca_pair_loss<B: LmBackend>(
    chosen: Tensor<B, 1>,
    rejected: Tensor<B, 1>,
    beta: f64,
) -> Tensor<B, 1> {
    let (chosen, rejected) = (chosen * beta, rejected * beta);
    let noise = log_sigmoid(chosen.clone().neg()) + log_sigmoid(rejected.neg());
    (log_sigmoid(chosen) + noise * 0.5).neg()
}

/// `(x − 1/(2β))² + (y + 1/(2β))²` (Wu et al., 2024, eq. 4.7 with a win of probability 1).
pub fn sppo_hard_loss<B: LmBackend>(
    chosen: Tensor<B, 1>,
    rejected: Tensor<B, 1>,
    beta: f64,
) -> Tensor<B, 1> {
    (chosen - 0.5 / beta).square() + (rejected + 0.5 / beta).square()
}

/// `1 − σ(βx) + σ(βy)` (D'Oosterlinck et al., 2024, eq. 7).
pub fn apo_zero_loss<B: LmBackend>(
    chosen: Tensor<B, 1>,
    rejected: Tensor<B, 1>,
    beta: f64,
) -> Tensor<B, 1> {
    sigmoid(chosen * -beta) + sigmoid(rejected * beta)
}

/// `σ(βx) + 1 − σ(β(x − y))` (D'Oosterlinck et al., 2024, eq. 8).
pub fn apo_down_loss<B: LmBackend>(
    chosen: Tensor<B, 1>,
    rejected: Tensor<B, 1>,
    beta: f64,
) -> Tensor<B, 1> {
    sigmoid(chosen.clone() * beta) + sigmoid((chosen - rejected) * -beta)
}

/// `−(1 − ε) log σ(d) − ε log σ(−d)` with `d = β(x − y) − γ`, of log-probabilities per token and without a
/// reference (Meng et al., 2024, eq. 6).
pub fn simpo_loss<B: LmBackend>(
    chosen: Tensor<B, 1>,
    rejected: Tensor<B, 1>,
    beta: f64,
    gamma: f64,
    label_smoothing: f64,
) -> Tensor<B, 1> {
    smoothed((chosen - rejected) * beta - gamma, label_smoothing)
}

/// `−β log σ(log odds(x) − log odds(y))` with `log odds(x) = x − log(1 − eˣ)`, of log-probabilities per
/// token and without a reference (Hong et al., 2024, eq. 7). It stands beside the imitation of the
/// preferred completion.
pub fn orpo_loss<B: LmBackend>(
    chosen: Tensor<B, 1>,
    rejected: Tensor<B, 1>,
    beta: f64,
) -> Tensor<B, 1> {
    log_sigmoid(log_odds(chosen) - log_odds(rejected)) * -beta
}

fn smoothed<B: LmBackend>(margin: Tensor<B, 1>, label_smoothing: f64) -> Tensor<B, 1> {
    let loss = log_sigmoid(margin.clone()).neg();
    if label_smoothing == 0.0 {
        return loss;
    }
    loss * (1.0 - label_smoothing) - log_sigmoid(margin.neg()) * label_smoothing
}

fn log_odds<B: LmBackend>(logprobs: Tensor<B, 1>) -> Tensor<B, 1> {
    let logprobs = logprobs.clamp_max(MOST_CERTAIN);
    logprobs.clone() - logprobs.exp().neg().log1p()
}
