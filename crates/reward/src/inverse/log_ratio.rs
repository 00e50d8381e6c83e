use std::path::{Path, PathBuf};

use burn::prelude::*;
use rein_data::encoding::TokenRow;
use rein_data::example::Completion;
use rein_model::backend::LmBackend;
use rein_model::config::ModelConfig;
use rein_model::guard::rows_fit;
use rein_model::{CausalLm, Frozen, ModelError, Precision, load_causal_lm};
use serde::{Deserialize, Serialize};

use crate::{Reward, RewardError};

/// How much more a policy says what was said than its base does:
///
/// `β Σ_t (log π(a_t|s_t) − log π_base(a_t|s_t))`
///
/// Of a policy that imitates an expert and a base that the expert is measured from, this estimates the expert's
/// reward up to a constant of the prompt: it inverts `π_E ∝ π_base exp(r/β)`, as DPO does (Rafailov et al.,
/// 2023). Token by token, it is the advantage that the tokens had for the expert.
#[derive(Debug)]
pub struct LogRatio<B: Backend> {
    policy: Frozen<CausalLm<B>>,
    base: Frozen<CausalLm<B>>,
    /// The smaller of both models' limits.
    limits: ModelConfig,
    config: LogRatioConfig,
    batch_rows: usize,
    device: B::Device,
}

/// What a [`LogRatio`] makes of tokens' ratios.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogRatioConfig {
    /// What a nat counts for.
    pub beta: f64,
    /// Each token's ratio counts within `±clip` nats, if given: what neither model has learned to say would
    /// outweigh all else.
    pub clip: Option<f64>,
    /// How tokens make a completion's score.
    pub total: Total,
}

impl Default for LogRatioConfig {
    fn default() -> Self {
        Self { beta: 1.0, clip: None, total: Total::Sum }
    }
}

/// Where a [`LogRatio`] comes from, as a config says it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogRatioSource {
    /// The folder of the policy that imitates the expert; the run's fine-tuned model if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PathBuf>,
    /// The folder of the model that it is measured from; the one that fine-tuning began with if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<PathBuf>,
    /// What a nat counts for.
    #[serde(default = "LogRatioSource::beta")]
    pub beta: f64,
    /// Each token's ratio counts within `±clip` nats, if given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip: Option<f64>,
    /// How tokens make a completion's score.
    #[serde(default)]
    pub total: Total,
}

impl LogRatioSource {
    pub(crate) fn beta() -> f64 {
        1.0
    }

    /// What is wrong with it, which stands at `key`.
    pub fn problems(&self, key: &str) -> Vec<String> {
        let mut problems = Vec::new();
        if self.beta == 0.0 || !self.beta.is_finite() {
            problems.push(format!("`{key}.beta` must be finite and not 0"));
        }
        if self.clip.is_some_and(|it| !(it > 0.0 && it.is_finite())) {
            problems.push(format!("`{key}.clip` must be above 0"));
        }
        if self.policy.is_some() && self.policy == self.base {
            problems.push(format!("`{key}.policy` must be another model than `base`"));
        }
        problems
    }

    /// The settings apart from the folders.
    pub fn config(&self) -> LogRatioConfig {
        LogRatioConfig { beta: self.beta, clip: self.clip, total: self.total }
    }
}

/// How tokens' numbers make one of a completion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Total {
    /// Their sum.
    #[default]
    Sum,
    /// Their mean: long completions count no more than short ones, and what is optimal is another thing.
    Mean,
}

impl Total {
    fn of(self, tokens: &[f64]) -> f64 {
        let sum: f64 = tokens.iter().sum();
        match self {
            Self::Sum => sum,
            Self::Mean => sum / tokens.len().max(1) as f64,
        }
    }
}

impl<B: LmBackend> LogRatio<B> {
    /// Compares `policy` with `base`, so many rows at a time.
    ///
    /// # Errors
    /// Models of different vocabularies.
    pub fn new(
        policy: CausalLm<B>,
        base: CausalLm<B>,
        config: LogRatioConfig,
        batch_rows: usize,
        device: &B::Device,
    ) -> Result<Self, RewardError> {
        let [mine, other] = [policy.config().vocab_size, base.config().vocab_size];
        if mine != other {
            return Err(RewardError::Invalid(format!(
                "the policy has {mine} tokens and its base {other}: name the model that it was fine-tuned from"
            )));
        }
        let smaller = policy.config().max_positions <= base.config().max_positions;
        let limits = if smaller { policy.config() } else { base.config() };
        Ok(Self {
            limits: limits.clone(),
            policy: Frozen::new(policy, Precision::F32),
            base: Frozen::new(base, Precision::F32),
            config,
            batch_rows,
            device: device.clone(),
        })
    }

    /// Compares the models in two folders.
    ///
    /// # Errors
    /// Folders that hold no models, and those of [`new`](Self::new).
    pub fn load(
        [policy, base]: [&Path; 2],
        config: LogRatioConfig,
        batch_rows: usize,
        device: &B::Device,
    ) -> Result<Self, RewardError> {
        let load =
            |folder: &Path| -> Result<CausalLm<B>, ModelError> { load_causal_lm(folder, device) };
        Self::new(load(policy)?, load(base)?, config, batch_rows, device)
    }

    /// What each token adds, `β (log π − log π_base)`.
    ///
    /// # Errors
    /// Completions that the models have no room or no tokens for.
    pub fn token_scores(&self, completions: &[Completion]) -> Result<Vec<Vec<f64>>, RewardError> {
        let row = |it: &Completion| TokenRow::completion(it.prompt_tokens.clone(), &it.tokens);
        let rows: Vec<TokenRow> = completions.iter().map(row).collect();
        let tokens: Vec<&[u32]> = rows.iter().map(|row| row.tokens.as_slice()).collect();
        rows_fit(&self.limits, &tokens, 0)?;
        // Nothing can be said of a completion without tokens.
        let spoken: Vec<&TokenRow> = rows.iter().filter(|row| row.n_learned() > 0).collect();
        let [policy, base] = [&self.policy, &self.base]
            .map(|it| it.row_logprobs(&spoken, 1.0, self.batch_rows, &self.device));
        let LogRatioConfig { beta, clip, .. } = self.config;
        let clipped = |nats: f64| clip.map_or(nats, |clip| nats.clamp(-clip, clip));
        let ratio = |(mine, other): (f32, f32)| beta * clipped(f64::from(mine) - f64::from(other));
        let ratios = policy.into_iter().zip(base);
        let mut ratios =
            ratios.map(|(mine, other)| mine.into_iter().zip(other).map(ratio).collect());
        let of_row = |row: &TokenRow| match row.n_learned() {
            0 => Vec::new(),
            _ => ratios.next().expect("one for each row with tokens"),
        };
        Ok(rows.iter().map(of_row).collect())
    }
}

impl<B: LmBackend> Reward for LogRatio<B> {
    fn name(&self) -> &'static str {
        "log_ratio"
    }

    fn score(&self, completions: &[Completion]) -> Result<Vec<f32>, RewardError> {
        let tokens = self.token_scores(completions)?;
        Ok(tokens.iter().map(|it| self.config.total.of(it) as f32).collect())
    }
}
