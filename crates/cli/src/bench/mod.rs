//! Times the standard workloads: a step of fine-tuning, a rollout, an iteration of PPO.
//!
//! Shapes and batches are the same whatever the backend, weights and prompts are random, and no
//! completion ends before its full length, so that figures compare. [`ops`] times the operations that a
//! workload is made of, [`slopes`] says how it grows, and [`soak`] whether it stays as large as it is.
//! [`learn`] measures no time, but whether algorithms learn, [`inverse`] whether rewards are recovered, [`meta`] how
//! soon a person is known, [`overoptimize`] what becomes of the truth while a reward is optimised, and [`red_team`] whether
//! a weakness is found and mended.

mod args;
mod clock;
mod inverse;
mod learn;
mod meta;
mod ops;
mod overoptimize;
mod query;
mod red_team;
mod shape;
mod slopes;
mod soak;
mod workloads;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::ValueEnum;
use rein_model::backend::LmAutodiffBackend;
use rein_model::config::ModelConfig;
use rein_model::{Precision, moments_obstacle, obstacle};
use serde::Serialize;

use self::args::TrainingArgs;
use self::clock::time;
use self::inverse::Inverse;
use self::learn::Learn;
use self::meta::Meta;
use self::ops::Ops;
use self::overoptimize::Overoptimize;
use self::query::Queries;
use self::red_team::RedTeaming;
use self::soak::Soak;
use self::workloads::Networks;
use crate::args::BenchArgs;
use crate::device::{BackendName, Work, run_on};
use crate::memory;
use crate::speech::print;

pub(crate) use self::args::{BenchCommand, SizeArgs};
pub(crate) use self::shape::Shape;

