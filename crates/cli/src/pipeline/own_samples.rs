//! A model's own completions of what was demonstrated, for a reward model that learns from demonstrations.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rein_data::batches::permutation;
use rein_data::encoding::TokenRow;
use rein_data::example::Completion;
use rein_data::jsonl;
use rein_data::log::{Metrics, RunLog};
use rein_data::seed::Seed;
use rein_data::stage::{Cadence, Evaluation, Outcome, Train, drive};
use rein_data::store::TokenStore;
use rein_data::workers::Workers;
use rein_model::backend::LmAutodiffBackend;
use rein_model::{CausalLm, Sampler, Sampling, load_causal_lm};
use rein_ppo::rollout::{Prompt, sample_until};
use rein_reward::encoding::{Encoded, Judgements as Rows};
use rein_reward::inverse::FeatureReward;
use rein_reward::inverse::demonstrations::{DemonstrationsConfig, Sampler as Asked, pairs};
use serde::{Deserialize, Serialize};

use super::Session;
use crate::config::Stage;
use crate::setup::Setup;

/// Where checkpoints and metrics of the sampling lie in a run.
const STAGE: &str = "samples";
/// The file of samples within a checkpoint.
const FILE: &str = "samples.jsonl";
/// The file of a run with the weights of features.
pub(super) const FEATURES: &str = "feature_reward.json";
/// Demonstrations whose prompts are completed at a time.
const BATCH_ROWS: usize = 256;
/// Weights that are told of.
const N_TOLD: usize = 5;

/// A demonstration, and completions of its prompt.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Compared {
    is_heldout: bool,
    shown: Completion,
    /// By temperature, the lowest first.
    samples: Vec<Vec<Completion>>,
}

impl<B: LmAutodiffBackend> Session<B> {
    /// Pairs of demonstrations and of own samples, to train on and to measure with; none if somebody asked to
    /// stop meanwhile.
    pub(super) fn pairs_of_demonstrations(
        &mut self,
        config: &DemonstrationsConfig,
    ) -> Result<Option<[Encoded; 2]>> {
        let compared = match self.run.finished(STAGE)? {
            Some(finished) => read(&self.run.checkpoints(STAGE).path(finished.step), &self.setup)?,
            None => match self.sample_own(config)? {
                Some(compared) => compared,
                None => return Ok(None),
            },
        };
        if let Some(max_ent) = &config.max_ent
            && self.workers.leads()
        {
            let train = || compared.iter().filter(|it| !it.is_heldout);
            let shown: Vec<Completion> = train().map(|it| it.shown.clone()).collect();
            let sampled: Vec<Completion> =
                train().flat_map(|it| it.samples.iter().flatten().cloned()).collect();
            let reward = FeatureReward::fit(&shown, &sampled, max_ent)
                .context("`reward.demonstrations.max_ent`")?;
            reward.save(&self.run.file(FEATURES))?;
            self.tell_features(&reward);
        }
        let behind = self.setup.behind_replies();
        let max_tokens = self.setup.config.reward.max_tokens;
        let side = |is_heldout: bool| {
            let rows = compared.iter().filter(|it| it.is_heldout == is_heldout);
            encoded(rows, config.length_matched, &behind, max_tokens)
        };
        Ok(Some([side(false), side(true)]))
    }

    fn tell_features(&mut self, reward: &FeatureReward) {
        let told = reward.weights().iter().take(N_TOLD);
        let told: Vec<String> = told.map(|(name, weight)| format!("{name} {weight:+.2}")).collect();
        let path = self.run.file(FEATURES);
        self.log.note(format!(
            "reward: {} features have weights, the largest {}; see {}",
            reward.weights().len(),
            told.join(", "),
            path.display()
        ));
    }

