//! The losses of policy optimisation, one number a token, before the mean over the minibatch.

use burn::prelude::*;
use burn::tensor::IndexingUpdateOp;
use burn::tensor::activation::sigmoid;
use rein_model::backend::LmBackend;
use rein_model::tokens::indices;
use serde::{Deserialize, Serialize};

use crate::kl::KlEstimator;

/// How a token's loss follows from its ratio `ρ` and its advantage `A`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyLoss {
    /// `max(−A ρ, −A clip(ρ, 1 − ε, 1 + ε′))` (Schulman et al., 2017, eq. 7).
    #[default]
    Clip,
    /// `−A log π`, whatever the ratio (Williams, 1992): REINFORCE and A2C.
    PolicyGradient,
    /// `−A min(ρ, cap) log π`, where nothing flows back through the ratio (MiniMax, 2025).
    Cispo,
    /// `−A 4/τ σ(τ (ρ − 1))` with `τ` 1 where `A > 0` and 1.05 elsewhere (Gao et al., 2025).
    Sapo,
}

/// Of what probabilities the ratio `ρ` is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RatioOf {
    /// A token.
    #[default]
    Token,
    /// A completion: the geometric mean of its tokens' ratios (GSPO; Zheng et al., 2025).
    CompletionMean,
    /// A completion: the product of its tokens' ratios, as in TRL's RLOO.
    Completion,
}

/// What a minibatch's loss is the mean over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossMean {
    /// All tokens alike (DAPO; Yu et al., 2025).
    #[default]
    Tokens,
    /// Completions, of each the mean over its tokens (GRPO).
    Completions,
    /// Completions, of each the sum over its tokens divided by the length limit (Dr. GRPO; Liu et al.,
    /// 2025).
    Limit,
    /// Completions, of each the sum over its tokens: a gradient of what whole completions are worth, as
    /// Williams (1992) has it, or of a loss of whole completions.
    Sums,
}

impl LossMean {
    /// What each token of a completion weighs in a minibatch.
    pub fn weight(self, n_tokens: usize, of: &MinibatchSize) -> f64 {
        let n_completions = of.n_completions as f64;
        match self {
            Self::Tokens => 1.0 / of.n_tokens as f64,
            Self::Completions => 1.0 / (n_completions * n_tokens as f64),
            Self::Limit => 1.0 / (n_completions * of.limit as f64),
            Self::Sums => 1.0 / n_completions,
        }
    }
}

/// What a loss is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinibatchSize {
    /// Tokens of all completions.
    pub n_tokens: usize,
    /// Completions.
    pub n_completions: usize,
    /// The most tokens that a completion may have.
    pub limit: usize,
}

/// A policy loss with its numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Objective {
    /// The formula.
    pub loss: PolicyLoss,
    /// Of what the ratio is.
    pub ratio_of: RatioOf,
    /// Ratios count within `1 − clip[0] ..= 1 + clip[1]`.
    pub clip: [f32; 2],
    /// `c`: where `A < 0`, a clipped loss is at most `−A c` (Ye et al., 2020).
    pub dual_clip: Option<f32>,
    /// What ratios are cut at, before anything else.
    pub ratio_cap: Option<f32>,
}

/// The loss of each token.
///
/// # Shapes
/// - log-probabilities (in nats), advantages, returns: `[tokens]`
/// - `lengths`: tokens of each completion
pub fn policy_loss<B: LmBackend>(
    objective: &Objective,
    new_logprobs: Tensor<B, 1>,
    old_logprobs: Tensor<B, 1>,
    advantages: Tensor<B, 1>,
    lengths: &[usize],
) -> Tensor<B, 1> {
    let ratio = || ratios(objective, new_logprobs.clone() - old_logprobs, lengths);
    match objective.loss {
        PolicyLoss::Clip => clipped(objective, ratio(), advantages),
        PolicyLoss::PolicyGradient => advantages.neg() * new_logprobs,
        PolicyLoss::Cispo => advantages.neg() * ratio().detach() * new_logprobs,
        PolicyLoss::Sapo => soft(ratio(), advantages),
    }
}

