//! The stage that optimises a policy.

mod rollouts;
mod state;

use std::path::Path;
use std::time::{Duration, Instant};

use burn::module::AutodiffModule;
use rein_data::batches::RowOrder;
use rein_data::encoding::TokenRow;
use rein_data::example::Completion;
use rein_data::log::{Metrics, RunLog};
use rein_data::seed::Seed;
use rein_data::stage::{Evaluation, Train};
use rein_data::tokenizer::Tokenizer;
use rein_data::workers::Workers;
use rein_model::backend::LmAutodiffBackend;
use rein_model::guard::fits;
use rein_model::{CausalLm, Ema, Frozen};
use rein_reward::Reward;

use crate::PpoError;
use crate::actor_critic::{ActorCritic, Learners};
use crate::config::PpoConfig;
use crate::constraints::Constraints;
use crate::controllers::Controllers;
use crate::demonstrations::Demonstrations;
use crate::describe::{
    describe_evaluation, describe_groups, describe_rollout, describe_values, evaluated_means,
    failure_notes,
};
use crate::experience::prepare;
use crate::hyperparameters::Hyperparameters;
use crate::importance;
use crate::optimise::{Changing, Optimisation};
use crate::overlap::{Ahead, beside};
use crate::preference::online;
use crate::rollout::{Ends, Prompt, Row};
use crate::shaping::{Shaped, Shaping, shape};
use crate::stability::{Guards, Verdict};
use crate::watched::Watched;

pub use crate::checkpoint::{VALUE_ADAPTER, VALUE_HEAD, VALUE_MODEL};

/// A policy optimisation in progress.
pub struct Ppo<B: LmAutodiffBackend> {
    config: PpoConfig,
    learners: Learners<B>,
    /// The policy's average, if one is kept.
    ema: Option<Ema<B::InnerBackend>>,
    reference: Frozen<CausalLm<B::InnerBackend>>,
    reward: Box<dyn Reward>,
    /// Rewards that evaluations measure and nothing learns from.
    watched: Vec<Watched>,
    tokenizer: Tokenizer,
    prompts: Prompts,
    /// What ends a completion.
    ends: Ends,
    order: RowOrder,
    demonstrations: Option<Demonstrations>,
    controllers: Controllers,
    guards: Guards,
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
    pub train: Vec<Prompt>,
    /// Completed to evaluate; may be empty.
    pub heldout: Vec<Prompt>,
}

impl Prompts {
    /// Texts that are prompts.
    pub fn of_texts(train: &[String], heldout: &[String], tokenizer: &Tokenizer) -> Self {
        let [train, heldout] = [train, heldout]
            .map(|texts| texts.iter().map(|it| Prompt::encode(it, tokenizer)).collect());
        Self { train, heldout }
    }
}

