//! Times the standard workloads: a step of fine-tuning, a rollout, an iteration of PPO.
//!
//! Shapes and batches are the same whatever the backend, weights and prompts are random, and no
//! completion ends before its full length, so that figures compare.

mod clock;
mod shape;
mod workloads;

use anyhow::Result;
use clap::ValueEnum;
use rein_model::backend::LmAutodiffBackend;
use rein_model::config::ModelConfig;
use serde::Serialize;

use self::workloads::Networks;
use crate::device::Work;
use crate::memory;

pub(crate) use self::shape::Shape;

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

/// One line of figures.
#[derive(Debug, Serialize)]
struct Figures {
    what: Workload,
    shape: Shape,
    params: usize,
    backend: String,
    threads: usize,
    dtype: &'static str,
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
    pub(crate) iterations: usize,
    pub(crate) backend: String,
}

impl Work for Bench {
    type Output = String;

    fn run<B: LmAutodiffBackend>(self, device: B::Device) -> Result<String> {
        let sizes = self.shape.sizes();
        let config = ModelConfig::llama(sizes.model)?;
        let bench = Networks::<B> { sizes, config, device };
        let (seconds, n_tokens, flops) = match self.what {
            Workload::Sft => bench.sft(self.iterations)?,
            Workload::Rollout => bench.rollout(self.iterations)?,
            Workload::Ppo => bench.ppo(self.iterations)?,
        };
        let median = seconds[seconds.len() / 2];
        let figures = Figures {
            what: self.what,
            shape: self.shape,
            params: bench.config.n_params(),
            backend: self.backend,
            threads: std::env::var("RAYON_NUM_THREADS")
                .ok()
                .and_then(|it| it.parse().ok())
                .or_else(|| std::thread::available_parallelism().ok().map(usize::from))
                .unwrap_or(1),
            dtype: "f32",
            median,
            min: seconds[0],
            max: seconds[seconds.len() - 1],
            tokens_per_s: n_tokens as f64 / median,
            peak_rss_mib: memory::peak_resident().map(|bytes| bytes as f64 / 1048576.0),
            flops_per_s: flops / median,
            share_of_peak: flops / median / bench.peak(),
        };
        Ok(serde_json::to_string(&figures)?)
    }
}
