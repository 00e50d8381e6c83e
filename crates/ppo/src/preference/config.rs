use rein_data::batches;
use rein_data::stage::Cadence;
use rein_model::backend::LmBackend;
use rein_model::lora::LoraConfig;
use rein_model::optim::OptimizerConfig;
use rein_model::{CausalLm, Precisions};
use serde::{Deserialize, Serialize};

use crate::preference::loss::{LossType, PairLoss};

/// How a policy is optimised on preference pairs. Defaults are those of TRL's `DPOConfig` where it has one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DpoConfig {
    /// Visits of each pair.
    pub epochs: f64,
    /// Pairs of one update.
    pub batch_rows: usize,
    /// Pairs of one forward pass; divides `batch_rows` and doesn't change the update.
    pub micro_batch_rows: usize,
    /// Whether what is inside blocks is computed again for the backward pass instead of kept.
    pub gradient_checkpointing: bool,
    /// Longer rows lose the beginning of their prompt.
    pub max_tokens: usize,
    /// What is learned from a pair.
    pub loss_type: LossType,
    /// How far the policy is held from leaving the reference; without one, how much rewards differ. 0.1
    /// suits losses with a reference, 2 and more `simpo`.
    pub beta: f64,
    /// The share of pairs whose label is taken to be wrong, in `sigmoid`, `robust`, `exo_pair`, `cpo` and
    /// `simpo`.
    pub label_smoothing: f64,
    /// By how much `simpo`'s rewards shall differ.
    pub simpo_gamma: f64,
    /// Whether the policy is compared with nothing instead of where it began.
    pub reference_free: bool,
    /// The weight of imitating the preferred completion beside the loss (TRL: `rpo_alpha`, `cpo_alpha`); if
    /// left out, 1 for `cpo` and `orpo`, 0 for the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nll_coefficient: Option<f64>,
    /// Trains adapters, if given, instead of the policy; without adapters, it is its own reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraConfig>,
    /// The update.
    pub optimizer: OptimizerConfig,
    /// When to evaluate, save and stop. The best step is the one with the lowest held-out loss.
    pub checkpoints: Cadence,
    /// In which precision what is computed and kept; a run's `[precision]` says it for all stages.
    #[serde(skip)]
    pub precision: Precisions,
}

impl Default for DpoConfig {
    fn default() -> Self {
        Self {
            epochs: 1.0,
            batch_rows: 32,
            micro_batch_rows: 32,
            gradient_checkpointing: false,
            max_tokens: 1024,
            loss_type: LossType::Sigmoid,
            beta: 0.1,
            label_smoothing: 0.0,
            simpo_gamma: 0.5,
            reference_free: false,
            nll_coefficient: None,
            lora: None,
            optimizer: OptimizerConfig {
                learning_rate: 1e-6,
                warmup_ratio: 0.0,
                ..OptimizerConfig::default()
            },
            checkpoints: Cadence::default(),
            precision: Precisions::default(),
        }
    }
}

impl DpoConfig {
    /// What is wrong with these settings.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.optimizer.problems("dpo.optimizer");
        problems.extend(self.lora.iter().flat_map(|lora| lora.problems("dpo.lora")));
        problems.extend(batches::divides("dpo", self.batch_rows, self.micro_batch_rows));
        let is_weight = |it: f64| it >= 0.0 && it.is_finite();
        let rules = [
            (self.epochs > 0.0 && self.epochs.is_finite(), "epochs", "above 0"),
            (self.max_tokens >= 2, "max_tokens", "at least 2"),
            (self.beta > 0.0 && self.beta.is_finite(), "beta", "above 0"),
            ((0.0..0.5).contains(&self.label_smoothing), "label_smoothing", "within 0..0.5"),
            (is_weight(self.simpo_gamma), "simpo_gamma", "at least 0"),
            (self.nll_coefficient.is_none_or(is_weight), "nll_coefficient", "at least 0"),
        ];
        let broken = rules.into_iter().filter(|(fine, ..)| !fine);
        problems.extend(broken.map(|(_, key, rule)| format!("`dpo.{key}` must be {rule}")));
        problems
    }

    /// Updates on `n_pairs` pairs.
    pub fn n_steps(&self, n_pairs: usize) -> usize {
        batches::steps(n_pairs, self.batch_rows, self.epochs)
    }

    /// The loss and its numbers.
    pub fn loss(&self) -> PairLoss {
        PairLoss {
            loss_type: self.loss_type,
            beta: self.beta,
            label_smoothing: self.label_smoothing,
            gamma: self.simpo_gamma,
        }
    }

    /// Whether the policy is compared with a reference.
    pub fn has_reference(&self) -> bool {
        self.loss_type.has_reference() && !self.reference_free
    }

    /// The weight of imitation.
    pub fn imitation(&self) -> f64 {
        self.nll_coefficient.unwrap_or_else(|| self.loss_type.nll_coefficient())
    }

    /// The policy, computed as these settings say.
    pub(super) fn computed<B: LmBackend>(&self, model: CausalLm<B>) -> CausalLm<B> {
        let model = model.with_precision(self.precision.training);
        model.with_gradient_checkpointing(self.gradient_checkpointing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_fine_and_nonsense_is_named() {
        assert_eq!(DpoConfig::default().problems(), Vec::<String>::new());
        let config = DpoConfig {
            beta: 0.0,
            label_smoothing: 0.5,
            nll_coefficient: Some(f64::NAN),
            micro_batch_rows: 5,
            ..DpoConfig::default()
        };
        let want = [
            "`dpo.micro_batch_rows` (5) does not divide `dpo.batch_rows` (32)",
            "`dpo.beta` must be above 0",
            "`dpo.label_smoothing` must be within 0..0.5",
            "`dpo.nll_coefficient` must be at least 0",
        ];
        assert_eq!(config.problems(), want);
    }

    #[test]
    fn imitation_follows_from_the_loss_unless_it_is_said() {
        let weight = |loss_type, nll_coefficient| {
            DpoConfig { loss_type, nll_coefficient, ..DpoConfig::default() }.imitation()
        };
        assert_eq!(weight(LossType::Sigmoid, None), 0.0);
        assert_eq!(weight(LossType::Orpo, None), 1.0);
        assert_eq!(weight(LossType::Cpo, Some(0.0)), 0.0);
    }
}
