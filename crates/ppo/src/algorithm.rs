//! Algorithms as combinations of advantages, policy loss and KL placement.

use serde::{Deserialize, Serialize};

use crate::advantage::{AdvantageEstimator, Scale};
use crate::config::{KlPlacement, PpoConfig};
use crate::kl::{KlConfig, KlEstimator};
use crate::loss::{LossMean, PolicyLoss, RatioOf};
use crate::trpo::TrpoConfig;

/// What settings are where nobody sets them. Every algorithm is a combination of settings that can as
/// well be made one by one; none of them is code of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// Proximal policy optimisation (Schulman et al., 2017).
    #[default]
    Ppo,
    /// Advantage actor-critic (Mnih et al., 2016), synchronous.
    A2c,
    /// Trust region policy optimisation (Schulman et al., 2015).
    Trpo,
    /// REINFORCE with the mean as its baseline (Williams, 1992).
    Reinforce,
    /// REINFORCE++ (Hu, 2025).
    ReinforcePlusPlus,
    /// REINFORCE, leave-one-out (Ahmadian et al., 2024).
    Rloo,
    /// Group-relative policy optimisation (Shao et al., 2024).
    Grpo,
    /// GRPO done right (Liu et al., 2025).
    DrGrpo,
    /// Decoupled clip, mean over tokens (Yu et al., 2025).
    Dapo,
    /// Group sequence policy optimisation (Zheng et al., 2025).
    Gspo,
    /// Clipped importance weights (MiniMax, 2025).
    Cispo,
    /// DPO on the policy's own completions (Guo et al., 2024).
    OnlineDpo,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Ppo,
        Self::A2c,
        Self::Trpo,
        Self::Reinforce,
        Self::ReinforcePlusPlus,
        Self::Rloo,
        Self::Grpo,
        Self::DrGrpo,
        Self::Dapo,
        Self::Gspo,
        Self::Cispo,
        Self::OnlineDpo,
    ];

    /// As configs name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ppo => "ppo",
            Self::A2c => "a2c",
            Self::Trpo => "trpo",
            Self::Reinforce => "reinforce",
            Self::ReinforcePlusPlus => "reinforce_plus_plus",
            Self::Rloo => "rloo",
            Self::Grpo => "grpo",
            Self::DrGrpo => "dr_grpo",
            Self::Dapo => "dapo",
            Self::Gspo => "gspo",
            Self::Cispo => "cispo",
            Self::OnlineDpo => "online_dpo",
        }
    }

    /// As papers write it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Ppo => "PPO",
            Self::A2c => "A2C",
            Self::Trpo => "TRPO",
            Self::Reinforce => "REINFORCE",
            Self::ReinforcePlusPlus => "REINFORCE++",
            Self::Rloo => "RLOO",
            Self::Grpo => "GRPO",
            Self::DrGrpo => "Dr. GRPO",
            Self::Dapo => "DAPO",
            Self::Gspo => "GSPO",
            Self::Cispo => "CISPO",
            Self::OnlineDpo => "Online DPO",
        }
    }

    /// What it is, in a line.
    pub fn about(self) -> &'static str {
        match self {
            Self::Ppo => "A value model expects (GAE); clipped ratios, four epochs",
            Self::A2c => "A value model expects (GAE); policy gradient, one epoch",
            Self::Trpo => "A value model expects (GAE); one step within a trust region",
            Self::Reinforce => "Nobody expects; policy gradient on rewards less their mean",
            Self::ReinforcePlusPlus => "Nobody expects; clipped ratios on whitened rewards",
            Self::Rloo => "A prompt's other completions expect; ratios of whole completions",
            Self::Grpo => "A prompt's completions expect, scaled; KL in the loss",
            Self::DrGrpo => "GRPO without what favours long and even completions",
            Self::Dapo => "GRPO over tokens, clipped higher above; no KL",
            Self::Gspo => "GRPO with ratios of whole completions",
            Self::Cispo => "GRPO with ratios that are cut, not clipped",
            Self::OnlineDpo => "The better of two completions is preferred to the other, as in DPO",
        }
    }

    /// Its settings.
    pub fn config(self) -> PpoConfig {
        let ppo = PpoConfig { algorithm: self, ..PpoConfig::default() };
        let (once, compared) = (self.once(), |scale| self.compared(scale));
        match self {
            Self::Ppo => ppo,
            Self::A2c => PpoConfig {
                policy_loss: PolicyLoss::PolicyGradient,
                whiten_advantages: true,
                ..once
            },
            Self::Trpo => PpoConfig { trpo: Some(TrpoConfig::default()), ..ppo },
            Self::Reinforce => PpoConfig {
                advantage: AdvantageEstimator::CenteredReturns,
                policy_loss: PolicyLoss::PolicyGradient,
                ..once
            },
            Self::ReinforcePlusPlus => PpoConfig {
                advantage: AdvantageEstimator::Returns,
                whiten_advantages: true,
                kl: KlConfig::Fixed { coefficient: 0.01 },
                ..once
            },
            Self::Rloo => PpoConfig {
                advantage: AdvantageEstimator::LeaveOneOut { standardized: false },
                samples_per_prompt: 4,
                prompts_per_step: 16,
                ratio_of: RatioOf::Completion,
                loss_mean: LossMean::Completions,
                ..once
            },
            Self::Grpo => PpoConfig {
                loss_mean: LossMean::Completions,
                kl: KlConfig::Fixed { coefficient: 0.04 },
                ..compared(Scale::Group)
            },
            Self::DrGrpo => PpoConfig { loss_mean: LossMean::Limit, ..compared(Scale::None) },
            Self::Dapo => PpoConfig { clip_range_high: Some(0.28), ..compared(Scale::Group) },
            Self::Gspo => PpoConfig {
                ratio_of: RatioOf::CompletionMean,
                loss_mean: LossMean::Completions,
                clip_range: 3e-4,
                clip_range_high: Some(4e-4),
                ..compared(Scale::Group)
            },
            Self::Cispo => PpoConfig {
                policy_loss: PolicyLoss::Cispo,
                ratio_cap: Some(5.0),
                ..compared(Scale::Group)
            },
            Self::OnlineDpo => PpoConfig {
                advantage: AdvantageEstimator::preferred(),
                policy_loss: PolicyLoss::PolicyGradient,
                loss_mean: LossMean::Sums,
                samples_per_prompt: 2,
                prompts_per_step: 32,
                kl: KlConfig::Fixed { coefficient: 0.0 },
                ..once
            },
        }
    }

    /// PPO with one update a step, and advantages as they are.
    fn once(self) -> PpoConfig {
        let ppo = PpoConfig { algorithm: self, ..PpoConfig::default() };
        PpoConfig { epochs: 1, minibatches: 1, whiten_advantages: false, ..ppo }
    }

    /// [`once`](Self::once), with completions of a prompt that are compared with one another.
    fn compared(self, scale: Scale) -> PpoConfig {
        PpoConfig {
            advantage: AdvantageEstimator::GroupRelative { scale },
            samples_per_prompt: 8,
            prompts_per_step: 8,
            kl_estimator: KlEstimator::K3,
            kl_placement: KlPlacement::Loss,
            kl: KlConfig::Fixed { coefficient: 0.0 },
            ..self.once()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_configs_and_settings_fit_together() {
        for algorithm in Algorithm::ALL {
            let name = serde_json::to_value(algorithm).expect("a name");
            assert_eq!(name, algorithm.name());
            let config = algorithm.config();
            assert_eq!(config.algorithm, algorithm);
            assert_eq!(config.problems(), Vec::<String>::new(), "{}", algorithm.name());
        }
    }
}
