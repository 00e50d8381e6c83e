//! The workloads themselves.

use std::hint::black_box;

use anyhow::Result;
use burn::module::AutodiffModule;
use burn::prelude::*;
use rand::RngExt;
use rein_data::encoding::TokenRow;
use rein_data::example::{Columns, Completion};
use rein_data::seed::Seed;
use rein_data::store::TokenStore;
use rein_model::backend::LmAutodiffBackend;
use rein_model::config::ModelConfig;
use rein_model::sft::{Sft, SftConfig, SftRows};
use rein_model::tokens::host;
use rein_model::weights::RandomWeights;
use rein_model::{
    CausalLm, Frozen, Generated, Precision, Precisions, Sampler, Sampling, ScalarModel, generate,
};
use rein_ppo::config::PpoConfig;
use rein_ppo::experience::prepare;
use rein_ppo::hyperparameters::Hyperparameters;
use rein_ppo::overlap::beside;
use rein_ppo::rollout::{Judges, collect};
use rein_ppo::update::update_minibatch;
use rein_ppo::{ActorCritic, Learners, PpoError};
use rein_reward::{LearnedReward, Normalization};

use super::clock::time;
use super::shape::Sizes;

/// The networks of the workloads, at one size.
pub(super) struct Networks<B: LmAutodiffBackend> {
    pub(super) sizes: Sizes,
    pub(super) config: ModelConfig,
    pub(super) device: B::Device,
    pub(super) precision: Precision,
    pub(super) moments: Precision,
    /// Whether updates compute again what is inside blocks.
    pub(super) recomputes: bool,
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

