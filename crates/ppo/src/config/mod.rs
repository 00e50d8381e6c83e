//! How a policy is optimised.

use rein_data::stage::Cadence;
use rein_model::lora::LoraConfig;
use rein_model::optim::OptimizerConfig;
use rein_model::schedule::Schedule;
use rein_model::{EmaConfig, Precision, Precisions, Sampling};
use rein_reward::{RewardKind, RewardSource};
use serde::{Deserialize, Serialize};

use crate::advantage::AdvantageEstimator;
use crate::algorithm::Algorithm;
use crate::constraints::ConstraintConfig;
use crate::demonstrations::PtxConfig;
use crate::exploration::EntropyConfig;
use crate::kl::{KlConfig, KlEstimator};
use crate::loss::{LossMean, Objective, PolicyLoss, RatioOf};
use crate::scheduled::Scheduled;
use crate::scores::ScoreConfig;
use crate::stability::{GuardsConfig, KlRateConfig};
use crate::trpo::TrpoConfig;
pub use crate::watched::MonitorConfig;

mod problems;

/// How a policy is optimised. Defaults are those of TRL's `PPOConfig` where it has one, and of the
/// literature where TRL's are known to be odd; [`Algorithm::config`] has those of other algorithms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PpoConfig {
    /// Whose settings hold where a config file leaves them out.
    pub algorithm: Algorithm,
    /// Steps: each samples, scores and updates once.
    pub steps: usize,
    /// Prompts completed in a step.
    pub prompts_per_step: usize,
    /// Completions of each prompt.
    pub samples_per_prompt: usize,
    /// Rewards whose weighted sum is the score; the reward model alone if none is named.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rewards: Vec<RewardSource>,
    /// What some of these rewards may be at most, on average.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub constraints: Vec<ConstraintConfig>,
    /// Completions are cut at this many tokens.
    pub max_new_tokens: usize,
    /// Divides the logits, when sampling and when scoring alike; evaluations use the last step's.
    pub temperature: Scheduled,
    /// The probability with which a token is drawn from all alike, to explore; importance weights
    /// correct for it, and evaluations do without.
    pub epsilon: f32,
    /// Passes over a step's completions.
    pub epochs: usize,
    /// Updates in each pass; divides the completions of a step.
    pub minibatches: usize,
    /// Completions in one forward pass; divides a minibatch and doesn't change the update.
    pub micro_batch_rows: usize,
    /// Whether an update computes what is inside blocks again for its backward pass instead of keeping it.
    pub gradient_checkpointing: bool,
    /// What a token's advantage is.
    pub advantage: AdvantageEstimator,
    /// How a token's loss follows from its advantage.
    pub policy_loss: PolicyLoss,
    /// Of what probabilities the ratio in the loss is.
    pub ratio_of: RatioOf,
    /// What the loss is the mean over.
    pub loss_mean: LossMean,
    /// The ratio of probabilities counts within `1 − clip ..= 1 + clip` (0.2; Schulman 2017, §6).
    pub clip_range: f32,
    /// The upper end of that, where it is another (DAPO: 0.28).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_range_high: Option<f32>,
    /// Where a token's advantage is negative, its clipped loss is at most so many times that (3; Ye et
    /// al., 2020).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dual_clip: Option<f32>,
    /// Ratios are cut at this before anything else; CISPO needs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio_cap: Option<f32>,
    /// Value predictions count within `old ± clip`.
    pub clip_range_value: f32,
    /// Weights of tokens that another policy sampled, be it by rounding, are cut at this.
    pub importance_cap: f32,
    /// Whether a step's completions are sampled while the step before is updated, by the policy as it
    /// was before that update (Noukhovitch et al., 2024); importance weights correct for it.
    pub overlap: bool,
    /// Whether values come from a head on the policy's backbone, which then learns both, instead of from a
    /// model of their own.
    pub value_head: bool,
    /// Weight of the value loss.
    pub value_coefficient: f32,
    /// Weight of the entropy bonus.
    pub entropy_coefficient: EntropyConfig,
    /// Discount of a token's reward per token before it.
    pub gamma: Scheduled,
    /// Decay of GAE: 0 trusts the value model, 1 the rewards.
    pub lambda: Scheduled,
    /// Steps at the beginning that update the value model alone, so that the policy hears of one that has
    /// learned something (Yuan et al., 2025, VC-PPO).
    pub value_warmup_steps: usize,
    /// What happens to scores before they become rewards.
    pub scores: ScoreConfig,
    /// Whether token rewards are scaled to variance 1, their mean kept.
    pub whiten_rewards: bool,
    /// Whether advantages are shifted and scaled to mean 0 and variance 1.
    pub whiten_advantages: bool,
    /// Taken off the score of a completion that didn't end by itself; 0 means nothing.
    pub missing_eos_penalty: f32,
    /// Which token gets the score.
    pub score_at: ScorePlacement,
    /// How the distance from the reference is estimated.
    pub kl_estimator: KlEstimator,
    /// Steps of the policy within a trust region, if given, instead of losses and their optimiser.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trpo: Option<TrpoConfig>,
    /// Whether the KL penalty is taken off rewards or is a part of the loss.
    pub kl_placement: KlPlacement,
    /// The weight of the KL penalty and how it changes.
    pub kl: KlConfig,
    /// Trains adapters of the policy and the value model, if given, instead of the models; without
    /// adapters, the policy is its own reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraConfig>,
    /// Demonstrations that the policy imitates beside, if any (PPO-ptx).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ptx: Option<PtxConfig>,
    /// The update.
    pub optimizer: OptimizerConfig,
    /// Lets the learning rate follow the distance that steps go, if given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kl_rate: Option<KlRateConfig>,
    /// What keeps the run from falling apart.
    pub guards: GuardsConfig,
    /// What follows from a truer reward that is watched.
    pub monitor: MonitorConfig,
    /// Averages the policy's weights over updates, if given; the average is what is evaluated and what the
    /// stage leaves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ema: Option<EmaConfig>,
    /// When to evaluate and save. The best step is the one with the highest held-out reward after
    /// the KL penalty.
    pub checkpoints: Cadence,
    /// Held-out prompts that an evaluation completes.
    pub eval_prompts: usize,
    /// Steps between two that log samples; 0 means none.
    pub sample_every: usize,
    /// In which precision what is computed and kept; a run's `[precision]` says it for all stages.
    #[serde(skip)]
    pub precision: Precisions,
}

