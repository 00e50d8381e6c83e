//! Measures the models of a run, before and after each stage, on prompts that nothing trained on.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use burn::module::AutodiffModule;
use rein_data::checkpoint::write_atomically;
use rein_data::diversity::{distinct_n, refusal, repetition, self_bleu};
use rein_data::encoding::TokenRow;
use rein_data::example::Completion;
use rein_data::helpdesk::gold;
use rein_data::stage::Outcome;
use rein_model::backend::LmAutodiffBackend;
use rein_model::logprobs::row_logprobs;
use rein_model::sft::heldout_loss;
use rein_model::{CausalLm, Sampler, Sampling, load_causal_lm};
use rein_ppo::rollout::{Prompt, sample_until};
use rein_reward::best_of::{best_of_kl, best_places};
use rein_reward::{LearnedReward, Reward};
use serde::{Deserialize, Serialize};

use super::Session;
use super::asked::Asked;
use super::coloured::ShownToken;
use super::compare::{Replies, Versus};
use super::judge::JudgeReport;
use crate::config::Stage;
use crate::world::Question;

/// What an evaluation found, kept in the run's `evaluation.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Evaluation {
    /// Before, after fine-tuning, after DPO, after reinforcement learning; as far as the run got.
    pub(crate) models: Vec<ModelReport>,
    /// How well the reward model judges.
    pub(crate) judge: Option<JudgeReport>,
    /// Each policy against the fine-tuned model, and against what it began with.
    #[serde(default)]
    pub(crate) versus: Vec<Versus>,
    /// What people were asked in this round, and what they said.
    #[serde(default)]
    pub(crate) asked: Option<Asked>,
}

/// One model on held-out prompts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ModelReport {
    /// `before`, `SFT`, `best of 16`, `DPO`, or the algorithm, as in `PPO`.
    pub(crate) name: String,
    /// Where it lies; a new model before any stage lies nowhere, nor does the best of several replies.
    pub(crate) folder: Option<PathBuf>,
    /// Nats per token of held-out demonstrations.
    pub(crate) heldout_loss: Option<f64>,
    /// Mean score of the reward model.
    pub(crate) reward: Option<f64>,
    /// Mean gold reward, where the truth is known.
    pub(crate) gold: Option<f64>,
    /// Standard deviation of the gold reward.
    pub(crate) gold_std: Option<f64>,
    /// Nats per reply between this model and the fine-tuned one; of the best of several replies, at most.
    pub(crate) kl: f64,
    /// Share of replies that end properly; where the truth isn't known, that end by themselves.
    pub(crate) ends: f64,
    /// Tokens per reply.
    pub(crate) length: f64,
    /// How much the replies repeat each other and themselves.
    #[serde(default)]
    pub(crate) diversity: Diversity,
    /// Replies to the same prompts for each model.
    pub(crate) samples: Vec<Shown>,
}

/// How much replies repeat each other and themselves.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Diversity {
    /// Distinct words, and pairs of words, of all (Li et al., 2016).
    pub(crate) distinct_1: Option<f64>,
    pub(crate) distinct_2: Option<f64>,
    /// Mean BLEU of each reply against the others (Zhu et al., 2018).
    pub(crate) self_bleu: Option<f64>,
    /// Share of a reply's four-word sequences that stood in it before.
    pub(crate) repetition: f64,
    /// Share of replies that refuse to answer, by their phrases.
    pub(crate) refusals: f64,
}

impl Diversity {
    fn of(completions: &[Completion]) -> Self {
        let texts: Vec<&str> = completions.iter().map(|it| it.text.as_str()).collect();
        let share = |of: &dyn Fn(&str) -> f64| {
            texts.iter().map(|text| of(text)).sum::<f64>() / texts.len().max(1) as f64
        };
        Self {
            distinct_1: distinct_n(&texts, 1),
            distinct_2: distinct_n(&texts, 2),
            self_bleu: self_bleu(&texts),
            repetition: share(&|text| repetition(text)),
            refusals: share(&|text| f64::from(u8::from(refusal(text)))),
        }
    }
}

