//! The stage that optimises a policy.

use std::path::Path;
use std::time::{Duration, Instant};

use burn::module::AutodiffModule;
use rein_data::batches::RowOrder;
use rein_data::example::Completion;
use rein_data::log::{Metrics, RunLog, Sample};
use rein_data::seed::Seed;
use rein_data::stage::{Evaluation, Train};
use rein_data::tokenizer::Tokenizer;
use rein_data::workers::Workers;
use rein_model::backend::LmAutodiffBackend;
use rein_model::checkpoint::{read_state, write_state};
use rein_model::guard::fits;
use rein_model::{CausalLm, Frozen, Sampler, Sampling};
use rein_reward::Reward;
use serde::{Deserialize, Serialize};

use crate::PpoError;
use crate::actor_critic::{ActorCritic, Learners};
use crate::config::PpoConfig;
use crate::describe::{describe_rollout, describe_values};
use crate::experience::prepare;
use crate::importance;
use crate::kl::KlController;
use crate::optimise::Optimisation;
use crate::overlap::{Ahead, Errand, beside};
use crate::rollout::{Judges, Prompt, Row, Sampled, collect};
use crate::shaping::{Shaped, Shaping, shape};

pub use crate::checkpoint::{VALUE_ADAPTER, VALUE_MODEL};

/// Samples that are logged at a time.
const N_SAMPLES: usize = 3;

/// A policy optimisation in progress.
pub struct Ppo<B: LmAutodiffBackend> {
    config: PpoConfig,
    learners: Learners<B>,
    reference: Frozen<CausalLm<B::InnerBackend>>,
    reward: Box<dyn Reward>,
    /// Rewards that evaluations measure and nothing learns from.
    watched: Vec<Box<dyn Reward>>,
    tokenizer: Tokenizer,
    prompts: Prompts,
    order: RowOrder,
    kl: KlController,
    seed: Seed,
    n_episodes: u64,
    /// Completions of the next step, if it overlaps with the last one.
    ahead: Option<Ahead>,
    device: B::Device,
}

/// Prompts to train and to evaluate on.
#[derive(Clone, Debug)]
pub struct Prompts {
    /// Completed while training.
    pub train: Vec<String>,
    /// Completed to evaluate; may be empty.
    pub heldout: Vec<String>,
}

impl<B: LmAutodiffBackend> Ppo<B> {
    /// Begins to optimise the policy of `actors`; where it stands now becomes its reference.
    ///
    /// # Errors
    /// No prompts, or a tokenizer whose ids the models don't have.
    pub fn new(
        config: PpoConfig,
        actors: ActorCritic<B>,
        reward: Box<dyn Reward>,
        tokenizer: Tokenizer,
        prompts: Prompts,
        seed: Seed,
        device: &B::Device,
    ) -> Result<Self, PpoError> {
        if prompts.train.is_empty() {
            return Err(PpoError::Invalid("there are no prompts to complete".into()));
        }
        fits(actors.policy.config(), &tokenizer)?;
        let actors = actors.for_advantages(config.advantage)?;
        if let Some(value) = &actors.value {
            fits(value.config(), &tokenizer)?;
        }
        let actors = match &config.lora {
            Some(lora) => actors.with_lora(lora, seed.child("lora"), device)?,
            None => actors,
        };
        let actors = actors.computed_as(&config);
        let reference = actors.policy.valid().without_lora();
        Ok(Self {
            // New adapters change nothing: the policy without them is where it stands now, and its
            // tensors are the policy's own.
            reference: Frozen::new(reference, config.precision.frozen),
            learners: Learners::new(actors, config.optimizer),
            order: RowOrder::new(prompts.train.len(), seed.child("prompts")),
            kl: KlController::new(config.kl),
            config,
            reward,
            watched: Vec::new(),
            tokenizer,
            prompts,
            seed,
            n_episodes: 0,
            ahead: None,
            device: device.clone(),
        })
    }

    /// Optimises together with these workers, each of which must have a row of every minibatch.
    #[must_use]
    pub fn with_workers(mut self, workers: &Workers) -> Self {
        self.learners.share_with(workers);
        self
    }

    /// Measures another reward at evaluations: a truth that nothing learns from, say.
    pub fn watch(&mut self, reward: Box<dyn Reward>) {
        self.watched.push(reward);
    }

    /// The networks as they are.
    pub fn actors(&self) -> ActorCritic<B::InnerBackend> {
        self.learners.valid()
    }

