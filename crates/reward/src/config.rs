//! What fitting a reward model can be told.

use rein_data::batches;
use rein_data::stage::Cadence;
use rein_model::backend::LmBackend;
use rein_model::lora::LoraConfig;
use rein_model::optim::OptimizerConfig;
use rein_model::{Precision, ScalarModel};
use serde::{Deserialize, Serialize};

use crate::adversarial::AdversarialConfig;
use crate::adversarial::exchange::ExchangeConfig;
use crate::adversarial::search::SearchConfig;
use crate::ensemble::EnsembleConfig;
use crate::inverse::demonstrations::DemonstrationsConfig;
use crate::meta::PersonalConfig;
use crate::objective::LossConfig;

/// How a reward model is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RewardConfig {
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
    /// Pulls the scores of a pair towards a sum of zero: `c (chosen + rejected)²`.
    pub center_rewards_coefficient: f64,
    /// What judgements cost: ties, rankings, scores, weights.
    pub loss: LossConfig,
    /// Judgements to train on, at most, for learning curves; the first of a seeded order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_judgements: Option<usize>,
    /// Completions of the model as it was before, sampled so that their rewards have mean 0 and deviation 1. 0 takes
    /// the judged ones instead.
    pub reference_completions: usize,
    /// Makes the pairs of demonstrations and of a model's own samples, if given, instead of asking people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub demonstrations: Option<DemonstrationsConfig>,
    /// The `α` of the [`Noise`](rein_model::Noise) that embeddings get while they are trained (5 to 15), if given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub neftune_noise_alpha: Option<f64>,
    /// Trains several heads instead of one, if given, so that the model knows what it doesn't know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ensemble: Option<EnsembleConfig>,
    /// Trains against an attacker that moves embeddings, if given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adversarial: Option<AdversarialConfig>,
    /// Trains on rows with exchanged tokens, if given, which are held worse than the rows themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exchange: Option<ExchangeConfig>,
    /// Lets a policy look for what fools an ensemble, and trains it anew on that, if given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search: Option<SearchConfig>,
    /// Trains adapters and the score head beside a frozen model, if given, instead of the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraConfig>,
    /// Learns of many people in which ways they differ, if given, so that a few answers tell what one of them
    /// likes. Judgements must say who gave them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub personal: Option<PersonalConfig>,
    /// The update.
    pub optimizer: OptimizerConfig,
    /// When to evaluate, save and stop.
    pub checkpoints: Cadence,
    /// Of the products, forward and backward; a run's `[precision]` says it for all stages.
    #[serde(skip)]
    pub precision: Precision,
}

impl Default for RewardConfig {
    fn default() -> Self {
        Self {
            epochs: 1.0,
            batch_rows: 32,
            micro_batch_rows: 32,
            gradient_checkpointing: false,
            max_tokens: 1024,
            center_rewards_coefficient: 0.01,
            loss: LossConfig::default(),
            max_judgements: None,
            reference_completions: 256,
            demonstrations: None,
            neftune_noise_alpha: None,
            ensemble: None,
            adversarial: None,
            exchange: None,
            search: None,
            lora: None,
            personal: None,
            optimizer: OptimizerConfig::default(),
            checkpoints: Cadence::default(),
            precision: Precision::F32,
        }
    }
}

impl RewardConfig {
    /// What is wrong with these settings.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.optimizer.problems("reward.optimizer");
        problems.extend(self.lora.iter().flat_map(|lora| lora.problems("reward.lora")));
        let demonstrations = self.demonstrations.iter();
        problems.extend(demonstrations.flat_map(|it| it.problems("reward.demonstrations")));
        if let Some(personal) = &self.personal {
            problems.extend(personal.problems("reward.personal"));
            if self.demonstrations.is_some() {
                problems.push("`reward.personal` needs people's judgements; leave `reward.demonstrations` out".into());
            }
            let is_hardened = self.ensemble.is_some()
                || self.adversarial.is_some()
                || self.exchange.is_some()
                || self.search.is_some()
                || self.neftune_noise_alpha.is_some();
            if personal.joint && is_hardened {
                problems.push(
                    "`reward.personal.joint` knows no ensemble, noise or attackers; leave them out"
                        .into(),
                );
            }
            if personal.joint && self.lora.is_some() {
                problems.push(
                    "`reward.personal.joint` trains all weights; leave `reward.lora` out".into(),
                );
            }
        }
        problems.extend(self.ensemble.iter().flat_map(|it| it.problems("reward.ensemble")));
        problems.extend(self.adversarial.iter().flat_map(|it| it.problems("reward.adversarial")));
        problems.extend(self.exchange.iter().flat_map(|it| it.problems("reward.exchange")));
        problems.extend(self.search.iter().flat_map(|it| it.problems("reward.search")));
        if self.search.is_some() && self.ensemble.is_none() {
            problems
                .push("`reward.search` needs `reward.ensemble`: one head can't disagree".into());
        }
        problems.extend(batches::divides("reward", self.batch_rows, self.micro_batch_rows));
        if self.epochs <= 0.0 || !self.epochs.is_finite() {
            problems.push("`reward.epochs` must be above 0".into());
        }
        if self.center_rewards_coefficient < 0.0 {
            problems.push("`reward.center_rewards_coefficient` must be at least 0".into());
        }
        problems.extend(self.loss.problems());
        if self.max_judgements == Some(0) {
            problems.push("`reward.max_judgements` must be above 0".into());
        }
        if self.neftune_noise_alpha.is_some_and(|it| !(it > 0.0 && it.is_finite())) {
            problems.push("`reward.neftune_noise_alpha` must be above 0".into());
        }
        if self.max_tokens == 0 {
            problems.push("`reward.max_tokens` must be above 0".into());
        }
        problems
    }

    /// The model, computed as these settings say.
    pub(crate) fn computed<B: LmBackend>(&self, model: ScalarModel<B>) -> ScalarModel<B> {
        let model = model.with_precision(self.precision);
        model.with_gradient_checkpointing(self.gradient_checkpointing)
    }

    /// Updates on `n_judgements` judgements.
    pub fn n_steps(&self, n_judgements: usize) -> usize {
        batches::steps(n_judgements, self.batch_rows, self.epochs)
    }
}