/// A reply to read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Shown {
    pub(crate) prompt: String,
    pub(crate) reply: String,
    pub(crate) finished: bool,
    pub(crate) reward: Option<f64>,
    pub(crate) gold: Option<f64>,
    /// Of a policy, the reply token by token.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tokens: Vec<ShownToken>,
}

const FILE: &str = "evaluation.json";

/// The names of the model before any stage and of the fine-tuned one.
const BEFORE: &str = "before";
const SFT: &str = "SFT";

impl<B: LmAutodiffBackend> Session<B> {
    /// Measures all models that the run has.
    pub(super) fn evaluate(&mut self) -> Result<Outcome> {
        self.log.note("evaluating on held-out prompts");
        let reward = match self.reward_folder()? {
            Some(folder) => {
                let rows = self.setup.config.reward.micro_batch_rows;
                let reward = LearnedReward::<B::InnerBackend>::load(&folder, rows, &self.device)?;
                Some(reward.behind_replies(self.setup.behind_replies()))
            }
            None => None,
        };
        let (mut models, mut replies) = (Vec::new(), Vec::new());
        let fine_tuned = self.fine_tuned_name()?;
        for (name, folder) in self.models()? {
            if self.workers.any(self.interrupt.is_set()) {
                return Ok(Outcome::Interrupted);
            }
            let (report, scored) = self.measure(&name, folder, reward.as_ref())?;
            models.push(report);
            replies.push(scored);
            if let Some(reward) = reward.as_ref().filter(|_| name == fine_tuned) {
                models.extend(self.measure_best(reward)?);
            }
        }
        let versus = self.versus(&replies)?;
        let judge = reward.map(|reward| self.judge_report(&reward)).transpose()?.flatten();
        let evaluation = Evaluation { models, judge, versus, asked: self.what_was_asked()? };
        let path = self.run.file(FILE);
        if self.workers.leads() {
            write_atomically(&path, &serde_json::to_vec_pretty(&evaluation)?)?;
        }
        Ok(Outcome::Finished(path))
    }

