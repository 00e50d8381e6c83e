//! How fast this machine is with a given model, measured on a few of its own rows.

use std::time::Instant;

use anyhow::Result;
use burn::module::AutodiffModule;
use rein_data::encoding::TokenRow;
use rein_data::seed::Seed;
use rein_data::store::TokenStore;
use rein_data::workers::Workers;
use rein_model::backend::LmAutodiffBackend;
use rein_model::sft::{Sft, heldout_loss};
use rein_model::weights::RandomWeights;
use rein_model::{CausalLm, Sampling, generate};

use crate::device::Work;
use crate::plan::StagePlan;
use crate::setup::Setup;

/// Tokens a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Pace {
    /// Times the passes over each.
    trained: f64,
    judged: f64,
    sampled: f64,
}

impl Pace {
    /// About how long a stage will take.
    pub(crate) fn seconds(self, stage: &StagePlan) -> f64 {
        stage.trained_tokens * n_passes(stage.recomputes) / self.trained
            + stage.judged_tokens / self.judged
            + stage.sampled_tokens / self.sampled
    }
}

/// A backward pass counts as two, and what is inside blocks may be computed twice.
fn n_passes(recomputes: bool) -> f64 {
    if recomputes { 4.0 } else { 3.0 }
}

/// Measures the pace of a run's model.
#[derive(Debug)]
pub(crate) struct Measure<'a> {
    pub(crate) setup: &'a Setup,
}

impl Work for Measure<'_> {
    type Output = Pace;

    fn run<B: LmAutodiffBackend>(self, device: B::Device) -> Result<Pace> {
        self.setup.check_precision::<B>(&device)?;
        let Setup { config, model: shape, rows, world, .. } = self.setup;
        let mut weights = RandomWeights::new(shape, Seed::new(0));
        let model = CausalLm::<B>::new(shape, &mut weights, &device)?;
        let inner = model.valid();

        let sft = config.sft.clone();
        let n_passes = n_passes(sft.gradient_checkpointing);
        let first = 0..rows.train.len().min(sft.batch_rows);
        let few: Vec<TokenRow> = first.map(|row| rows.train.row(row)).collect::<Result<_, _>>()?;
        let batch: Vec<&TokenRow> = few.iter().collect();
        let few = TokenStore::in_memory(few.clone());
        let n_tokens = batch.iter().map(|row| row.tokens.len()).sum::<usize>() as f64;
        let (seed, micro_batch_rows) = (Seed::new(0), sft.micro_batch_rows);
        let mut stage = Sft::<B>::new(sft, model, None, rows.clone(), seed, &device)?;
        let mut step = 0;
        let trained = seconds(|| {
            stage.update(step, &batch)?;
            step += 1;
            Ok(())
        })?;
        let judged = seconds(|| {
            heldout_loss(&inner, &few, micro_batch_rows, &Workers::default(), &device)?;
            Ok(())
        })?;

        let ppo = &config.rl;
        // Nothing ends early: the model is new and knows no end.
        let sampling = Sampling {
            max_new_tokens: ppo.max_new_tokens.min(32),
            batch_rows: ppo.micro_batch_rows,
            ..Sampling::at_temperature(1.0)
        };
        let prompts = world.prompts.train.iter().take(ppo.micro_batch_rows);
        let prompts = prompts.map(|it| Ok(self.setup.prompt(it)?.tokens));
        let prompts: Vec<Vec<u32>> = prompts.collect::<Result<_>>()?;
        let n_sampled = prompts.iter().map(|it| it.len() + sampling.max_new_tokens).sum::<usize>();
        let sampled = seconds(|| {
            generate(&inner, &prompts, &sampling, Seed::new(0), &device)?;
            Ok(())
        })?;
        Ok(Pace {
            trained: n_tokens * n_passes / trained,
            judged: n_tokens / judged,
            sampled: n_sampled as f64 / sampled,
        })
    }
}

/// The time of the second run: the first one warms up.
fn seconds(mut run: impl FnMut() -> Result<()>) -> Result<f64> {
    run()?;
    let start = Instant::now();
    run()?;
    Ok(start.elapsed().as_secs_f64())
}
