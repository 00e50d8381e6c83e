use burn::module::AutodiffModule;
use burn::prelude::*;
use rein_data::seed::Seed;
use rein_data::workers::Workers;
use rein_model::backend::{LmAutodiffBackend, LmBackend};
use rein_model::lora::LoraConfig;
use rein_model::optim::OptimizerConfig;
use rein_model::{CausalLm, Learner, ModelError, Precision, ScalarModel};

use crate::PpoError;
use crate::advantage::AdvantageEstimator;
use crate::config::PpoConfig;
use crate::halves::Halves;

/// The networks that are trained.
#[derive(Module, Debug)]
pub struct ActorCritic<B: Backend> {
    /// Acts.
    pub policy: CausalLm<B>,
    /// Says what reward is to be expected, where advantages ask for it.
    pub value: Option<ScalarModel<B>>,
}

impl<B: LmBackend> ActorCritic<B> {
    /// The networks that these advantages need. A policy with a head for values needs no value model.
    ///
    /// # Errors
    /// No value model where advantages ask for one.
    pub fn for_advantages(self, advantage: AdvantageEstimator) -> Result<Self, PpoError> {
        let needed = advantage.needs_values() && self.policy.value_head.is_none();
        if needed && self.value.is_none() {
            return Err(PpoError::Invalid("the advantages ask for a value model".into()));
        }
        Ok(Self { value: self.value.filter(|_| needed), ..self })
    }

    /// Both networks, frozen, with new adapters, which change nothing yet; the score head stays
    /// trainable.
    ///
    /// # Errors
    /// Those of [`CausalLm::with_lora`].
    pub fn with_lora(
        self,
        config: &LoraConfig,
        seed: Seed,
        device: &B::Device,
    ) -> Result<Self, ModelError> {
        let value = self.value.map(|it| it.with_lora(config, seed.child("value"), device));
        Ok(Self {
            policy: self.policy.with_lora(config, seed.child("policy"), device)?,
            value: value.transpose()?,
        })
    }

    /// Both networks, trained in the precision and with the memory that the config says. A trust region
    /// is looked at in f32, so its policy always computes in that.
    #[must_use]
    pub fn computed_as(self, config: &PpoConfig) -> Self {
        let (precision, recomputes) = (config.precision.training, config.gradient_checkpointing);
        let of_policy = if config.trpo.is_some() { Precision::F32 } else { precision };
        let Self { policy, value } = self;
        Self {
            policy: policy.with_precision(of_policy).with_gradient_checkpointing(recomputes),
            value: value
                .map(|it| it.with_precision(precision).with_gradient_checkpointing(recomputes)),
        }
    }

    /// Both networks without their adapters.
    #[must_use]
    pub fn without_lora(self) -> Self {
        Self {
            policy: self.policy.without_lora(),
            value: self.value.map(ScalarModel::without_lora),
        }
    }
}

/// The two networks in training, each with an optimiser of its own.
#[derive(Debug)]
pub struct Learners<B: LmAutodiffBackend> {
    /// Acts.
    pub policy: Learner<B, CausalLm<B>>,
    /// Says what reward is to be expected, where advantages ask for it.
    pub value: Option<Learner<B, ScalarModel<B>>>,
    /// The threads of each, if both are updated at a time.
    pub(crate) halves: Option<Halves>,
}

impl<B: LmAutodiffBackend> Learners<B> {
    /// Networks with optimisers that have no history.
    pub fn new(actors: ActorCritic<B>, config: OptimizerConfig) -> Self {
        let ActorCritic { policy, mut value } = actors;
        let halves = match &value {
            Some(value) if B::ON_HOST => {
                Halves::for_networks([policy.num_params(), value.num_params()])
            }
            _ => None,
        };
        if halves.is_some() {
            // A value model that was made of the policy has leaves that are the policy's: on tapes of
            // its own, no thread waits for the other's.
            value = value.map(|it| {
                let device = it.devices().into_iter().next().unwrap_or_default();
                it.fork(&device)
            });
        }
        let value = value.map(|it| Learner::new(it, config));
        Self { policy: Learner::new(policy, config), value, halves }
    }

    /// Learns together with these workers, who exchange one gradient after the other.
    pub(crate) fn share_with(&mut self, workers: &Workers) {
        self.policy.share_with(workers);
        self.value.iter_mut().for_each(|it| it.share_with(workers));
        if workers.count() > 1 {
            self.halves = None;
        }
    }

    /// The networks as they are, without a tape.
    pub fn valid(&self) -> ActorCritic<B::InnerBackend> {
        ActorCritic {
            policy: self.policy.module().valid(),
            value: self.value.as_ref().map(|it| it.module().valid()),
        }
    }
}
