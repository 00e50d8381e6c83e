//! What a step does before it learns: it samples completions and lets everyone look at them.

use burn::module::AutodiffModule;
use rein_data::example::Completion;
use rein_data::log::{RunLog, Sample};
use rein_data::seed::Seed;
use rein_model::backend::LmAutodiffBackend;
use rein_model::{CausalLm, Sampler, Sampling};

use super::Ppo;
use crate::PpoError;
use crate::actor_critic::ActorCritic;
use crate::config::PpoConfig;
use crate::overlap::Errand;
use crate::rollout::{Judges, Prompt, Row, Sampled, collect};
use crate::shaping::{Shaping, shape};

/// Samples that are logged at a time.
const N_SAMPLES: usize = 3;

impl<B: LmAutodiffBackend> Ppo<B> {
    /// The prompts of a step and the node of their draws.
    pub(super) fn asked(&mut self, step: usize) -> (Vec<Prompt>, Seed) {
        let chosen = self.order.batch(step, self.config.prompts_per_step);
        let repeated = chosen.into_iter().flat_map(|row| {
            std::iter::repeat_n(&self.prompts.train[row], self.config.samples_per_prompt)
        });
        (repeated.cloned().collect(), self.seed.child("rollout").index(step as u64))
    }

    /// How completions are sampled that nothing learns from.
    pub(super) fn sampling(&self, temperature: f32) -> Sampling {
        let sampling = self.config.sampling(temperature, self.tokenizer.special().eos);
        Sampling { epsilon: 0.0, ends: self.ends.tokens.clone(), ..sampling }
    }

    /// How a step's completions are sampled, which draw a token from all alike with probability `epsilon`.
    pub(super) fn exploring(&self, step: usize) -> Sampling {
        let sampling = self.sampling(self.config.temperature.at(step));
        Sampling { epsilon: self.config.epsilon, ..sampling }
    }

    /// The share of these prompts that this worker completes, with the policy as it is now.
    pub(super) fn errand(
        &self,
        prompts: &[Prompt],
        seed: Seed,
        sampling: &Sampling,
    ) -> Result<Errand<B::InnerBackend>, PpoError> {
        self.errand_of(&self.learners.policy.module().valid(), prompts, seed, sampling)
    }

    fn errand_of(
        &self,
        policy: &CausalLm<B::InnerBackend>,
        prompts: &[Prompt],
        seed: Seed,
        sampling: &Sampling,
    ) -> Result<Errand<B::InnerBackend>, PpoError> {
        let workers = self.learners.policy.workers();
        let mine = workers.share(prompts).into_iter();
        Ok(Errand {
            // Packed or shared; whoever else held the weights would keep the update from changing them
            // in place.
            sampler: Sampler::new(policy, sampling, &self.device)?,
            prompts: mine.cloned().collect(),
            tokenizer: self.tokenizer.clone(),
            stops: self.ends.texts.clone(),
            seeds: workers.row_seeds(seed),
        })
    }

    /// Completions of these prompts by all workers, with this policy.
    pub(super) fn sample(
        &self,
        policy: &CausalLm<B::InnerBackend>,
        prompts: &[Prompt],
        seed: Seed,
        sampling: &Sampling,
    ) -> Result<Vec<Sampled>, PpoError> {
        let mine = self.errand_of(policy, prompts, seed, sampling)?.run()?;
        Ok(self.learners.policy.workers().merge(mine)?)
    }

    /// What everyone says about completions. Each worker asks about its share and hears of all.
    pub(super) fn judge(
        &self,
        actors: &ActorCritic<B::InnerBackend>,
        sampled: &[Sampled],
        temperature: f32,
    ) -> Result<Vec<Row>, PpoError> {
        let PpoConfig { micro_batch_rows, .. } = self.config;
        let workers = self.learners.policy.workers();
        let mine = workers.share(sampled);
        let completions: Vec<Completion> = mine.iter().map(|it| it.completion.clone()).collect();
        let judges = Judges { reference: &self.reference, micro_batch_rows, device: &self.device };
        let mut rows = collect(actors, &judges, &*self.reward, &completions, temperature)?;
        if self.config.samples_elsewhere() {
            let logprobs = mine.into_iter().map(|it| Some(it.logprobs.clone()));
            rows.iter_mut().zip(logprobs).for_each(|(row, it)| row.sampled_logprobs = it);
        }
        Ok(workers.merge(rows)?)
    }

    pub(super) fn log_samples(
        &self,
        step: usize,
        sampled: &[Sampled],
        rows: &[Row],
        log: &mut RunLog,
    ) -> Result<(), PpoError> {
        let shaping = Shaping::new(&self.config, self.now(step).kl_coefficient);
        for (Sampled { completion, .. }, row) in sampled.iter().zip(rows).take(N_SAMPLES) {
            log.sample(&Sample {
                stage: "rl".into(),
                step: step + 1,
                prompt: completion.prompt.clone(),
                completion: completion.text.clone(),
                score: f64::from(row.score),
                kl: shape(row, &shaping).kl.iter().sum(),
            })?;
        }
        Ok(())
    }
}
