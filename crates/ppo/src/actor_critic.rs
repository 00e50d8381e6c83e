use burn::prelude::*;
use rein_model::{CausalLm, ScalarModel};

/// The two networks that PPO trains, under one optimiser.
#[derive(Module, Debug)]
pub struct ActorCritic<B: Backend> {
    /// Acts.
    pub policy: CausalLm<B>,
    /// Says what reward is to be expected.
    pub value: ScalarModel<B>,
}
