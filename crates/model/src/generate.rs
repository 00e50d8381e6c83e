//! Sampling completions with a key-value cache.

use rein_data::seed::RowSeeds;

use crate::backend::LmBackend;
use crate::sampling::Sampling;
use crate::{CausalLm, ModelError, Sampler};

/// A sampled completion.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// The tokens, the one that ended it included.
    pub tokens: Vec<u32>,
    /// What the model gave to each of them, as [`Drawn`](crate::sampling::Drawn) says.
    pub logprobs: Vec<f32>,
    /// Why it ended.
    pub finish: Finish,
    /// How many attempts it took; more than 1 where those before broke a rule.
    pub n_attempts: usize,
}

/// Why a completion ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// By itself: an end token, or the [`Monitor`](crate::Monitor) said so.
    Stop,
    /// It has as many tokens as it may have.
    Length,
    /// Its last attempt, too, broke a rule, or no token was left to choose.
    Guard,
}

impl Generated {
    /// Whether it ended by itself.
    pub fn finished(&self) -> bool {
        self.finish == Finish::Stop
    }
}

/// Samples one completion for each prompt. Row `i` draws from `seeds.of(i)`, whatever its batch; a
/// [`Seed`](rein_data::seed::Seed) gives it `seed.index(i)`.
///
/// Equal prompts of a batch are computed once and share what they give. A [`Sampler`] does the same with
/// a model that goes on learning.
///
/// # Errors
/// Settings that mean nothing; a prompt without tokens, with tokens that the model doesn't have, or one
/// that leaves no room for the new tokens.
pub fn generate<B: LmBackend>(
    model: &CausalLm<B>,
    prompts: &[Vec<u32>],
    sampling: &Sampling,
    seeds: impl Into<RowSeeds>,
    device: &B::Device,
) -> Result<Vec<Generated>, ModelError> {
    Sampler::new(model, sampling, device)?.generate(prompts, seeds)
}
