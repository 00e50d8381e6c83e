use burn::module::AutodiffModule;
use burn::prelude::*;
use rein_data::seed::Seed;
use rein_data::workers::Workers;
use rein_model::backend::{LmAutodiffBackend, LmBackend};
use rein_model::lora::LoraConfig;
use rein_model::optim::OptimizerConfig;
use rein_model::{CausalLm, Learner, ModelError, ScalarModel};

use crate::config::PpoConfig;
use crate::halves::Halves;

/// The two networks that PPO trains.
#[derive(Module, Debug)]
pub struct ActorCritic<B: Backend> {
    /// Acts.
    pub policy: CausalLm<B>,
    /// Says what reward is to be expected.
    pub value: ScalarModel<B>,
}

impl<B: LmBackend> ActorCritic<B> {
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
        Ok(Self {
            policy: self.policy.with_lora(config, seed.child("policy"), device)?,
            value: self.value.with_lora(config, seed.child("value"), device)?,
        })
    }

    /// Both networks, trained in the precision and with the memory that the config says.
    #[must_use]
    pub fn computed_as(self, config: &PpoConfig) -> Self {
        let (precision, recomputes) = (config.precision.training, config.gradient_checkpointing);
        let Self { policy, value } = self;
        Self {
            policy: policy.with_precision(precision).with_gradient_checkpointing(recomputes),
            value: value.with_precision(precision).with_gradient_checkpointing(recomputes),
        }
    }

    /// Both networks without their adapters.
    #[must_use]
    pub fn without_lora(self) -> Self {
        Self { policy: self.policy.without_lora(), value: self.value.without_lora() }
    }
}

/// The two networks in training, each with an optimiser of its own.
#[derive(Debug)]
pub struct Learners<B: LmAutodiffBackend> {
    /// Acts.
    pub policy: Learner<B, CausalLm<B>>,
    /// Says what reward is to be expected.
    pub value: Learner<B, ScalarModel<B>>,
    /// The threads of each, if both are updated at a time.
    pub(crate) halves: Option<Halves>,
}

impl<B: LmAutodiffBackend> Learners<B> {
    /// Networks with optimisers that have no history.
    pub fn new(actors: ActorCritic<B>, config: OptimizerConfig) -> Self {
        let ActorCritic { policy, mut value } = actors;
        let n_parameters = [policy.num_params(), value.num_params()];
        let halves = if B::ON_HOST { Halves::for_networks(n_parameters) } else { None };
        if halves.is_some() {
            // A value model that was made of the policy has leaves that are the policy's: on tapes of
            // its own, no thread waits for the other's.
            let device = value.devices().into_iter().next().unwrap_or_default();
            value = value.fork(&device);
        }
        Self { policy: Learner::new(policy, config), value: Learner::new(value, config), halves }
    }

    /// Learns together with these workers, who exchange one gradient after the other.
    pub(crate) fn share_with(&mut self, workers: &Workers) {
        self.policy.share_with(workers);
        self.value.share_with(workers);
        if workers.count() > 1 {
            self.halves = None;
        }
    }

    /// The networks as they are, without a tape.
    pub fn valid(&self) -> ActorCritic<B::InnerBackend> {
        ActorCritic { policy: self.policy.module().valid(), value: self.value.module().valid() }
    }
}
