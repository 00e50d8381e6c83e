//! Times the standard workloads: a step of fine-tuning, a rollout, an iteration of PPO.
//!
//! Shapes and batches are the same whatever the backend, weights and prompts are random, and no
//! completion ends before its full length, so that figures compare.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Result, bail};
use burn::module::AutodiffModule;
use burn::prelude::*;
use clap::ValueEnum;
use rand::RngExt;
use rein_data::encoding::TokenRow;
use rein_data::example::Completion;
use rein_data::seed::Seed;
use rein_data::store::TokenStore;
use rein_model::backend::LmAutodiffBackend;
use rein_model::config::{LlamaShape, ModelConfig};
use rein_model::sft::{Sft, SftConfig, SftRows};
use rein_model::tokens::host;
use rein_model::weights::RandomWeights;
use rein_model::{
    CausalLm, Frozen, Learner, Precision, Precisions, Sampling, ScalarModel, generate, obstacle,
};
use rein_ppo::ActorCritic;
use rein_ppo::config::PpoConfig;
use rein_ppo::rollout::{Judges, collect};
use rein_ppo::update::{prepare, update_minibatch};
use rein_reward::{LearnedReward, Normalization};
use serde::Serialize;

use crate::device::Work;
use crate::memory;

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

/// How large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
pub(crate) enum Shape {
    /// 0.26 million parameters
    #[value(name = "S")]
    S,
    /// 5.8 million parameters
    #[value(name = "M")]
    M,
    /// 110 million parameters
    #[value(name = "L")]
    L,
}

/// A model's shape and the batches that go with it.
struct Sizes {
    model: LlamaShape,
    /// Rows and tokens of a row in a step of fine-tuning.
    sft: [usize; 2],
    /// Prompts, tokens of a prompt and new tokens of a rollout.
    rollout: [usize; 3],
    micro_batch_rows: usize,
}

/// One line of figures.
#[derive(Debug, Serialize)]
struct Figures {
    what: Workload,
    shape: Shape,
    params: usize,
    backend: String,
    threads: usize,
    dtype: Precision,
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
    pub(crate) precision: Precision,
}

impl Work for Bench {
    type Output = String;

