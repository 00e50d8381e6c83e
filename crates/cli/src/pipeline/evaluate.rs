//! Measures the models of a run, before and after each stage, on prompts that nothing trained on.

mod best;
mod categories;
mod found;
mod judges;
mod people;
mod regression;
mod subjects;

use std::path::PathBuf;

use anyhow::Result;
use burn::module::AutodiffModule;
use rein_data::encoding::TokenRow;
use rein_data::example::Completion;
use rein_data::helpdesk::gold;
use rein_data::stage::Outcome;
use rein_model::backend::LmAutodiffBackend;
use rein_model::logprobs::row_logprobs;
use rein_model::sft::heldout_loss;
use rein_model::{CausalLm, Sampler, Sampling, load_causal_lm};
use rein_ppo::rollout::{Prompt, sample_until};

use self::categories::by_category;
use self::judges::Judges;
use self::regression::{Answers, regression};
use super::Session;
use super::compare::{Replies, Versus};
use crate::config::{GOLD, Stage};
use crate::world::Question;

pub(crate) use self::best::BestOf;
pub(crate) use self::categories::{CategoryMeans, CategoryReport};
pub(crate) use self::found::{Diversity, Evaluation, Judged, ModelReport, Shown};
pub(super) use self::judges::Scores;
pub(crate) use self::people::{COMPARISONS, PeopleReport};
pub(crate) use self::regression::RegressionReport;

/// What is known of one model.
struct Measured {
    report: ModelReport,
    replies: Replies,
    /// What it says to the regression suite, where there is one.
    answers: Option<Answers>,
}

impl<B: LmAutodiffBackend> Session<B> {
    /// Measures all models that the run has.
    pub(super) fn evaluate(&mut self) -> Result<Outcome> {
        self.log.note("evaluating on held-out prompts");
        let judges = self.judges()?;
        let mut measured = Vec::new();
        for (name, folder) in self.subjects()? {
            if self.workers.any(self.interrupt.is_set()) {
                return Ok(Outcome::Interrupted);
            }
            measured.push(self.measure(&name, folder, &judges)?);
        }
        let best = self.measure_best(&judges)?;
        let judge = judges.reward.map(|it| self.judge_report(&it)).transpose()?.flatten();
        let asked = self.what_was_asked()?;
        let evaluation = Evaluation { judge, asked, ..self.compared(measured, best)? };
        let path = Evaluation::path(&self.run);
        if self.workers.leads() {
            evaluation.save(&path)?;
        }
        Ok(Outcome::Finished(path))
    }

    /// The models side by side.
    fn compared(
        &self,
        measured: Vec<Measured>,
        best: Option<(ModelReport, Vec<BestOf>)>,
    ) -> Result<Evaluation> {
        let (mut models, mut replies, mut answers) = (Vec::new(), Vec::new(), Vec::new());
        for it in measured {
            models.push(it.report);
            replies.push(it.replies);
            answers.extend(it.answers);
        }
        let fine_tuned = self.fine_tuned_name()?;
        let rivals = self.rivals(&replies)?;
        let pair = rivals.fine_tuned.and_then(|it| Some((*rivals.policies.last()?, it)));
        let before: Vec<&str> =
            rivals.fine_tuned.into_iter().chain(rivals.before).map(|it| &*it.name).collect();
        let suite = self.setup.suite.as_ref();
        let people = pair.map(|(ours, theirs)| self.people([ours, theirs])).transpose()?.flatten();
        let (best, best_of) = best.unzip();
        let said: Vec<Versus> = people.iter().filter_map(|it| it.versus.clone()).collect();
        // It stands behind the model whose replies they are.
        let place = models.iter().position(|it| it.name == fine_tuned).map_or(0, |it| it + 1);
        best.into_iter().for_each(|it| models.insert(place, it));
        Ok(Evaluation {
            judge: None,
            asked: None,
            versus: [rivals.versus(self.seed(Stage::Evaluate).child("versus")), said].concat(),
            people,
            best_of: best_of.unwrap_or_default(),
            categories: by_category(&self.categories(), &replies, pair),
            regression: suite.and_then(|it| regression(it, &answers, &before)),
            models,
        })
    }