    fn sample_own(&mut self, config: &DemonstrationsConfig) -> Result<Option<Vec<Compared>>> {
        let seed = self.seed(Stage::Reward).child(STAGE);
        let (shown, n_without_room) = shown(&self.setup, config.count, seed)?;
        if n_without_room > 0 {
            self.log.note(format!(
                "reward: {n_without_room} demonstrations leave no room for `rl.max_new_tokens` and aren't used"
            ));
        }
        let mut stage = OwnSamples::<B> {
            model: load_causal_lm(&self.asked(config.sampler)?, &self.device)?,
            config: config.clone(),
            shown,
            compared: Vec::new(),
            setup: self.setup.clone(),
            workers: self.workers.clone(),
            seed,
            device: self.device.clone(),
        };
        let n_steps = stage.shown.len().div_ceil(BATCH_ROWS);
        let cadence =
            Cadence { evaluate_every: 0, save_every: 8, keep_last: 1, ..Cadence::default() };
        let outcome = drive(&mut self.context(), STAGE, &mut stage, n_steps, &cadence)?;
        Ok((outcome != Outcome::Interrupted).then_some(stage.compared))
    }

    /// The model whose samples demonstrations are compared with.
    fn asked(&self, sampler: Asked) -> Result<PathBuf> {
        match (sampler, &self.setup.folders.model) {
            (Asked::FineTuned, _) => self.sft_model(),
            (Asked::Initial, Some(folder)) => Ok(folder.clone()),
            (Asked::Initial, None) => {
                bail!("a new model says nothing before it is fine-tuned; name another `sampler`")
            }
        }
    }
}

/// Some demonstrations, those that are trained on first, and how many leave no room for an answer.
fn shown(setup: &Setup, count: usize, seed: Seed) -> Result<(Vec<(bool, Completion)>, usize)> {
    let (mut shown, mut n_without_room) = (Vec::new(), 0);
    let room = setup.model.max_positions.saturating_sub(setup.config.rl.max_new_tokens);
    let mut add = |rows: &TokenStore, is_heldout: bool| -> Result<()> {
        let order =
            permutation(rows.len(), seed.child(if is_heldout { "heldout" } else { "train" }));
        for row in order.into_iter().take(count) {
            let completion = last_turn(&rows.row(row)?, setup);
            if completion.prompt_tokens.is_empty() || completion.prompt_tokens.len() > room {
                n_without_room += 1;
            } else {
                shown.push((is_heldout, completion));
            }
        }
        Ok(())
    };
    add(&setup.rows.train, false)?;
    add(&setup.rows.heldout, true)?;
    if shown.first().is_none_or(|(is_heldout, _)| *is_heldout) {
        bail!(
            "`reward.demonstrations`: there is no demonstration whose prompt leaves room to answer"
        );
    }
    Ok((shown, n_without_room))
}

/// The last run of learned tokens, as a completion of all before it.
fn last_turn(row: &TokenRow, setup: &Setup) -> Completion {
    let end = row.learned.iter().rposition(|it| *it).map_or(0, |last| last + 1);
    let begin = row.learned[..end].iter().rposition(|it| !*it).map_or(0, |before| before + 1);
    let (prompt, tokens) = (&row.tokens[..begin], &row.tokens[begin..end]);
    Completion {
        prompt: setup.tokenizer.decode(prompt),
        prompt_tokens: prompt.to_vec(),
        text: setup.tokenizer.decode(tokens),
        finished: tokens.last().is_some_and(|last| setup.ends().tokens.contains(last)),
        tokens: tokens.to_vec(),
        ..Completion::default()
    }
}

fn encoded<'a>(
    rows: impl Iterator<Item = &'a Compared>,
    length_matched: bool,
    behind_replies: &[u32],
    max_tokens: usize,
) -> Encoded {
    let row = |completion: &Completion| {
        let behind = if completion.finished { behind_replies } else { &[] };
        [&completion.sequence()[..], behind].concat()
    };
    let (mut all, mut lengths, mut n_truncated) = (Vec::new(), Vec::new(), 0);
    for Compared { shown, samples, .. } in rows {
        let ranks: Vec<Vec<Vec<u32>>> =
            samples.iter().map(|rank| rank.iter().map(row).collect()).collect();
        for mut pair in pairs(&row(shown), &ranks, length_matched) {
            for side in [&mut pair.chosen, &mut pair.rejected] {
                lengths.push(side.len() - shown.prompt_tokens.len());
                let n_over = side.len().saturating_sub(max_tokens);
                n_truncated += usize::from(n_over > 0);
                side.drain(..n_over);
            }
            all.push(pair);
        }
    }
    Encoded { judgements: Rows::Pairs(all), lengths, n_truncated }
}

