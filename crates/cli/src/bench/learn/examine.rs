//! How good a policy is on problems that nothing trained on, and how far it is from where it began.

use std::fs;
use std::iter::repeat_n;
use std::path::Path;

use anyhow::Result;
use rein_data::DataError;
use rein_data::arithmetic::Problem;
use rein_data::encoding::TokenRow;
use rein_data::example::Completion;
use rein_data::log::{Metrics, RunLog};
use rein_data::seed::Seed;
use rein_data::stage::{Evaluation, Train};
use rein_data::tokenizer::Tokenizer;
use rein_model::backend::{LmAutodiffBackend, LmBackend};
use rein_model::logprobs::row_logprobs;
use rein_model::{CausalLm, Sampler, Sampling};
use rein_ppo::PpoError;
use rein_ppo::rollout::{Prompt, sample};
use rein_reward::Reward;
use serde::{Deserialize, Serialize};

use super::start::{BATCH_ROWS, Start, sampling};
use super::task::Task;

/// The file in a checkpoint that holds what its policy is worth.
const FILE: &str = "heldout.json";

/// Lets policies complete held-out problems, always with the same random numbers.
pub(super) struct Examiner<B: LmBackend> {
    /// Where all policies begin.
    reference: CausalLm<B>,
    tokenizer: Tokenizer,
    problems: Vec<Problem>,
    n_samples: usize,
    sampling: Sampling,
    truth: Box<dyn Reward>,
    optimum: f32,
    device: B::Device,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Findings {
    /// The mean of what completions are worth.
    pub(super) reward: f64,
    /// The share of completions that couldn't be worth more.
    pub(super) success: f64,
    /// Nats a completion: the mean of `Σ (log π − log π_ref)` over the policy's own tokens.
    pub(super) kl: f64,
    /// What the completions of each problem are worth on average.
    pub(super) problems: Vec<f64>,
}

impl Findings {
    pub(super) fn load(checkpoint: &Path) -> Result<Self> {
        let path = checkpoint.join(FILE);
        let bytes = fs::read(&path).map_err(|source| DataError::Io { path, source })?;
        Ok(serde_json::from_slice(&bytes)?)
    }

    fn save(&self, checkpoint: &Path) -> Result<(), DataError> {
        let path = checkpoint.join(FILE);
        let bytes = serde_json::to_vec(self).expect("plain JSON");
        fs::write(&path, bytes).map_err(|source| DataError::Io { path, source })
    }
}

impl<B: LmBackend> Examiner<B> {
    pub(super) fn new(task: Task, start: &Start, device: &B::Device) -> Result<Self> {
        Ok(Self {
            reference: start.model(device)?,
            tokenizer: start.tokenizer.clone(),
            problems: start.problems.heldout.clone(),
            n_samples: task.n_examined(),
            sampling: sampling(task, &start.tokenizer),
            truth: task.truth(&start.problems),
            optimum: task.optimum(),
            device: device.clone(),
        })
    }

    /// The policy that all begin with.
    pub(super) fn examine_start(&self) -> Result<Findings, PpoError> {
        self.examine(&self.reference)
    }

    pub(super) fn examine(&self, policy: &CausalLm<B>) -> Result<Findings, PpoError> {
        let completions = self.complete(policy)?;
        let worth = self.truth.score(&completions)?;
        let problems = worth.chunks(self.n_samples).map(mean).collect();
        let best = worth.iter().map(|it| f32::from(u8::from(*it >= self.optimum)));
        let success = mean(&best.collect::<Vec<f32>>());
        let kl = self.distance(policy, &completions);
        Ok(Findings { reward: mean(&worth), success, kl, problems })
    }

    fn complete(&self, policy: &CausalLm<B>) -> Result<Vec<Completion>, PpoError> {
        let asked = self.problems.iter().flat_map(|it| repeat_n(it, self.n_samples));
        let prompts = asked.map(|it| Prompt::encode(&it.prompt, &self.tokenizer)).collect();
        let sampler = Sampler::new(policy, &self.sampling, &self.device)?;
        let sampled = sample(&sampler, prompts, &self.tokenizer, Seed::new(0).child("examine"))?;
        Ok(sampled.into_iter().map(|it| it.completion).collect())
    }

    fn distance(&self, policy: &CausalLm<B>, completions: &[Completion]) -> f64 {
        let row = |it: &Completion| TokenRow::completion(it.prompt_tokens.clone(), &it.tokens);
        let rows: Vec<TokenRow> = completions.iter().map(row).collect();
        let rows: Vec<&TokenRow> = rows.iter().collect();
        let nats = |model: &CausalLm<B>| -> f64 {
            let logprobs = row_logprobs(model, &rows, 1.0, BATCH_ROWS, &self.device);
            logprobs.iter().flatten().map(|it| f64::from(*it)).sum()
        };
        (nats(policy) - nats(&self.reference)) / rows.len() as f64
    }
}

fn mean(values: &[f32]) -> f64 {
    values.iter().map(|it| f64::from(*it)).sum::<f64>() / values.len() as f64
}

/// A stage whose policy is examined every few steps, after the last one, and whenever it is saved.
pub(super) struct Examined<'a, S, B: LmAutodiffBackend> {
    pub(super) stage: S,
    pub(super) policy: fn(&S) -> CausalLm<B::InnerBackend>,
    pub(super) examiner: &'a Examiner<B::InnerBackend>,
    /// Steps between two examinations.
    pub(super) every: usize,
    pub(super) n_steps: usize,
    /// What the last step's examination found, if there was one.
    pub(super) found: Option<Findings>,
}

/// Metrics of an examination.
pub(super) const FOUND: [&str; 3] = ["heldout/reward", "heldout/success", "heldout/kl"];

impl<S, B: LmAutodiffBackend> Examined<'_, S, B> {
    fn examine(&self) -> Result<Findings, PpoError> {
        self.examiner.examine(&(self.policy)(&self.stage))
    }
}

impl<S: Train<Error = PpoError>, B: LmAutodiffBackend> Train for Examined<'_, S, B> {
    type Error = PpoError;

    fn step(&mut self, step: usize, log: &mut RunLog) -> Result<Metrics, PpoError> {
        let mut metrics = self.stage.step(step, log)?;
        let n_done = step + 1;
        let is_due = n_done.is_multiple_of(self.every) || n_done == self.n_steps;
        self.found = is_due.then(|| self.examine()).transpose()?;
        if let Some(found) = &self.found {
            for (name, value) in FOUND.into_iter().zip([found.reward, found.success, found.kl]) {
                metrics.push(name, value);
            }
        }
        Ok(metrics)
    }

    fn evaluate(&mut self) -> Result<Option<Evaluation>, PpoError> {
        self.stage.evaluate()
    }

    fn save(&self, folder: &Path) -> Result<(), PpoError> {
        self.stage.save(folder)?;
        let found = self.found.clone().map_or_else(|| self.examine(), Ok)?;
        Ok(found.save(folder)?)
    }

    fn restore(&mut self, folder: &Path) -> Result<(), PpoError> {
        self.stage.restore(folder)
    }

    fn digest(&self) -> Option<Vec<u8>> {
        self.stage.digest()
    }
}