    fn measure(
        &self,
        name: &str,
        folder: Option<PathBuf>,
        judges: &Judges<B::InnerBackend>,
    ) -> Result<Measured> {
        let model: CausalLm<B::InnerBackend> = match &folder {
            Some(folder) => load_causal_lm(folder, &self.device)?,
            None => self.initial_model()?.valid(),
        };
        let completions = self.complete(&model, 1)?;
        let rewards = judges.rewards(&completions)?;
        let (report, replies) = self.describe(name, &completions, rewards, judges)?;
        let mut report = ModelReport {
            heldout_loss: self.heldout_loss(&model)?,
            kl: self.distance(&model, &completions)?,
            folder,
            ..report
        };
        self.colour(&mut report, &model, &completions)?;
        Ok(Measured { report, replies, answers: self.answer_suite(name, &model)? })
    }

    /// What can be told of replies without the model that gave them.
    fn describe(
        &self,
        name: &str,
        completions: &[Completion],
        rewards: Option<Scores>,
        judges: &Judges<B::InnerBackend>,
    ) -> Result<(ModelReport, Replies)> {
        let gold = self.setup.world.has_gold().then(|| {
            let gold = completions.iter().map(|it| gold::judge(&it.prompt, &it.text, it.finished));
            gold.collect::<Vec<_>>()
        });
        let totals = gold.as_ref().map(|it| Scores::new(GOLD, it.iter().map(|it| it.total())));
        let named = judges.named_scores(completions, &self.workers)?;
        let ends: Vec<f64> = match &gold {
            Some(gold) => gold.iter().map(|it| f64::from(u8::from(it.ends_properly()))).collect(),
            None => completions.iter().map(|it| f64::from(u8::from(it.finished))).collect(),
        };
        let lengths: Vec<usize> = completions.iter().map(|it| it.tokens.len()).collect();
        let samples = completions.iter().enumerate().take(self.setup.config.evaluate.samples);
        let samples = samples.map(|(row, it)| Shown {
            prompt: it.prompt.clone(),
            reply: it.text.clone(),
            finished: it.finished,
            reward: rewards.as_ref().map(|it| it.of[row]),
            gold: totals.as_ref().map(|it| it.of[row]),
            tokens: Vec::new(),
        });
        let report = ModelReport {
            name: name.to_owned(),
            folder: None,
            heldout_loss: None,
            kl: 0.0,
            samples: samples.collect(),
            reward: rewards.as_ref().map(|it| mean(&it.of)),
            gold: totals.as_ref().map(|it| mean(&it.of)),
            gold_std: totals.as_ref().map(|it| deviation(&it.of)),
            judges: named.iter().map(judged).collect(),
            ends: mean(&ends),
            length: mean(&lengths.iter().map(|it| *it as f64).collect::<Vec<_>>()),
            diversity: Diversity::of(completions),
        };
        let scores = totals.into_iter().chain(rewards).chain(named).collect();
        let said = completions.to_vec();
        Ok((report, Replies { name: name.to_owned(), scores, lengths, said }))
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
        let setup = &self.setup;
        let questions = questions.iter().take(setup.config.evaluate.prompts);
        let asked = questions.map(|it| setup.prompt(it)).collect::<Result<Vec<Prompt>>>()?;
        let asked: Vec<Prompt> =
            asked.into_iter().flat_map(|prompt| std::iter::repeat_n(prompt, n_replies)).collect();
        self.sample_all(model, &asked, &self.evaluation_sampling())
    }

    /// How replies are sampled: as at the end of reinforcement learning.
    fn evaluation_sampling(&self) -> Sampling {
        let (setup, ppo) = (&self.setup, &self.setup.config.rl);
        let temperature = ppo.at_the_end().temperature;
        Sampling {
            ends: setup.ends().tokens,
            ..ppo.sampling(temperature, setup.tokenizer.special().eos)
        }
    }

    /// A reply to each prompt. Each worker completes its share.
    fn sample_all(
        &self,
        model: &CausalLm<B::InnerBackend>,
        asked: &[Prompt],
        sampling: &Sampling,
    ) -> Result<Vec<Completion>> {
        let asked = self.workers.share(asked).into_iter().cloned().collect();
        let seeds = self.workers.row_seeds(self.seed(Stage::Evaluate));
        let sampler = Sampler::new(model, sampling, &self.device)?;
        let (tokenizer, texts) = (&self.setup.tokenizer, self.setup.ends().texts);
        let sampled = sample_until(&sampler, asked, tokenizer, &texts, seeds)?;
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

fn judged(scores: &Scores) -> Judged {
    Judged { by: scores.by.clone(), mean: mean(&scores.of), n_failed: scores.n_failed }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn deviation(values: &[f64]) -> f64 {
    let mean = mean(values);
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
}