    pub(super) fn sft(&self, iterations: usize) -> Result<(Vec<f64>, usize, f64)> {
        let [n_rows, n_time] = self.sizes.sft;
        let rows: Vec<TokenRow> = random_rows(n_rows, n_time, self.config.vocab_size)
            .into_iter()
            .map(|tokens| TokenRow::new(tokens, vec![true; n_time]))
            .collect();
        let batch: Vec<&TokenRow> = rows.iter().collect();
        let mut config = SftConfig {
            batch_rows: n_rows,
            micro_batch_rows: n_rows,
            gradient_checkpointing: self.recomputes,
            precision: self.precision,
            ..SftConfig::default()
        };
        config.optimizer.moments = self.moments;
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

    pub(super) fn rollout(&self, iterations: usize) -> Result<(Vec<f64>, usize, f64)> {
        let model = self.causal_lm(1)?.valid();
        let prompts = self.prompts();
        let seconds = time(iterations, || {
            black_box(generate(&model, &prompts, &self.sampling(), Seed::new(2), &self.device)?);
            Ok(())
        })?;
        let [n_prompts, n_prompt, n_new] = self.sizes.rollout;
        Ok((seconds, n_prompts * n_new, self.forward_flops(n_prompts * (n_prompt + n_new))))
    }

    /// `repeat` says how often there is an iteration, and gives the sorted times. With `overlap`, an
    /// iteration samples for the one after it, and so does the last.
    pub(super) fn ppo(
        &self,
        overlap: bool,
        repeat: impl FnOnce(&mut dyn FnMut() -> Result<()>) -> Result<Vec<f64>>,
    ) -> Result<(Vec<f64>, usize, f64)> {
        let [n_prompts, n_prompt, n_new] = self.sizes.rollout;
        let mut config = PpoConfig {
            prompts_per_step: n_prompts,
            micro_batch_rows: self.sizes.micro_batch_rows,
            gradient_checkpointing: self.recomputes,
            max_new_tokens: n_new,
            precision: Precisions::of_products(self.precision),
            overlap,
            ..PpoConfig::default()
        };
        config.optimizer.moments = self.moments;
        let actors = ActorCritic { policy: self.causal_lm(1)?, value: Some(self.scalar_model(2)?) };
        let actors = actors.computed_as(&config);
        let mut learners = Learners::new(actors, config.optimizer);
        let reference = Frozen::new(self.causal_lm(3)?.valid(), self.precision);
        let reward = LearnedReward::new(
            self.scalar_model(4)?.valid(),
            Normalization { mean: 0.0, std: 1.0 },
            config.micro_batch_rows,
            &self.device,
        )
        .with_precision(self.precision);
        let mut ahead = None;
        let seconds = repeat(&mut || {
            self.ppo_iteration(&mut learners, &reference, &reward, &config, &mut ahead)
        })?;
        let n_tokens = n_prompts * (n_prompt + n_new);
        // Sampling, four judges, and forward and backward of two networks in each epoch.
        let n_passes = 1.0 + 4.0 + 2.0 * 3.0 * config.epochs as f64;
        Ok((seconds, n_prompts * n_new, n_passes * self.forward_flops(n_tokens)))
    }

    /// What is sampled of the policy as it is now.
    fn sampler(&self, learners: &Learners<B>) -> Result<Sampler<B::InnerBackend>> {
        Ok(Sampler::new(&learners.policy.module().valid(), &self.sampling(), &self.device)?)
    }

    fn ppo_iteration(
        &self,
        learners: &mut Learners<B>,
        reference: &Frozen<CausalLm<B::InnerBackend>>,
        reward: &LearnedReward<B::InnerBackend>,
        config: &PpoConfig,
        ahead: &mut Option<Vec<Generated>>,
    ) -> Result<()> {
        let prompts = self.prompts();
        let generated = match ahead.take() {
            Some(generated) => generated,
            None => self.sampler(learners)?.generate(&prompts, Seed::new(5))?,
        };
        let (completions, sampled): (Vec<_>, Vec<_>) =
            prompts.iter().cloned().zip(generated).map(completion).unzip();
        let micro_batch_rows = config.micro_batch_rows;
        let now = Hyperparameters { learning_rate: 1e-6, kl_coefficient: 0.05, ..config.at(0) };
        let judges = Judges { reference, micro_batch_rows, device: &self.device };
        // Whoever holds the weights keeps the update from changing them in place: gone after this line.
        let mut rows = collect(&learners.valid(), &judges, reward, &completions, now.temperature)?;
        if config.samples_elsewhere() {
            rows.iter_mut().zip(sampled).for_each(|(row, it)| row.sampled_logprobs = Some(it));
        }
        let (_, experience) = prepare(&rows, config, &now);
        let batch: Vec<_> = experience.iter().collect();
        let sampler = config.overlap.then(|| self.sampler(learners)).transpose()?;
        let errand = sampler.map(|it| move || it.generate(&prompts, Seed::new(5)));
        let (updated, generated) = beside(errand, || {
            for _ in 0..config.epochs {
                update_minibatch(learners, &batch, config, &now, &self.device)?;
            }
            Ok::<_, PpoError>(())
        });
        updated?;
        *ahead = generated.transpose()?;
        Ok(())
    }

    /// Multiplications and additions a second of a large matrix product.
    pub(super) fn peak(&self) -> f64 {
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

/// A completion as rewards see it, without texts, and what sampling gave to its tokens.
fn completion((prompt_tokens, generated): (Vec<u32>, Generated)) -> (Completion, Vec<f32>) {
    let (prompt, text) = (String::new(), String::new());
    let (finished, tokens) = (generated.finished(), generated.tokens);
    let columns = Columns::default();
    (Completion { prompt, prompt_tokens, text, finished, tokens, columns }, generated.logprobs)
}

/// Prompts of random ids, none of them special.
fn random_rows(n_rows: usize, n_tokens: usize, vocab_size: usize) -> Vec<Vec<u32>> {
    let mut rng = Seed::new(0).rng();
    let mut row = || (0..n_tokens).map(|_| rng.random_range(3..vocab_size as u32)).collect();
    (0..n_rows).map(|_| row()).collect()
}