    fn run<B: LmAutodiffBackend>(self, device: B::Device) -> Result<String> {
        let sizes = self.shape.sizes();
        let config = ModelConfig::llama(sizes.model)?;
        let precision = self.precision;
        if let Some(obstacle) = obstacle::<B>(precision) {
            bail!("`--dtype bf16`: {obstacle}; leave the option out to compute in f32");
        }
        let bench = Networks::<B> { sizes, config, device, precision };
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
            dtype: self.precision,
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

impl Shape {
    fn sizes(self) -> Sizes {
        let model = |hidden_size, mlp_size, n_layers, n_heads, n_kv_heads, vocab_size| LlamaShape {
            vocab_size,
            hidden_size,
            mlp_size,
            n_layers,
            n_heads,
            n_kv_heads,
            max_positions: 1024,
            tied_head: true,
        };
        let (model, sft, rollout, micro_batch_rows) = match self {
            Self::S => (model(64, 172, 5, 8, 4, 512), [32, 128], [64, 16, 64], 16),
            Self::M => (model(256, 688, 6, 8, 8, 4096), [8, 128], [64, 32, 64], 16),
            Self::L => (model(768, 2048, 12, 12, 12, 32000), [2, 256], [8, 32, 32], 4),
        };
        Sizes { model, sft, rollout, micro_batch_rows }
    }
}

struct Networks<B: LmAutodiffBackend> {
    sizes: Sizes,
    config: ModelConfig,
    device: B::Device,
    precision: Precision,
}

impl<B: LmAutodiffBackend> Networks<B> {
    fn causal_lm(&self, seed: u64) -> Result<CausalLm<B>> {
        let mut weights = RandomWeights::new(&self.config, Seed::new(seed));
        Ok(CausalLm::new(&self.config, &mut weights, &self.device)?)
    }

    fn scalar_model(&self, seed: u64) -> Result<ScalarModel<B>> {
        let base = self.causal_lm(seed)?;
        Ok(ScalarModel::from_causal_lm(base, Seed::new(seed), &self.device)?)
    }

    /// Multiplications and additions of a forward pass over this many tokens, attention aside.
    fn forward_flops(&self, n_tokens: usize) -> f64 {
        // Of the embedding, only the head's use of it is a matrix product; the two are one here.
        2.0 * self.config.n_params() as f64 * n_tokens as f64
    }

    fn sft(&self, iterations: usize) -> Result<(Vec<f64>, usize, f64)> {
        let [n_rows, n_time] = self.sizes.sft;
        let rows: Vec<TokenRow> = random_rows(n_rows, n_time, self.config.vocab_size)
            .into_iter()
            .map(|tokens| TokenRow::new(tokens, vec![true; n_time]))
            .collect();
        let batch: Vec<&TokenRow> = rows.iter().collect();
        let config = SftConfig {
            batch_rows: n_rows,
            micro_batch_rows: n_rows,
            precision: self.precision,
            ..SftConfig::default()
        };
        let [train, heldout] = [rows.clone(), Vec::new()].map(TokenStore::in_memory);
        let data = SftRows { train, heldout };
        let mut stage =
            Sft::<B>::new(config, self.causal_lm(1)?, None, data, Seed::new(1), &self.device)?;
        let mut step = 0;
        let seconds = time(iterations, || {
            step += 1;
            stage.update(step, &batch).map(drop)?;
            Ok(())
        })?;
        let n_tokens = n_rows * n_time;
        Ok((seconds, n_tokens, 3.0 * self.forward_flops(n_tokens)))
    }

    fn sampling(&self) -> Sampling {
        let [n_prompts, _, max_new_tokens] = self.sizes.rollout;
        // No token ends a completion.
        Sampling {
            max_new_tokens,
            batch_rows: n_prompts,
            precision: self.precision,
            ..Sampling::at_temperature(1.0)
        }
    }

    fn prompts(&self) -> Vec<Vec<u32>> {
        let [n_prompts, n_tokens, _] = self.sizes.rollout;
        random_rows(n_prompts, n_tokens, self.config.vocab_size)
    }

    fn rollout(&self, iterations: usize) -> Result<(Vec<f64>, usize, f64)> {
        let model = self.causal_lm(1)?.valid();
        let prompts = self.prompts();
        let seconds = time(iterations, || {
            black_box(generate(&model, &prompts, &self.sampling(), Seed::new(2), &self.device)?);
            Ok(())
        })?;
        let [n_prompts, n_prompt, n_new] = self.sizes.rollout;
        Ok((seconds, n_prompts * n_new, self.forward_flops(n_prompts * (n_prompt + n_new))))
    }

    fn ppo(&self, iterations: usize) -> Result<(Vec<f64>, usize, f64)> {
        let [n_prompts, n_prompt, n_new] = self.sizes.rollout;
        let config = PpoConfig {
            prompts_per_step: n_prompts,
            micro_batch_rows: self.sizes.micro_batch_rows,
            max_new_tokens: n_new,
            precision: Precisions::all(self.precision),
            ..PpoConfig::default()
        };
        let actors = ActorCritic { policy: self.causal_lm(1)?, value: self.scalar_model(2)? };
        let mut learner = Learner::new(actors.with_precision(self.precision), config.optimizer);
        let reference = Frozen::new(self.causal_lm(3)?.valid(), self.precision);
        let reward = LearnedReward::new(
            self.scalar_model(4)?.valid(),
            Normalization { mean: 0.0, std: 1.0 },
            config.micro_batch_rows,
            &self.device,
        )
        .with_precision(self.precision);
        let seconds =
            time(iterations, || self.ppo_iteration(&mut learner, &reference, &reward, &config))?;
        let n_tokens = n_prompts * (n_prompt + n_new);
        // Sampling, four judges, and forward and backward of two networks in each epoch.
        let n_passes = 1.0 + 4.0 + 2.0 * 3.0 * config.epochs as f64;
        Ok((seconds, n_prompts * n_new, n_passes * self.forward_flops(n_tokens)))
    }

    fn ppo_iteration(
        &self,
        learner: &mut Learner<B, ActorCritic<B>>,
        reference: &Frozen<CausalLm<B::InnerBackend>>,
        reward: &LearnedReward<B::InnerBackend>,
        config: &PpoConfig,
    ) -> Result<()> {
        let actors = learner.module().valid();
        let prompts = self.prompts();
        let generated =
            generate(&actors.policy, &prompts, &self.sampling(), Seed::new(5), &self.device)?;
        let (completions, sampled): (Vec<Completion>, Vec<Vec<f32>>) = prompts
            .into_iter()
            .zip(generated)
            .map(|(prompt_tokens, generated)| {
                let (prompt, text) = (String::new(), String::new());
                let (finished, tokens) = (generated.finished(), generated.tokens);
                let completion = Completion { prompt, prompt_tokens, text, finished, tokens };
                (completion, generated.logprobs)
            })
            .unzip();
        let micro_batch_rows = config.micro_batch_rows;
        let judges = Judges { reference, micro_batch_rows, device: &self.device };
        let mut rows = collect(&actors, &judges, reward, &completions, config.temperature)?;
        if config.samples_elsewhere() {
            rows.iter_mut().zip(sampled).for_each(|(row, it)| row.sampled_logprobs = Some(it));
        }
        let (_, experience) = prepare(&rows, config, 0.05);
        let batch: Vec<_> = experience.iter().collect();
        for _ in 0..config.epochs {
            update_minibatch(learner, &batch, config, 1e-6, 0, &self.device)?;
        }
        Ok(())
    }

    /// Multiplications and additions a second of a large matrix product.
    fn peak(&self) -> f64 {
        const SIDE: usize = 1024;
        let matrix = Tensor::<B::InnerBackend, 2>::ones([SIDE, SIDE], &self.device);
        let product = || {
            black_box(host(matrix.clone().matmul(matrix.clone()).sum()));
            Ok(())
        };
        let seconds = time(10, product).expect("a product has no errors");
        2.0 * (SIDE * SIDE * SIDE) as f64 / seconds[0]
    }
}

/// Prompts of random ids, none of them special.
fn random_rows(n_rows: usize, n_tokens: usize, vocab_size: usize) -> Vec<Vec<u32>> {
    let mut rng = Seed::new(0).rng();
    let mut row = || (0..n_tokens).map(|_| rng.random_range(3..vocab_size as u32)).collect();
    (0..n_rows).map(|_| row()).collect()
}

/// The sorted times of `iterations` runs, after one that doesn't count.
fn time(iterations: usize, mut run: impl FnMut() -> Result<()>) -> Result<Vec<f64>> {
    run()?;
    let mut seconds = Vec::new();
    for _ in 0..iterations.max(1) {
        let start = Instant::now();
        run()?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    Ok(seconds)
}