    /// Updates on rows that were collected before; `step` is counted from 0. This is what a step
    /// does after its rollout.
    pub fn learn(&mut self, step: usize, rows: &[Row]) -> Result<Metrics, PpoError> {
        self.check_scores(step, rows)?;
        let (shaped, experience) = prepare(rows, &self.config, self.kl.coefficient());
        let rate = self.config.optimizer.rate(step, self.config.steps);
        let mut metrics =
            describe_rollout(rows, &shaped, self.kl.coefficient(), self.reward.name());
        describe_values(rows, &experience, &mut metrics);
        let optimisation = Optimisation {
            experience: &experience,
            config: &self.config,
            learning_rate: rate,
            seed: self.seed.child("minibatches").index(step as u64),
            step,
            device: &self.device,
        };
        optimisation.run(&mut self.learners, &mut metrics)?;
        importance::describe(rows, self.config.importance_cap, &mut metrics);
        metrics.push("lr", rate);
        self.n_episodes += rows.len() as u64;
        metrics.push("episode", self.n_episodes as f64);
        let kl = metrics.get("objective/kl").expect("described above");
        self.kl.observe(kl, rows.len());
        Ok(metrics)
    }

    /// The prompts of a step and the node of their draws.
    fn asked(&mut self, step: usize) -> (Vec<String>, Seed) {
        let chosen = self.order.batch(step, self.config.prompts_per_step);
        let repeated = chosen.into_iter().flat_map(|row| {
            std::iter::repeat_n(&self.prompts.train[row], self.config.samples_per_prompt)
        });
        (repeated.cloned().collect(), self.seed.child("rollout").index(step as u64))
    }

    /// The share of these prompts that this worker completes, with the policy as it is now, which draws a
    /// token from all alike with probability `epsilon`.
    fn errand(
        &self,
        prompts: &[String],
        seed: Seed,
        epsilon: f32,
    ) -> Result<Errand<B::InnerBackend>, PpoError> {
        let sampling = self.config.sampling(self.tokenizer.special().eos);
        let sampling = Sampling { epsilon, ..sampling };
        let workers = self.learners.policy.workers();
        let mine = workers.share(prompts).into_iter();
        Ok(Errand {
            // Packed or shared; whoever else held the weights would keep the update from changing them
            // in place.
            sampler: Sampler::new(&self.learners.policy.module().valid(), &sampling, &self.device)?,
            prompts: mine.map(|it| Prompt::encode(it, &self.tokenizer)).collect(),
            tokenizer: self.tokenizer.clone(),
            seeds: workers.row_seeds(seed),
        })
    }

    /// Completions of these prompts, by all workers.
    fn sample(
        &self,
        prompts: &[String],
        seed: Seed,
        epsilon: f32,
    ) -> Result<Vec<Sampled>, PpoError> {
        let mine = self.errand(prompts, seed, epsilon)?.run()?;
        Ok(self.learners.policy.workers().merge(mine)?)
    }

    /// What everyone says about completions. Each worker asks about its share and hears of all.
    fn judge(&self, sampled: &[Sampled]) -> Result<Vec<Row>, PpoError> {
        let actors = self.actors();
        let PpoConfig { temperature, micro_batch_rows, .. } = self.config;
        let workers = self.learners.policy.workers();
        let mine = workers.share(sampled);
        let completions: Vec<Completion> = mine.iter().map(|it| it.completion.clone()).collect();
        let judges = Judges { reference: &self.reference, micro_batch_rows, device: &self.device };
        let mut rows = collect(&actors, &judges, &*self.reward, &completions, temperature)?;
        if self.config.samples_elsewhere() {
            let logprobs = mine.into_iter().map(|it| Some(it.logprobs.clone()));
            rows.iter_mut().zip(logprobs).for_each(|(row, it)| row.sampled_logprobs = it);
        }
        Ok(workers.merge(rows)?)
    }

    /// [`learn`](Self::learn), while the next step's completions are sampled, if steps overlap and there is
    /// a next one. Also returns how long learning took; the rest was waiting.
    fn learn_beside(&mut self, step: usize, rows: &[Row]) -> Result<(Metrics, Duration), PpoError> {
        let next = step + 1;
        let errand = if self.config.overlap && next < self.config.steps {
            let (prompts, seed) = self.asked(next);
            Some(self.errand(&prompts, seed, self.config.epsilon)?)
        } else {
            None
        };
        let learn = || {
            let start = Instant::now();
            (self.learn(step, rows), start.elapsed())
        };
        let ((metrics, took), sampled) = beside(errand.map(|it| || it.run()), learn);
        let metrics = metrics?;
        if let Some(mine) = sampled {
            let sampled = self.learners.policy.workers().merge(mine?)?;
            self.ahead = Some(Ahead { step: next, sampled });
        }
        Ok((metrics, took))
    }

