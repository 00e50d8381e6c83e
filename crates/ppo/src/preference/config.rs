use rein_data::batches;
use rein_data::stage::Cadence;
use rein_model::backend::LmBackend;
use rein_model::lora::LoraConfig;
use rein_model::optim::OptimizerConfig;
use rein_model::{CausalLm, Precisions};
use serde::{Deserialize, Serialize};

use crate::preference::loss::{LossType, PairLoss};
use crate::preference::unpaired::KtoLoss;

/// How a policy is optimised on judgements: preference pairs, or with `kto` labelled completions. Defaults are those of TRL's `DPOConfig` where it has one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DpoConfig {
    /// Visits of each judgement.
    pub epochs: f64,
    /// Judgements of one update.
    pub batch_rows: usize,
    /// Judgements of one forward pass; divides `batch_rows` and doesn't change the update.
    pub micro_batch_rows: usize,
    /// Whether what is inside blocks is computed again for the backward pass instead of kept.
    pub gradient_checkpointing: bool,
    /// Longer rows lose the beginning of their prompt.
    pub max_tokens: usize,
    /// What is learned from a judgement.
    pub loss_type: LossType,
    /// How far the policy is held from leaving the reference; without one, how much rewards differ. 0.1
    /// suits losses with a reference, 2 and more `simpo`.
    pub beta: f64,
    /// The share of pairs whose label is taken to be wrong, in `sigmoid`, `robust`, `exo_pair`, `cpo` and
    /// `simpo`.
    pub label_smoothing: f64,
    /// By how much `simpo`'s rewards shall differ.
    pub simpo_gamma: f64,
    /// The weight of desirable completions in `kto`. It and the other weight suit the data where they even
    /// out the counts of both labels.
    pub desirable_weight: f64,
    /// The weight of undesirable completions in `kto`.
    pub undesirable_weight: f64,
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
            desirable_weight: 1.0,
            undesirable_weight: 1.0,
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
            (is_weight(self.desirable_weight), "desirable_weight", "at least 0"),
            (is_weight(self.undesirable_weight), "undesirable_weight", "at least 0"),
            (self.nll_coefficient.is_none_or(is_weight), "nll_coefficient", "at least 0"),
        ];
        let broken = rules.into_iter().filter(|(fine, ..)| !fine);
        problems.extend(broken.map(|(_, key, rule)| format!("`dpo.{key}` must be {rule}")));
        if !self.loss_type.is_of_pairs() {
            let of_pairs = [
                (self.reference_free, "reference_free"),
                (self.imitation() > 0.0, "nll_coefficient"),
            ];
            let set = of_pairs.into_iter().filter(|(is_set, _)| *is_set);
            problems.extend(set.map(|(_, key)| {
                format!("`dpo.{key}` is for losses of pairs, but `dpo.loss_type` is \"kto\"")
            }));
        }
        problems
    }

    /// Updates on `n_judgements` judgements.
    pub fn n_steps(&self, n_judgements: usize) -> usize {
        batches::steps(n_judgements, self.batch_rows, self.epochs)
    }

    /// The loss of pairs and its numbers.
    pub fn pair_loss(&self) -> PairLoss {
        PairLoss {
            loss_type: self.loss_type,
            beta: self.beta,
            label_smoothing: self.label_smoothing,
            gamma: self.simpo_gamma,
        }
    }

    /// KTO's loss and its numbers.
    pub fn kto_loss(&self) -> KtoLoss {
        KtoLoss {
            beta: self.beta,
            desirable_weight: self.desirable_weight,
            undesirable_weight: self.undesirable_weight,
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
    fn what_only_pairs_have_is_refused_with_labels() {
        let config = DpoConfig {
            loss_type: LossType::Kto,
            reference_free: true,
            undesirable_weight: -1.0,
            ..DpoConfig::default()
        };
        let want = [
            "`dpo.undesirable_weight` must be at least 0",
            "`dpo.reference_free` is for losses of pairs, but `dpo.loss_type` is \"kto\"",
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
