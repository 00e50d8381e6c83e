//! Sampling completions with a key-value cache.

use rein_data::seed::RowSeeds;

use crate::backend::LmBackend;
use crate::decoding::{Prefilled, complete};
use crate::engine::{Engine, Rollout};
use crate::guard::rows_fit;
use crate::monitor::Monitor;
use crate::sampling::Sampling;
use crate::{CausalLm, ModelError};

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
    /// By itself: an end token, or the [`Monitor`] said so.
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
/// Equal prompts of a batch are computed once and share what they give.
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
    let mut batches = Batches::new(model, prompts, sampling, seeds, device)?;
    let mut rows = Vec::with_capacity(prompts.len());
    while let Some(batch) = batches.next(&mut ()) {
        rows.extend(batch);
    }
    Ok(rows)
}

/// [`generate`], batch by batch: each is computed when it is asked for.
#[derive(Debug)]
pub struct Batches<'a, B: LmBackend> {
    model: &'a CausalLm<B>,
    prompts: &'a [Vec<u32>],
    sampling: &'a Sampling,
    seeds: RowSeeds,
    device: &'a B::Device,
    n_done: usize,
    /// What decodes on CPUs; made when the first batch is asked for.
    rollout: Option<Rollout<'a>>,
}

impl<'a, B: LmBackend> Batches<'a, B> {
    /// Nothing is computed yet; errors are those of [`generate`].
    pub fn new(
        model: &'a CausalLm<B>,
        prompts: &'a [Vec<u32>],
        sampling: &'a Sampling,
        seeds: impl Into<RowSeeds>,
        device: &'a B::Device,
    ) -> Result<Self, ModelError> {
        sampling.check()?;
        sampling.fits(model.config())?;
        rows_fit(model.config(), prompts, sampling.max_new_tokens)?;
        let seeds = seeds.into();
        Ok(Self { model, prompts, sampling, seeds, device, n_done: 0, rollout: None })
    }

    /// The completions of the next batch of prompts, if any are left. `monitor` follows them, and on
    /// CPUs also those of later prompts, which begin where others have ended.
    pub fn next(&mut self, monitor: &mut dyn Monitor) -> Option<Vec<Generated>> {
        let Self { model, prompts, sampling, seeds, device, .. } = *self;
        if B::ON_HOST {
            let engine = || Engine::new(model, sampling.precision);
            let new = || Rollout::new(engine(), prompts, sampling, seeds);
            return self.rollout.get_or_insert_with(new).next(monitor);
        }
        let first = self.n_done;
        let prompts = prompts[first..].chunks(sampling.batch_rows).next()?;
        self.n_done += prompts.len();
        let start = Prefilled::new(model, prompts, device);
        let seeds = (first..).map(|row| (row, seeds.of(row)));
        let rows = prompts.iter().zip(seeds).map(|(prompt, (row, seed))| (row, &prompt[..], seed));
        let (generated, _) = complete(model, start, &rows.collect::<Vec<_>>(), sampling, monitor);
        Some(generated)
    }
}