/// Sampling in progress.
struct OwnSamples<B: LmAutodiffBackend> {
    model: CausalLm<B::InnerBackend>,
    config: DemonstrationsConfig,
    shown: Vec<(bool, Completion)>,
    compared: Vec<Compared>,
    setup: Setup,
    workers: Workers,
    seed: Seed,
    device: B::Device,
}

impl<B: LmAutodiffBackend> OwnSamples<B> {
    /// Completions of these prompts at one temperature, prompt by prompt. Each worker samples its share.
    fn sample(
        &self,
        shown: &[Completion],
        temperature: f32,
        seed: Seed,
    ) -> Result<Vec<Completion>> {
        let (ppo, ends) = (&self.setup.config.rl, self.setup.ends());
        let tokenizer = &self.setup.tokenizer;
        let sampling = Sampling {
            batch_rows: 2 * ppo.micro_batch_rows,
            ends: ends.tokens,
            epsilon: 0.0,
            ..ppo.sampling(temperature, tokenizer.special().eos)
        };
        let asked = shown.iter().flat_map(|it| std::iter::repeat_n(it, self.config.samples));
        let asked: Vec<&Completion> = asked.collect();
        let prompt = |it: &&Completion| Prompt {
            text: it.prompt.clone(),
            tokens: it.prompt_tokens.clone(),
            columns: it.columns.clone(),
        };
        let mine = self.workers.share(&asked).into_iter().map(prompt).collect();
        let sampler = Sampler::new(&self.model, &sampling, &self.device)?;
        let seeds = self.workers.row_seeds(seed);
        let sampled = sample_until(&sampler, mine, tokenizer, &ends.texts, seeds)?;
        let completions = sampled.into_iter().map(|it| it.completion).collect();
        Ok(self.workers.merge::<Completion>(completions)?)
    }
}

impl<B: LmAutodiffBackend> Train for OwnSamples<B> {
    type Error = anyhow::Error;

    fn step(&mut self, step: usize, _: &mut RunLog) -> Result<Metrics> {
        let first = step * BATCH_ROWS;
        let batch = &self.shown[first..self.shown.len().min(first + BATCH_ROWS)];
        let shown: Vec<Completion> = batch.iter().map(|(_, it)| it.clone()).collect();
        let mut compared: Vec<Compared> = batch
            .iter()
            .map(|(is_heldout, it)| Compared {
                is_heldout: *is_heldout,
                shown: it.clone(),
                samples: Vec::new(),
            })
            .collect();
        for (place, temperature) in self.config.temperatures.iter().enumerate() {
            let seed = self.seed.child("draws").index(step as u64).index(place as u64);
            let sampled = self.sample(&shown, *temperature, seed)?;
            let each = sampled.chunks_exact(self.config.samples).map(<[Completion]>::to_vec);
            compared.iter_mut().zip(each).for_each(|(it, samples)| it.samples.push(samples));
        }
        let lengths = compared.iter().flat_map(|it| it.samples.iter().flatten());
        let lengths: Vec<f64> = lengths.map(|it| it.tokens.len() as f64).collect();
        let told = [
            ("completions", lengths.len() as f64),
            ("completions/mean_length", lengths.iter().sum::<f64>() / lengths.len() as f64),
        ];
        self.compared.extend(compared);
        Ok(told.into())
    }

    fn evaluate(&mut self) -> Result<Option<Evaluation>> {
        Ok(None)
    }

    fn save(&self, folder: &Path) -> Result<()> {
        let (path, lines) = (folder.join(FILE), self.compared.iter().map(jsonl::line));
        fs::write(&path, lines.collect::<String>()).with_context(|| path.display().to_string())
    }

    fn restore(&mut self, folder: &Path) -> Result<()> {
        self.compared = read(folder, &self.setup)?;
        Ok(())
    }
}

/// The samples in a checkpoint, of tokens that the model has.
fn read(folder: &Path, setup: &Setup) -> Result<Vec<Compared>> {
    let n_ids = setup.model.vocab_size;
    let fits = |it: &Completion| it.sequence().iter().all(|token| (*token as usize) < n_ids);
    let checked = |row: Compared| {
        let all = [&row.shown].into_iter().chain(row.samples.iter().flatten());
        if all.into_iter().all(fits) {
            Ok(row)
        } else {
            Err("holds tokens that the model doesn't have".into())
        }
    };
    Ok(jsonl::read_with(&folder.join(FILE), checked)?)
}