/// Where the price of leaving the reference is paid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KlPlacement {
    /// Each token's is taken off its reward, and nothing flows back through it.
    #[default]
    Reward,
    /// It is added to the loss, and flows back.
    Loss,
}

/// Which token gets the score of a completion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScorePlacement {
    /// The completion's last one.
    #[default]
    LastToken,
    /// The slot after it, where there is one; values are kept one slot longer. As TRL's
    /// `PPOTrainer` does it.
    PostEos,
}

impl Default for PpoConfig {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::Ppo,
            steps: 100,
            prompts_per_step: 64,
            samples_per_prompt: 1,
            rewards: Vec::new(),
            constraints: Vec::new(),
            max_new_tokens: 64,
            temperature: Scheduled::Constant(1.0),
            epsilon: 0.0,
            epochs: 4,
            minibatches: 1,
            micro_batch_rows: 64,
            gradient_checkpointing: false,
            advantage: AdvantageEstimator::Gae,
            policy_loss: PolicyLoss::Clip,
            ratio_of: RatioOf::Token,
            loss_mean: LossMean::Tokens,
            clip_range: 0.2,
            clip_range_high: None,
            dual_clip: None,
            ratio_cap: None,
            clip_range_value: 0.2,
            importance_cap: 2.0,
            overlap: false,
            value_head: false,
            value_coefficient: 0.1,
            entropy_coefficient: EntropyConfig::default(),
            gamma: Scheduled::Constant(1.0),
            lambda: Scheduled::Constant(0.95),
            value_warmup_steps: 0,
            scores: ScoreConfig::default(),
            whiten_rewards: false,
            whiten_advantages: true,
            missing_eos_penalty: 1.0,
            score_at: ScorePlacement::LastToken,
            kl_estimator: KlEstimator::K1,
            trpo: None,
            kl_placement: KlPlacement::Reward,
            kl: KlConfig::default(),
            lora: None,
            ptx: None,
            optimizer: optimizer(),
            kl_rate: None,
            guards: GuardsConfig::default(),
            monitor: MonitorConfig::default(),
            ema: None,
            checkpoints: checkpoints(),
            eval_prompts: 64,
            sample_every: 10,
            precision: Precisions::default(),
        }
    }
}

fn optimizer() -> OptimizerConfig {
    OptimizerConfig {
        learning_rate: 3e-6,
        schedule: Schedule::Linear,
        epsilon: 1e-5,
        ..OptimizerConfig::default()
    }
}

fn checkpoints() -> Cadence {
    Cadence { evaluate_every: 10, save_every: 10, use_best: false, ..Cadence::default() }
}

impl PpoConfig {
    /// Completions of a step.
    pub fn rows_per_step(&self) -> usize {
        self.prompts_per_step * self.samples_per_prompt
    }

    /// The rewards whose weighted sum is the score, one at least.
    pub fn reward_sources(&self) -> Vec<RewardSource> {
        if self.rewards.is_empty() { vec![RewardSource::MODEL] } else { self.rewards.clone() }
    }

    /// Whether a reward model is asked.
    pub fn asks_model(&self) -> bool {
        self.reward_sources().iter().any(|it| it.kind == RewardKind::Model)
    }

    /// The columns of prompts that rewards read.
    pub fn columns(&self) -> Vec<String> {
        let mut columns: Vec<String> =
            self.rewards.iter().flat_map(|it| it.kind.columns()).cloned().collect();
        columns.sort_unstable();
        columns.dedup();
        columns
    }

    /// Whether completions are sampled by another policy than the one that is trained: the one before
    /// the last update, its rounding, or one that explores.
    pub fn samples_elsewhere(&self) -> bool {
        let Precisions { rollout, training, .. } = self.precision;
        self.overlap || self.epsilon > 0.0 || [rollout, training].contains(&Precision::Bf16)
    }

    /// The policy's loss with its numbers.
    pub fn objective(&self) -> Objective {
        let high = self.clip_range_high.unwrap_or(self.clip_range);
        Objective {
            loss: self.policy_loss,
            ratio_of: self.ratio_of,
            clip: [self.clip_range, high],
            dual_clip: self.dual_clip,
            ratio_cap: self.ratio_cap,
        }
    }

    /// Whether values come from a model of their own.
    pub fn has_value_model(&self) -> bool {
        self.advantage.needs_values() && !self.value_head
    }

    /// Whether a step, counted from 0, updates the value model alone.
    pub fn warms_value_up(&self, step: usize) -> bool {
        step < self.value_warmup_steps
    }

    /// Completions of one update.
    pub fn minibatch_rows(&self) -> usize {
        self.rows_per_step() / self.minibatches.max(1)
    }

    /// How completions are sampled at this temperature; `eos` ends them.
    pub fn sampling(&self, temperature: f32, eos: u32) -> Sampling {
        Sampling {
            max_new_tokens: self.max_new_tokens,
            ends: vec![eos],
            batch_rows: self.micro_batch_rows,
            precision: self.precision.rollout,
            epsilon: self.epsilon,
            ..Sampling::at_temperature(temperature)
        }
    }
}