impl<B: LmAutodiffBackend> Ppo<B> {
    /// Begins to optimise the policy of `actors`; where it stands now becomes its reference.
    ///
    /// # Errors
    /// No prompts, a tokenizer whose ids the models don't have, or a limit to what the reward has no part for.
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
        let constraints = Constraints::new(&config.constraints, &*reward)?;
        let actors = if config.value_head {
            let ActorCritic { policy, value } = actors;
            let policy = policy.with_value_head(device)?;
            ActorCritic { policy, value }
        } else {
            actors
        };
        let actors = actors.for_advantages(config.advantage)?;
        if let Some(value) = &actors.value {
            fits(value.config(), &tokenizer)?;
        }
        let actors = match &config.lora {
            Some(lora) => actors.with_lora(lora, seed.child("lora"), device)?,
            None => actors,
        };
        let actors = actors.computed_as(&config);
        let model = actors.policy.valid().without_value_head();
        let reference = model.clone().without_lora();
        Ok(Self {
            ema: config.ema.map(|ema| Ema::new(ema, &model)),
            // New adapters change nothing: the policy without them is where it stands now, and its
            // tensors are the policy's own.
            reference: Frozen::new(reference, config.precision.frozen),
            learners: Learners::new(actors, config.optimizer),
            order: RowOrder::new(prompts.train.len(), seed.child("prompts")),
            demonstrations: None,
            controllers: Controllers::new(&config, constraints),
            guards: Guards::new(&config.guards),
            config,
            reward,
            watched: Vec::new(),
            ends: Ends::of_texts(&tokenizer),
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

    /// Imitates these demonstrations beside, as `ptx` in the config says; without it, they are forgotten.
    ///
    /// # Errors
    /// No demonstrations.
    pub fn with_demonstrations(mut self, rows: Vec<TokenRow>) -> Result<Self, PpoError> {
        if rows.iter().all(|row| row.n_learned() == 0) {
            return Err(PpoError::Invalid("there are no demonstrations to imitate".into()));
        }
        let seed = self.seed.child("demonstrations");
        self.demonstrations =
            self.config.ptx.map(|config| Demonstrations::new(rows, &config, seed));
        Ok(self)
    }

    /// Ends completions at these; else the end of sequence does.
    #[must_use]
    pub fn ending_at(self, ends: Ends) -> Self {
        Self { ends, ..self }
    }

    /// Measures another reward at evaluations: a truth that nothing learns from, say.
    pub fn watch(&mut self, reward: Box<dyn Reward>) {
        self.watched.push(Watched::new(reward));
    }

    /// The networks as they are.
    pub fn actors(&self) -> ActorCritic<B::InnerBackend> {
        self.learners.valid()
    }

    /// What the stage has made: the policy, or its average where one is kept.
    pub fn result(&self) -> CausalLm<B::InnerBackend> {
        let policy = self.learners.policy.module().valid().without_value_head();
        match &self.ema {
            Some(ema) => ema.applied(policy),
            None => policy,
        }
    }

    /// Updates on rows that were collected before; `step` is counted from 0. This is what a step
    /// does after its rollout.
    ///
    /// Updates that numbers forbid which aren't finite are left out. Where that happens too often, the step is
    /// cut short, and [`must_go_back`](Train::must_go_back) asks for the last checkpoint.
    pub fn learn(&mut self, step: usize, rows: &[Row]) -> Result<Metrics, PpoError> {
        if let Some(told) = self.without_bad_rewards(step, rows)? {
            return Ok(told);
        }
        let now = self.now(step);
        let scored = self.controllers.scored(rows);
        let (shaped, experience) = prepare(&scored, &self.config, &now);
        let mut metrics = describe_rollout(rows, &shaped, now.kl_coefficient, &*self.reward);
        describe_values(rows, &experience, &mut metrics);
        describe_groups(rows, self.config.samples_per_prompt, &mut metrics);
        online::describe(rows, &shaped, &self.config, &mut metrics);
        let optimisation = Optimisation {
            experience: &experience,
            config: &self.config,
            now: &now,
            seed: self.seed.child("minibatches").index(step as u64),
            device: &self.device,
        };
        let mut changing = Changing {
            learners: &mut self.learners,
            guards: &mut self.guards,
            ema: self.ema.as_mut(),
            demonstrations: self.demonstrations.as_mut(),
        };
        let distance = optimisation.run(&mut changing, &mut metrics)?;
        importance::describe(rows, self.config.importance_cap, &mut metrics);
        metrics.push("lr", now.learning_rate);
        self.n_episodes += rows.len() as u64;
        metrics.push("episode", self.n_episodes as f64);
        self.guards.describe(&mut metrics);
        self.controllers.describe(&self.config, &mut metrics);
        self.controllers.observe(rows.len(), &metrics, distance);
        if !self.config.warms_value_up(step) {
            self.controllers.observe_costs(rows, &mut metrics);
        }
        Ok(metrics)
    }

    /// The numbers of a step.
    fn now(&self, step: usize) -> Hyperparameters {
        let now = self.controllers.at(&self.config, step);
        Hyperparameters { learning_rate: now.learning_rate * self.guards.rate_scale(), ..now }
    }

    /// What is told of a step some of whose rewards aren't numbers: nothing is learned from it. `None` if all
    /// are fine.
    fn without_bad_rewards(
        &mut self,
        step: usize,
        rows: &[Row],
    ) -> Result<Option<Metrics>, PpoError> {
        let scores: Vec<f64> = rows.iter().map(|row| f64::from(row.score)).collect();
        let verdict = self.guards.judge_rewards(&scores);
        let (fine, bad): (Vec<&Row>, Vec<&Row>) =
            rows.iter().partition(|row| row.score.is_finite());
        let Some(first) = bad.first() else { return Ok(None) };
        let (name, score) = (self.reward.name(), first.score);
        if verdict == Verdict::GiveUp {
            return Err(PpoError::BadScore { step: step + 1, reward: name.to_owned(), score });
        }
        self.guards.notes.push(format!(
            "rl: step {}: the reward `{name}` gave {score} to {} of {} completions; nothing is learned from \
             this step",
            step + 1,
            bad.len(),
            rows.len()
        ));
        let mut metrics = Metrics::default();
        if !fine.is_empty() {
            let fine: Vec<Row> = fine.into_iter().cloned().collect();
            let kl_coefficient = self.now(step).kl_coefficient;
            let shaping = Shaping::new(&self.config, kl_coefficient);
            let shaped: Vec<Shaped> = fine.iter().map(|row| shape(row, &shaping)).collect();
            metrics = describe_rollout(&fine, &shaped, kl_coefficient, &*self.reward);
        }
        self.n_episodes += rows.len() as u64;
        metrics.push("episode", self.n_episodes as f64);
        self.guards.describe(&mut metrics);
        Ok(Some(metrics))
    }

    /// [`learn`](Self::learn), while the next step's completions are sampled, if steps overlap and there is
    /// a next one. Also returns how long learning took; the rest was waiting.
    fn learn_beside(&mut self, step: usize, rows: &[Row]) -> Result<(Metrics, Duration), PpoError> {
        let next = step + 1;
        let errand = if self.config.overlap && next < self.config.steps {
            let (prompts, seed) = self.asked(next);
            Some(self.errand(&prompts, seed, &self.exploring(next))?)
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
}

impl<B: LmAutodiffBackend> Train for Ppo<B> {
    type Error = PpoError;

    fn step(&mut self, step: usize, log: &mut RunLog) -> Result<Metrics, PpoError> {
        let start = Instant::now();
        let sampled = match self.ahead.take().filter(|it| it.step == step) {
            Some(ahead) => ahead.sampled,
            None => {
                let (prompts, seed) = self.asked(step);
                let policy = self.learners.policy.module().valid();
                self.sample(&policy, &prompts, seed, &self.exploring(step))?
            }
        };
        let asked = start.elapsed();
        let rows = self.judge(&self.actors(), &sampled, self.config.temperature.at(step))?;
        let scoring = start.elapsed() - asked;
        self.guards.notes.extend(failure_notes(&rows, &*self.reward, step + 1));
        if self.config.sample_every > 0 && step.is_multiple_of(self.config.sample_every) {
            self.log_samples(step, &sampled, &rows, log)?;
        }
        let told = self.learn_beside(step, &rows);
        self.guards.notes.drain(..).for_each(|note| log.note(note));
        let (mut metrics, learned) = told?;
        let total = start.elapsed();
        metrics.push("eps", rows.len() as f64 / total.as_secs_f64());
        metrics.push("timing_s/rollout", (total - scoring - learned).as_secs_f64());
        metrics.push("timing_s/scoring", scoring.as_secs_f64());
        metrics.push("timing_s/update", learned.as_secs_f64());
        Ok(metrics)
    }

    fn evaluate(&mut self) -> Result<Option<Evaluation>, PpoError> {
        let n_prompts = self.config.eval_prompts.min(self.prompts.heldout.len());
        if n_prompts == 0 {
            return Ok(None);
        }
        let now = self.config.at_the_end();
        // The same random numbers each time, so that evaluations differ by the policy alone.
        let seed = self.seed.child("evaluate");
        let sampling = self.sampling(now.temperature);
        // Its values are asked of the networks as they are.
        let now_actors = self.actors();
        let value_head = now_actors.policy.value_head.clone();
        let policy = CausalLm { value_head, ..self.result() };
        let actors = ActorCritic { policy, ..now_actors };
        let prompts = &self.prompts.heldout[..n_prompts];
        let sampled = self.sample(&actors.policy, prompts, seed, &sampling)?;
        let rows = self.judge(&actors, &sampled, now.temperature)?;
        let kl_coefficient = self.now(0).kl_coefficient;
        let shaping = Shaping::new(&self.config, kl_coefficient);
        let shaped: Vec<Shaped> = rows.iter().map(|row| shape(row, &shaping)).collect();
        let all = describe_rollout(&rows, &shaped, kl_coefficient, &*self.reward);
        let mut score = all.get("objective/rlhf_reward").expect("described above");
        let told = evaluated_means(&*self.reward, self.controllers.constraints().metrics());
        let mut metrics = describe_evaluation(&all, &told);
        let completions: Vec<Completion> = sampled.into_iter().map(|it| it.completion).collect();
        let is_new = |it: &&mut Watched| !told.contains(&format!("rewards/{}/mean", it.name()));
        let config = self.config.monitor;
        for watched in self.watched.iter_mut().filter(is_new) {
            let (truth, warning) = watched.measure(&completions, config, &mut metrics)?;
            // Told with the next step.
            self.guards.notes.extend(warning);
            score = if config.decides { truth } else { score };
        }
        Ok(Some(Evaluation { metrics, score }))
    }

    fn save(&self, folder: &Path) -> Result<(), PpoError> {
        self.write(folder)
    }

    fn restore(&mut self, folder: &Path) -> Result<(), PpoError> {
        self.read(folder)
    }

    fn can_go_back(&self) -> bool {
        true
    }

    fn must_go_back(&self) -> bool {
        self.guards.goes_back
    }

    fn digest(&self) -> Option<Vec<u8>> {
        let Learners { policy, value, .. } = &self.learners;
        let of_value = value.as_ref().map_or(Vec::new(), |it| it.digest());
        Some([policy.digest(), of_value].concat())
    }
}

impl<B: LmAutodiffBackend> std::fmt::Debug for Ppo<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ppo").field("config", &self.config).finish_non_exhaustive()
    }
}