    fn check_scores(&self, step: usize, rows: &[Row]) -> Result<(), PpoError> {
        let bad = rows.iter().find(|row| !row.score.is_finite());
        bad.map_or(Ok(()), |row| {
            let reward = self.reward.name().to_owned();
            Err(PpoError::BadScore { step: step + 1, reward, score: row.score })
        })
    }

    fn log_samples(
        &self,
        step: usize,
        sampled: &[Sampled],
        rows: &[Row],
        log: &mut RunLog,
    ) -> Result<(), PpoError> {
        let shaping = Shaping::new(&self.config, self.kl.coefficient());
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

impl<B: LmAutodiffBackend> Train for Ppo<B> {
    type Error = PpoError;

    fn step(&mut self, step: usize, log: &mut RunLog) -> Result<Metrics, PpoError> {
        let start = Instant::now();
        let sampled = match self.ahead.take().filter(|it| it.step == step) {
            Some(ahead) => ahead.sampled,
            None => {
                let (prompts, seed) = self.asked(step);
                self.sample(&prompts, seed, self.config.epsilon)?
            }
        };
        let rows = self.judge(&sampled)?;
        if self.config.sample_every > 0 && step.is_multiple_of(self.config.sample_every) {
            self.log_samples(step, &sampled, &rows, log)?;
        }
        let (mut metrics, learned) = self.learn_beside(step, &rows)?;
        let total = start.elapsed();
        metrics.push("eps", rows.len() as f64 / total.as_secs_f64());
        metrics.push("timing_s/rollout", (total - learned).as_secs_f64());
        metrics.push("timing_s/update", learned.as_secs_f64());
        Ok(metrics)
    }

    fn evaluate(&mut self) -> Result<Option<Evaluation>, PpoError> {
        let n_prompts = self.config.eval_prompts.min(self.prompts.heldout.len());
        if n_prompts == 0 {
            return Ok(None);
        }
        // The same random numbers each time, so that evaluations differ by the policy alone.
        let seed = self.seed.child("evaluate");
        let sampled = self.sample(&self.prompts.heldout[..n_prompts], seed, 0.0)?;
        let rows = self.judge(&sampled)?;
        let shaping = Shaping::new(&self.config, self.kl.coefficient());
        let shaped: Vec<Shaped> = rows.iter().map(|row| shape(row, &shaping)).collect();
        let all = describe_rollout(&rows, &shaped, self.kl.coefficient(), self.reward.name());
        let score = all.get("objective/rlhf_reward").expect("described above");
        let mut metrics = Metrics::default();
        for name in ["objective/scores", "objective/kl", "completions/mean_length"] {
            metrics.push(format!("eval_{name}"), all.get(name).expect("described above"));
        }
        let completions: Vec<Completion> = sampled.into_iter().map(|it| it.completion).collect();
        for reward in &self.watched {
            let scores = reward.score(&completions)?;
            let mean = scores.iter().map(|it| f64::from(*it)).sum::<f64>() / scores.len() as f64;
            metrics.push(format!("eval_rewards/{}/mean", reward.name()), mean);
        }
        Ok(Some(Evaluation { metrics, score }))
    }

    fn save(&self, folder: &Path) -> Result<(), PpoError> {
        self.learners.save(self.config.lora.as_ref(), &self.tokenizer, folder)?;
        if let Some(ahead) = &self.ahead {
            ahead.save(folder)?;
        }
        let state = State {
            n_episodes: self.n_episodes,
            kl_coefficient: self.kl.coefficient(),
            ahead: self.ahead.as_ref().map(|it| it.step),
        };
        Ok(write_state(folder, &state)?)
    }

    fn restore(&mut self, folder: &Path) -> Result<(), PpoError> {
        self.learners.restore(&self.config, folder, &self.device)?;
        let state: State = read_state(folder)?;
        self.n_episodes = state.n_episodes;
        self.kl.restore(state.kl_coefficient);
        let shape = self.learners.policy.module().config();
        let ahead = state.ahead.filter(|_| self.config.overlap);
        let load = |step| Ahead::load(folder, step, self.config.rows_per_step(), shape);
        self.ahead = ahead.map(load).transpose()?;
        Ok(())
    }

    fn digest(&self) -> Option<Vec<u8>> {
        let Learners { policy, value, .. } = &self.learners;
        let of_value = value.as_ref().map_or(Vec::new(), |it| it.digest());
        Some([policy.digest(), of_value].concat())
    }
}

#[derive(Serialize, Deserialize)]
struct State {
    n_episodes: u64,
    kl_coefficient: f64,
    /// The step whose completions were sampled ahead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ahead: Option<usize>,
}

impl<B: LmAutodiffBackend> std::fmt::Debug for Ppo<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ppo").field("config", &self.config).finish_non_exhaustive()
    }
}