/// `ρ` of each token, cut at the cap.
fn ratios<B: LmBackend>(
    objective: &Objective,
    log_ratio: Tensor<B, 1>,
    lengths: &[usize],
) -> Tensor<B, 1> {
    let log_ratio = match objective.ratio_of {
        RatioOf::Token => log_ratio,
        RatioOf::CompletionMean => over_completions(log_ratio, lengths, true),
        RatioOf::Completion => over_completions(log_ratio, lengths, false),
    };
    match objective.ratio_cap {
        Some(cap) => log_ratio.exp().clamp_max(cap),
        None => log_ratio.exp(),
    }
}

fn clipped<B: LmBackend>(
    objective: &Objective,
    ratio: Tensor<B, 1>,
    advantages: Tensor<B, 1>,
) -> Tensor<B, 1> {
    let [low, high] = objective.clip;
    let within = ratio.clone().clamp(1.0 - low, 1.0 + high);
    let costs = advantages.neg();
    let loss = (costs.clone() * ratio).max_pair(costs.clone() * within);
    match objective.dual_clip {
        // Elsewhere the bound is no more than the loss of any ratio.
        Some(most) => {
            let bounded = loss.clone().min_pair(costs.clone() * most);
            loss.mask_where(costs.greater_elem(0.0), bounded)
        }
        None => loss,
    }
}

fn soft<B: LmBackend>(ratio: Tensor<B, 1>, advantages: Tensor<B, 1>) -> Tensor<B, 1> {
    let gain =
        |temperature: f32| sigmoid((ratio.clone() - 1.0) * temperature) * (4.0 / temperature);
    let gains = gain(1.05).mask_where(advantages.clone().greater_elem(0.0), gain(1.0));
    advantages.neg() * gains
}

/// Each token's number becomes the sum, or the mean, of its completion's.
fn over_completions<B: LmBackend>(
    values: Tensor<B, 1>,
    lengths: &[usize],
    is_mean: bool,
) -> Tensor<B, 1> {
    let device = values.device();
    let rows = lengths.iter().enumerate().flat_map(|(row, length)| vec![row; *length]);
    let rows = indices(&rows.collect::<Vec<_>>(), &device);
    let sums = Tensor::<B, 1>::zeros([lengths.len()], &device);
    let sums = sums.select_assign(0, rows.clone(), values, IndexingUpdateOp::Add);
    let divisors: Vec<f32> =
        lengths.iter().map(|length| if is_mean { *length as f32 } else { 1.0 }).collect();
    (sums / Tensor::from_data(&divisors[..], &device)).select(0, rows)
}

/// The estimate of `KL(policy ‖ reference)` at each token, as a part of the loss (Shao et al., 2024,
/// eq. 4, has k3).
///
/// # Shapes
/// - all: `[tokens]`; log-probabilities in nats
pub fn kl_loss<B: LmBackend>(
    estimator: KlEstimator,
    new_logprobs: Tensor<B, 1>,
    reference_logprobs: Tensor<B, 1>,
) -> Tensor<B, 1> {
    let k1 = new_logprobs - reference_logprobs;
    match estimator {
        KlEstimator::K1 => k1,
        KlEstimator::K2 => k1.square() * 0.5,
        KlEstimator::K3 => k1.clone().neg().exp() - 1.0 + k1,
    }
}

/// `½ max((V − R)², (clip(V, V_old ± ε) − R)²)`, as TRL and OpenAI's `lm-human-preferences` have it.
///
/// # Shapes
/// - all: `[slots]`
pub fn value_loss<B: LmBackend>(
    new_values: Tensor<B, 1>,
    old_values: Tensor<B, 1>,
    returns: Tensor<B, 1>,
    clip_range: f32,
) -> Tensor<B, 1> {
    let clipped = new_values
        .clone()
        .max_pair(old_values.clone() - clip_range)
        .min_pair(old_values + clip_range);
    let plain = (new_values - returns.clone()).square();
    plain.max_pair((clipped - returns).square()) * 0.5
}