/// Measures what was asked for.
pub(crate) fn run(command: &BenchCommand) -> Result<ExitCode> {
    match command {
        BenchCommand::Sft(args) => training(Workload::Sft, args, false),
        BenchCommand::Rollout(args) => workload(Workload::Rollout, args, [false, false]),
        BenchCommand::Ppo(args) => training(Workload::Ppo, &args.training, args.overlap),
        BenchCommand::Ops(args) => {
            let backend = args.backend.unwrap_or_else(BackendName::default_of_build);
            run_on(backend, Ops { args, backend: backend.name() })?;
            Ok(ExitCode::SUCCESS)
        }
        BenchCommand::Slopes(args) => {
            slopes::run(args)?;
            Ok(ExitCode::SUCCESS)
        }
        BenchCommand::Soak(args) => {
            let backend = args.backend.unwrap_or_else(BackendName::default_of_build);
            let is_steady = run_on(backend, Soak { args })?;
            Ok(if is_steady { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        BenchCommand::Learn(args) => {
            let backend = args.backend.unwrap_or_else(BackendName::default_of_build);
            let all_learn = run_on(backend, Learn { args })?;
            Ok(if all_learn { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        BenchCommand::Inverse(args) => {
            let backend = args.backend.unwrap_or_else(BackendName::default_of_build);
            let all_found = run_on(backend, Inverse { args })?;
            Ok(if all_found { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        BenchCommand::Meta(args) => {
            let backend = args.backend.unwrap_or_else(BackendName::default_of_build);
            let is_good = run_on(backend, Meta { args })?;
            Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        BenchCommand::Query(args) => {
            let backend = args.backend.unwrap_or_else(BackendName::default_of_build);
            let is_good = run_on(backend, Queries { args })?;
            Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        BenchCommand::RedTeam(args) => {
            let backend = args.backend.unwrap_or_else(BackendName::default_of_build);
            let is_good = run_on(backend, RedTeaming { args })?;
            Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        BenchCommand::Overoptimize(args) => {
            let backend = args.backend.unwrap_or_else(BackendName::default_of_build);
            run_on(backend, Overoptimize { args })?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn training(what: Workload, args: &TrainingArgs, overlap: bool) -> Result<ExitCode> {
    workload(what, &args.bench, [args.gradient_checkpointing, overlap])
}

fn workload(
    what: Workload,
    args: &BenchArgs,
    [recomputes, overlap]: [bool; 2],
) -> Result<ExitCode> {
    let backend = args.backend.unwrap_or_else(BackendName::default_of_build);
    let (shape, sizes, iterations) = (args.shape, args.sizes, args.iters);
    let (precision, moments) = (args.dtype.into(), args.moments.into());
    let bench = Bench {
        what,
        shape,
        sizes,
        iterations,
        backend: backend.name(),
        precision,
        moments,
        recomputes,
        overlap,
    };
    print(&format!("{}\n", run_on(backend, bench)?));
    Ok(ExitCode::SUCCESS)
}

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Workload {
    /// Forward, backward, clipping and AdamW on one batch
    Sft,
    /// Sampling completions
    Rollout,
    /// Sampling, judging and four epochs of updates
    Ppo,
}

/// What grows in [`slopes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Axis {
    /// Rows of a step, or prompts
    Batch,
    /// Tokens of a row
    Length,
    /// Width of the model
    Width,
    /// Entries of the vocabulary
    Vocabulary,
}

/// One line of figures.
#[derive(Debug, Serialize)]
struct Figures {
    what: Workload,
    shape: Shape,
    /// Where they aren't the shape's.
    #[serde(flatten)]
    sizes: SizeArgs,
    params: usize,
    backend: String,
    threads: usize,
    dtype: Precision,
    moments: Precision,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    gradient_checkpointing: bool,
    /// Whether sampling and updates overlap.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    overlap: bool,
    /// Seconds.
    median: f64,
    min: f64,
    max: f64,
    tokens_per_s: f64,
    peak_rss_mib: Option<f64>,
    flops_per_s: f64,
    /// Of what a large matrix product reaches in the same run.
    share_of_peak: f64,
}

/// Times one workload and prints its figures as a line of JSON.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) what: Workload,
    pub(crate) shape: Shape,
    pub(crate) sizes: SizeArgs,
    pub(crate) iterations: usize,
    pub(crate) backend: String,
    pub(crate) precision: Precision,
    pub(crate) moments: Precision,
    pub(crate) recomputes: bool,
    pub(crate) overlap: bool,
}

impl Work for Bench {
    type Output = String;

    fn run<B: LmAutodiffBackend>(self, device: B::Device) -> Result<String> {
        let sizes = self.shape.sizes().with(&self.sizes)?;
        let config = ModelConfig::llama(sizes.model)?;
        let Self { precision, moments, recomputes, .. } = self;
        if let Some(obstacle) = obstacle::<B>(precision) {
            bail!("`--dtype bf16`: {obstacle}; leave the option out to compute in f32");
        }
        if let Some(obstacle) = moments_obstacle::<B>(moments, &device) {
            bail!("`--moments bf16`: {obstacle}; leave the option out to keep them in f32");
        }
        let bench = Networks::<B> { sizes, config, device, precision, moments, recomputes };
        let (seconds, n_tokens, flops) = match self.what {
            Workload::Sft => bench.sft(self.iterations)?,
            Workload::Rollout => bench.rollout(self.iterations)?,
            Workload::Ppo => {
                bench.ppo(self.overlap, |iteration| time(self.iterations, iteration))?
            }
        };
        let median = seconds[seconds.len() / 2];
        let figures = Figures {
            what: self.what,
            shape: self.shape,
            sizes: self.sizes,
            params: bench.config.n_params(),
            backend: self.backend,
            threads: n_threads(),
            dtype: precision,
            moments,
            gradient_checkpointing: recomputes,
            overlap: self.overlap,
            median,
            min: seconds[0],
            max: seconds[seconds.len() - 1],
            tokens_per_s: n_tokens as f64 / median,
            peak_rss_mib: memory::peak_resident().map(mib),
            flops_per_s: flops / median,
            share_of_peak: flops / median / bench.peak(),
        };
        Ok(serde_json::to_string(&figures)?)
    }
}

/// Threads of a CPU backend.
fn n_threads() -> usize {
    std::env::var("RAYON_NUM_THREADS")
        .ok()
        .and_then(|it| it.parse().ok())
        .or_else(|| std::thread::available_parallelism().ok().map(usize::from))
        .unwrap_or(1)
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1048576.0
}