    /// What the model is called from which distances are measured.
    pub(super) fn fine_tuned_name(&self) -> Result<&'static str> {
        let is_tuned = self.past.is_later() || self.result(Stage::Sft)?.is_some();
        Ok(if is_tuned { SFT } else { BEFORE })
    }

    /// The names and folders of the models that the run has; in a later round, of all policies so far.
    fn models(&self) -> Result<Vec<(String, Option<PathBuf>)>> {
        let mut models = Vec::new();
        let named = |name: &str, folder: PathBuf| (name.to_owned(), Some(folder));
        match self.past.name() {
            Some(round) => {
                let fine_tuned = self.sft_model()?;
                if self.setup.folders.model.as_ref() != Some(&fine_tuned) {
                    models.push((BEFORE.to_owned(), None));
                }
                models.push(named(SFT, fine_tuned));
                let before = self.past.policies().iter();
                models.extend(before.map(|(name, folder)| named(name, folder.clone())));
                models.extend(self.result(Stage::Rl)?.map(|folder| named(&round, folder)));
            }
            None => {
                models.push((BEFORE.to_owned(), None));
                let algorithm = self.setup.config.rl.algorithm.title();
                let stages = [(SFT, Stage::Sft), ("DPO", Stage::Dpo), (algorithm, Stage::Rl)];
                for (name, stage) in stages {
                    models.extend(self.result(stage)?.map(|folder| named(name, folder)));
                }
            }
        }
        Ok(models)
    }

    /// Each policy against the fine-tuned model, and the last one against what it began with.
    fn versus(&self, replies: &[Replies]) -> Result<Vec<Versus>> {
        let seed = self.seed(Stage::Evaluate).child("versus");
        let fine_tuned = self.fine_tuned_name()?;
        let Some(place) = replies.iter().position(|it| it.name == fine_tuned) else {
            return Ok(Vec::new());
        };
        let policies = &replies[place + 1..];
        let mut versus: Vec<Versus> =
            policies.iter().flat_map(|it| it.against(&replies[place], seed)).collect();
        let began_with = self.past.policy().and_then(|folder| self.past.name_of(folder));
        let before = began_with.and_then(|name| policies.iter().find(|it| it.name == name));
        if let Some((last, before)) = policies.last().zip(before) {
            versus.extend(last.against(before, seed));
        }
        Ok(versus)
    }

    fn measure(
        &self,
        name: &str,
        folder: Option<PathBuf>,
        reward: Option<&LearnedReward<B::InnerBackend>>,
    ) -> Result<(ModelReport, Replies)> {
        let model: CausalLm<B::InnerBackend> = match &folder {
            Some(folder) => load_causal_lm(folder, &self.device)?,
            None => self.initial_model()?.valid(),
        };
        let completions = self.complete(&model, 1)?;
        let rewards = reward.map(|reward| reward.score(&completions)).transpose()?;
        let (report, replies) = self.describe(name, &completions, rewards);
        let mut report = ModelReport {
            heldout_loss: self.heldout_loss(&model)?,
            kl: self.distance(&model, &completions)?,
            folder,
            ..report
        };
        self.colour(&mut report, &model, &completions)?;
        Ok((report, replies))
    }

    /// What the fine-tuned model's replies come to where the reward model picks the best of several:
    /// what else the reward model could be used for, and at which distance, at most.
    fn measure_best(&self, reward: &LearnedReward<B::InnerBackend>) -> Result<Option<ModelReport>> {
        let n_replies = self.setup.config.evaluate.best_of;
        let Some(folder) = self.sft_folder()?.filter(|_| n_replies > 1) else { return Ok(None) };
        let model: CausalLm<B::InnerBackend> = load_causal_lm(&folder, &self.device)?;
        let completions = self.complete(&model, n_replies)?;
        let scores = reward.score(&completions)?;
        let best: Vec<usize> = scores
            .chunks(n_replies)
            .zip((0..).step_by(n_replies))
            .flat_map(|(of_a_prompt, first)| {
                best_places(of_a_prompt, 1).into_iter().map(move |place| first + place)
            })
            .collect();
        let completions: Vec<Completion> = best.iter().map(|it| completions[*it].clone()).collect();
        let scores = best.iter().map(|it| scores[*it]).collect();
        let name = format!("best of {n_replies}");
        let (report, _) = self.describe(&name, &completions, Some(scores));
        Ok(Some(ModelReport { kl: best_of_kl(n_replies), ..report }))
    }

    /// What can be told of replies without the model that gave them.
    fn describe(
        &self,
        name: &str,
        completions: &[Completion],
        rewards: Option<Vec<f32>>,
    ) -> (ModelReport, Replies) {
        let gold = self.setup.world.has_gold().then(|| {
            let judged =
                completions.iter().map(|it| gold::judge(&it.prompt, &it.text, it.finished));
            judged.collect::<Vec<_>>()
        });
        let totals: Option<Vec<f64>> =
            gold.as_ref().map(|it| it.iter().map(|it| f64::from(it.total())).collect());
        let rewards: Option<Vec<f64>> = rewards.map(|it| it.into_iter().map(f64::from).collect());
        let ends: Vec<f64> = match &gold {
            Some(gold) => gold.iter().map(|it| f64::from(u8::from(it.ends_properly()))).collect(),
            None => completions.iter().map(|it| f64::from(u8::from(it.finished))).collect(),
        };
        let lengths: Vec<f64> = completions.iter().map(|it| it.tokens.len() as f64).collect();
        let samples = completions.iter().enumerate().take(self.setup.config.evaluate.samples);
        let samples = samples.map(|(row, it)| Shown {
            prompt: it.prompt.clone(),
            reply: it.text.clone(),
            finished: it.finished,
            reward: rewards.as_ref().map(|it| it[row]),
            gold: totals.as_ref().map(|it| it[row]),
            tokens: Vec::new(),
        });
        let report = ModelReport {
            name: name.to_owned(),
            folder: None,
            heldout_loss: None,
            kl: 0.0,
            samples: samples.collect(),
            reward: rewards.as_deref().map(mean),
            gold: totals.as_deref().map(mean),
            gold_std: totals.as_deref().map(deviation),
            ends: mean(&ends),
            length: mean(&lengths),
            diversity: Diversity::of(completions),
        };
        let lengths = completions.iter().map(|it| it.tokens.len()).collect();
        (report, Replies { name: name.to_owned(), gold: totals, reward: rewards, lengths })
    }

    /// So many replies to each held-out prompt in turn, with the same random numbers for each model. Each
    /// worker completes its share.
    pub(super) fn complete(
        &self,
        model: &CausalLm<B::InnerBackend>,
        n_replies: usize,
    ) -> Result<Vec<Completion>> {
        self.replies(model, &self.setup.world.prompts.heldout, n_replies)
    }

    /// The same to the first of any prompts.
    pub(super) fn replies(
        &self,
        model: &CausalLm<B::InnerBackend>,
        questions: &[Question],
        n_replies: usize,
    ) -> Result<Vec<Completion>> {
        let (setup, ppo) = (&self.setup, &self.setup.config.rl);
        let (temperature, ends) = (ppo.at_the_end().temperature, setup.ends());
        let sampling = Sampling {
            ends: ends.tokens.clone(),
            ..ppo.sampling(temperature, setup.tokenizer.special().eos)
        };
        let questions = questions.iter().take(setup.config.evaluate.prompts);
        let asked = questions.map(|it| setup.prompt(it)).collect::<Result<Vec<Prompt>>>()?;
        let asked: Vec<Prompt> =
            asked.into_iter().flat_map(|prompt| std::iter::repeat_n(prompt, n_replies)).collect();
        let asked = self.workers.share(&asked).into_iter().cloned().collect();
        let seeds = self.workers.row_seeds(self.seed(Stage::Evaluate));
        let sampler = Sampler::new(model, &sampling, &self.device)?;
        let sampled = sample_until(&sampler, asked, &setup.tokenizer, &ends.texts, seeds)?;
        let replies = sampled.into_iter().map(|it| it.completion).collect();
        Ok(self.workers.merge(replies)?)
    }

    fn heldout_loss(&self, model: &CausalLm<B::InnerBackend>) -> Result<Option<f64>> {
        let rows = &self.setup.rows.heldout;
        let micro_batch_rows = self.setup.config.sft.micro_batch_rows;
        let loss = || heldout_loss(model, rows, micro_batch_rows, &self.workers, &self.device);
        Ok((!rows.is_empty()).then(loss).transpose()?)
    }

    /// Nats per reply between a model and the fine-tuned one: the mean of `log p − log p_sft` over
    /// the model's own replies.
    fn distance(
        &self,
        model: &CausalLm<B::InnerBackend>,
        completions: &[Completion],
    ) -> Result<f64> {
        let Some(folder) = self.sft_folder()? else { return Ok(0.0) };
        let reference: CausalLm<B::InnerBackend> = load_causal_lm(&folder, &self.device)?;
        let ppo = &self.setup.config.rl;
        let rows: Vec<TokenRow> = completions
            .iter()
            .map(|it| TokenRow::completion(it.prompt_tokens.clone(), &it.tokens))
            .collect();
        let rows: Vec<&TokenRow> = rows.iter().collect();
        let total = |model| -> f64 {
            let rows = row_logprobs(
                model,
                &rows,
                ppo.at_the_end().temperature,
                ppo.micro_batch_rows,
                &self.device,
            );
            rows.iter().flatten().map(|logprob| f64::from(*logprob)).sum()
        };
        Ok((total(model) - total(&reference)) / completions.len() as f64)
    }
}

impl Evaluation {
    /// Reads what an evaluation of a run found.
    pub(crate) fn load(run: &rein_data::run_dir::RunDir) -> Result<Self> {
        let path = run.file(FILE);
        let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
        serde_json::from_slice(&bytes).with_context(|| path.display().to_string())
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn deviation(values: &[f64]) -> f64 {
    let mean = mean(values);
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
}
