//! A model that is sampled, apart from the one that learns.

use rein_data::seed::RowSeeds;

use crate::backend::LmBackend;
use crate::config::ModelConfig;
use crate::decoding::{Prefilled, complete};
use crate::engine::{Engine, Rollout};
use crate::guard::rows_fit;
use crate::monitor::Monitor;
use crate::sampling::Sampling;
use crate::{CausalLm, Generated, ModelError};

/// A model as sampling reads it, and how it is sampled. A snapshot: it doesn't follow the model's training,
/// and another thread can take it.
///
/// Where tensors lie in main memory, it holds a packed copy and no tensors, so that an update still changes
/// weights in place. Elsewhere it shares the tensors, and as long as it lives, an update copies the weights
/// that it changes.
#[derive(Debug)]
pub struct Sampler<B: LmBackend> {
    weights: Weights<B>,
    config: ModelConfig,
    sampling: Sampling,
    device: B::Device,
}

#[derive(Debug)]
enum Weights<B: LmBackend> {
    /// For what decodes on CPUs.
    Packed(Box<Engine>),
    Shared(Box<CausalLm<B>>),
}

impl<B: LmBackend> Sampler<B> {
    /// A snapshot of a model, in the precision of `sampling`.
    ///
    /// # Errors
    /// Settings that mean nothing, or name tokens that the model doesn't have.
    pub fn new(
        model: &CausalLm<B>,
        sampling: &Sampling,
        device: &B::Device,
    ) -> Result<Self, ModelError> {
        sampling.check()?;
        sampling.fits(model.config())?;
        let weights = if B::ON_HOST {
            Weights::Packed(Box::new(Engine::new(model, sampling.precision)))
        } else {
            Weights::Shared(Box::new(model.clone()))
        };
        let (config, sampling) = (model.config().clone(), sampling.clone());
        Ok(Self { weights, config, sampling, device: device.clone() })
    }

    /// Samples one completion for each prompt, as [`generate`](crate::generate()) does.
    ///
    /// # Errors
    /// A prompt without tokens, with tokens that the model doesn't have, or one that leaves no room for the
    /// new tokens.
    pub fn generate(
        &self,
        prompts: &[Vec<u32>],
        seeds: impl Into<RowSeeds>,
    ) -> Result<Vec<Generated>, ModelError> {
        let mut batches = self.batches(prompts, seeds)?;
        let mut rows = Vec::with_capacity(prompts.len());
        while let Some(batch) = batches.next(&mut ()) {
            rows.extend(batch);
        }
        Ok(rows)
    }

    /// [`generate`](Self::generate), batch by batch: nothing is computed yet, and errors are the same.
    pub fn batches<'a>(
        &'a self,
        prompts: &'a [Vec<u32>],
        seeds: impl Into<RowSeeds>,
    ) -> Result<Batches<'a, B>, ModelError> {
        rows_fit(&self.config, prompts, self.sampling.max_new_tokens)?;
        let seeds = seeds.into();
        Ok(Batches(match &self.weights {
            Weights::Packed(engine) => {
                Way::Slots(Rollout::new(engine, prompts, &self.sampling, seeds))
            }
            Weights::Shared(model) => {
                let Self { sampling, device, .. } = self;
                Way::Tensors(Tensors { model, sampling, device, prompts, seeds, n_done: 0 })
            }
        }))
    }
}

/// Completions of a [`Sampler`], batch by batch: each is computed when it is asked for.
#[derive(Debug)]
pub struct Batches<'a, B: LmBackend>(Way<'a, B>);

#[derive(Debug)]
enum Way<'a, B: LmBackend> {
    Slots(Rollout<'a>),
    Tensors(Tensors<'a, B>),
}

impl<B: LmBackend> Batches<'_, B> {
    /// The completions of the next batch of prompts, if any are left. `monitor` follows them, and on
    /// CPUs also those of later prompts, which begin where others have ended.
    pub fn next(&mut self, monitor: &mut dyn Monitor) -> Option<Vec<Generated>> {
        match &mut self.0 {
            Way::Slots(rollout) => rollout.next(monitor),
            Way::Tensors(tensors) => tensors.next(monitor),
        }
    }
}

/// A batch at a time, on tensors.
#[derive(Debug)]
struct Tensors<'a, B: LmBackend> {
    model: &'a CausalLm<B>,
    sampling: &'a Sampling,
    device: &'a B::Device,
    prompts: &'a [Vec<u32>],
    seeds: RowSeeds,
    n_done: usize,
}

impl<B: LmBackend> Tensors<'_, B> {
    fn next(&mut self, monitor: &mut dyn Monitor) -> Option<Vec<Generated>> {
        let Self { model, sampling, device, prompts, seeds, n_done: first } = *self;
        let prompts = prompts[first..].chunks(sampling.batch_rows).next()?;
        self.n_done += prompts.len();
        let start = Prefilled::new(model, prompts, device);
        let seeds = (first..).map(|row| (row, seeds.of(row)));
        let rows = prompts.iter().zip(seeds).map(|(prompt, (row, seed))| (row, &prompt[..], seed));
        let (generated, _) = complete(model, start, &rows.collect::<Vec<_>>(), sampling, monitor);
        Some(generated)
    }
}
