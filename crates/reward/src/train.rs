//! Fits a reward model to judgements.

use std::path::{Path, PathBuf};

use burn::module::AutodiffModule;
use rein_data::batches::{RowOrder, group_by_length};
use rein_data::log::{Metrics, RunLog};
use rein_data::seed::Seed;
use rein_data::stage::{Evaluation, Train};
use rein_data::tokenizer::{SpecialTokens, Tokenizer};
use rein_data::workers::Workers;
use rein_model::backend::{LmAutodiffBackend, LmBackend};
use rein_model::checkpoint::{
    ADAPTER, MODEL, OPTIMIZER, read_state, save_with_tokenizer, write_state,
};
use rein_model::guard::{finite, fits};
use rein_model::lora::seed_dropout;
use rein_model::tokens::host;
use rein_model::{
    AdapterConfig, Learner, ScalarModel, load_scalar_model, save_scalar_adapter, save_scalar_model,
};
use serde::{Deserialize, Serialize};

use crate::RewardError;
pub use crate::config::RewardConfig;
use crate::encoding::Judgements;
use crate::ensemble::{ENSEMBLE, Spread, add_members};
use crate::evaluate::{Share, agreement};
use crate::learned::{Normalization, raw_head_scores, raw_scores};
use crate::objective::{Numbers, Objective, Seen};
use crate::pass::{Draws, Pass};

/// Rows whose scores the normalisation is measured on, at most.
pub(crate) const N_NORMALIZATION_ROWS: usize = 512;

/// A reward model in training.
#[derive(Debug)]
pub struct RewardTraining<B: LmAutodiffBackend> {
    config: RewardConfig,
    objective: Objective,
    learner: Learner<B, ScalarModel<B>>,
    tokenizer: Option<Tokenizer>,
    train: Judgements,
    heldout: Judgements,
    /// Completions of the policy that scores are normalised by; without any, those that are trained on.
    reference: Vec<Vec<u32>>,
    /// The further models of an ensemble.
    members: Vec<PathBuf>,
    order: RowOrder,
    n_tokens: u64,
    seed: Seed,
    device: B::Device,
}

impl<B: LmAutodiffBackend> RewardTraining<B> {
    /// Begins to train `model`; `heldout` may be empty. The tokenizer, if there is one, is saved
    /// beside the model.
    ///
    /// # Errors
    /// No judgements, labels of one kind only, or a tokenizer whose ids the model doesn't have.
    pub fn new(
        config: RewardConfig,
        model: ScalarModel<B>,
        tokenizer: Option<Tokenizer>,
        [train, heldout]: [Judgements; 2],
        seed: Seed,
        device: &B::Device,
    ) -> Result<Self, RewardError> {
        let objective = Objective::new(&config, &train)?;
        if let Some(tokenizer) = &tokenizer {
            fits(model.config(), tokenizer)?;
        }
        let model = match &config.lora {
            Some(lora) => model.with_lora(lora, seed.child("lora"), device)?,
            None => model,
        };
        let model = match &config.ensemble {
            Some(it) => {
                model.with_heads(it.heads_each(), it.prior_scale, seed.child("heads"), device)
            }
            None => model,
        };
        Ok(Self {
            learner: Learner::new(config.computed(model), config.optimizer),
            order: RowOrder::new(train.len(), seed.child("order")),
            config,
            objective,
            tokenizer,
            train,
            heldout,
            reference: Vec::new(),
            members: Vec::new(),
            n_tokens: 0,
            seed,
            device: device.clone(),
        })
    }

    /// Trains together with these workers, each of which must have a judgement of every batch.
    #[must_use]
    pub fn with_workers(mut self, workers: &Workers) -> Self {
        self.learner.share_with(workers);
        self
    }

    /// Normalises scores so that those of these rows have mean 0 and deviation 1: prompts with completions of the
    /// policy that reinforcement learning begins with.
    #[must_use]
    pub fn with_reference(mut self, rows: Vec<Vec<u32>>) -> Self {
        self.reference = rows;
        self
    }

    /// Lays these models, the further ones of an [ensemble](crate::ensemble), beside the one that is trained.
    #[must_use]
    pub fn with_members(mut self, members: Vec<PathBuf>) -> Self {
        self.members = members;
        self
    }

    /// Updates all told.
    pub fn n_steps(&self) -> usize {
        self.config.n_steps(self.train.len())
    }

    /// The model as it is.
    pub fn model(&self) -> &ScalarModel<B> {
        self.learner.module()
    }

    /// The model as it scores: that of an ensemble with the mean of its heads.
    fn scorer(&self) -> ScalarModel<B::InnerBackend> {
        self.model().valid().with_mean_of_heads(&self.device)
    }

    /// One update on these judgements, which count alike for all heads of an ensemble; `step`, counted from 0,
    /// sets the learning rate.
    pub fn update(&mut self, step: usize, batch: &Judgements) -> Result<Metrics, RewardError> {
        let n_heads = self.config.ensemble.map_or(0, |it| it.heads_each());
        self.update_weighted(step, batch, &vec![vec![1.0; n_heads]; batch.len()])
    }

    /// [`update`](Self::update) with what each judgement counts for, for each head.
    fn update_weighted(
        &mut self,
        step: usize,
        batch: &Judgements,
        weights: &[Vec<f32>],
    ) -> Result<Metrics, RewardError> {
        let n_rows = batch.len() as f64;
        let mut seen = Seen::default();
        let mut loss = 0.0;
        let workers = self.learner.workers().clone();
        let seeds = workers.row_seeds(self.seed.child("dropout").index(step as u64));
        let numbers: Vec<usize> = (0..batch.len()).collect();
        let mine = batch.select(workers.share(&numbers).into_iter().copied());
        let weights: Vec<Vec<f32>> = workers.share(weights).into_iter().cloned().collect();
        let (config, objective, device) = (&self.config, &self.objective, &self.device);
        let draws = self.draws(step);
        let parts = mine.chunks(config.micro_batch_rows).into_iter();
        let parts = parts.zip(weights.chunks(config.micro_batch_rows)).map(|(part, weights)| {
            let pass = Pass { config, objective, judgements: &part, weights };
            let attacked = pass.attacked(self.model(), &draws, device);
            (part, weights, attacked)
        });
        let gradients = self.learner.gradients(parts.enumerate(), |model, (number, part)| {
            let (part, weights, attacked) = part;
            seed_dropout::<B>(config.lora.as_ref(), seeds.of(number), device);
            let pass = Pass { config, objective, judgements: &part, weights };
            let judged = pass.objective(model, attacked, &draws, device);
            seen.add(&part, &host(judged.scores.inner()));
            let losses = judged.losses.sum();
            loss += f64::from(host(losses.clone().inner())[0]) / n_rows;
            losses / n_rows
        });
        let mut loss = [loss];
        workers.sum_f64(&mut loss);
        let [loss] = loss;
        finite(step, "the loss", loss)?;
        seen.merge(&workers)?;
        let rate = self.config.optimizer.rate(step, self.n_steps());
        let grad_norm = self.learner.update(step, gradients, rate)?;
        self.objective.learn(batch, &seen, rate / self.config.optimizer.learning_rate);
        self.n_tokens += batch.rows().iter().map(|row| row.len() as u64).sum::<u64>();
        let mut metrics = Metrics::from([("loss", loss)]);
        seen.describe(batch, &mut metrics);
        metrics.push("grad_norm", grad_norm);
        metrics.push("learning_rate", rate);
        metrics.push("num_tokens", self.n_tokens as f64);
        metrics.push("epoch", (step + 1) as f64 * n_rows / self.train.len() as f64);
        Ok(metrics)
    }

    /// The rows that normalisation is measured on.
    fn reference_rows(&self) -> Vec<&[u32]> {
        let mut rows: Vec<&[u32]> = match &self.reference[..] {
            [] => self.train.rows(),
            reference => reference.iter().map(Vec::as_slice).collect(),
        };
        rows.truncate(N_NORMALIZATION_ROWS);
        rows
    }

    /// What each head of an ensemble gives to these rows on average. Scores of labels aren't shifted.
    fn offsets(&self, model: &ScalarModel<B::InnerBackend>) -> Vec<f32> {
        let Some(ensemble) = self.config.ensemble else { return Vec::new() };
        if let Judgements::Labels(_) = self.train {
            return vec![0.0; ensemble.heads_each()];
        }
        let (rows, batch_rows) = (self.reference_rows(), 2 * self.config.micro_batch_rows);
        means(&raw_head_scores(model, &rows, batch_rows, &self.device))
    }

    /// What the saved model's scores are shifted and scaled by.
    fn normalization(&self, model: &ScalarModel<B::InnerBackend>) -> Normalization {
        let (rows, batch_rows) = (self.reference_rows(), 2 * self.config.micro_batch_rows);
        let measured = Normalization::of(&raw_scores(model, &rows, batch_rows, &self.device));
        match &self.train {
            // The sign of a score is a labelled model's prediction, so it isn't shifted.
            Judgements::Labels(_) => Normalization { mean: 0.0, ..measured },
            _ => measured,
        }
    }
}

impl<B: LmAutodiffBackend> RewardTraining<B> {
    fn draws(&self, step: usize) -> Draws {
        let stream = |name: &str| self.seed.child(name).index(step as u64);
        let special = self.tokenizer.as_ref().map(|it| it.special());
        let ids = |it: SpecialTokens| [Some(it.pad), it.bos, Some(it.eos)];
        Draws {
            noise: stream("neftune"),
            exchange: stream("exchange"),
            special: special.into_iter().flat_map(ids).flatten().collect(),
        }
    }
}

impl<B: LmAutodiffBackend> Train for RewardTraining<B> {
    type Error = RewardError;

    fn step(&mut self, step: usize, _: &mut RunLog) -> Result<Metrics, RewardError> {
        let mut rows = self.order.batch(step, self.config.batch_rows);
        group_by_length(&mut rows, self.config.micro_batch_rows, |row| self.train.n_tokens(row));
        let seed = self.seed.child("bootstrap");
        let weigh =
            |row: &usize| self.config.ensemble.map_or_else(Vec::new, |it| it.weights(seed, *row));
        let weights: Vec<Vec<f32>> = rows.iter().map(weigh).collect();
        self.update_weighted(step, &self.train.select(rows), &weights)
    }

    fn evaluate(&mut self) -> Result<Option<Evaluation>, RewardError> {
        if self.heldout.is_empty() {
            return Ok(None);
        }
        let batch_rows = 2 * self.config.micro_batch_rows;
        let (model, workers) = (self.scorer(), self.learner.workers());
        let accuracy = accuracy(&model, &self.heldout, batch_rows, workers, &self.device)?;
        if accuracy.n_cases == 0 {
            return Ok(None);
        }
        let mut metrics = Metrics::from([("eval_accuracy", accuracy.value())]);
        if self.config.ensemble.is_some_and(|it| it.heads_each() > 1) {
            let rows = self.heldout.rows();
            let heads = raw_head_scores(&model, &workers.share(&rows), batch_rows, &self.device);
            metrics.push("eval_ensemble_std", disagreement(&workers.merge(heads)?));
        }
        Ok(Some(Evaluation { metrics, score: accuracy.value() }))
    }

    fn save(&self, folder: &Path) -> Result<(), RewardError> {
        let model = self.scorer();
        let mut told = self.normalization(&model).to_json();
        told.extend(self.objective.to_json(&self.train));
        let offsets = self.offsets(&model);
        save_with_tokenizer(&folder.join(MODEL), self.tokenizer.as_ref(), |folder| {
            save_scalar_model(&model, &told, folder)?;
            model.save_heads(&offsets, &folder.join(ENSEMBLE))?;
            Ok(add_members(folder, &self.members)?)
        })?;
        if let Some(lora) = &self.config.lora {
            let config = AdapterConfig::new(lora, model.config(), true);
            save_scalar_adapter(&model, &config, &folder.join(ADAPTER))?;
        }
        self.learner.save_optimizer(&folder.join(OPTIMIZER))?;
        let numbers = self.objective.numbers().cloned();
        Ok(write_state(folder, &State { num_tokens: self.n_tokens, numbers })?)
    }

    fn restore(&mut self, folder: &Path) -> Result<(), RewardError> {
        let model = match &self.config.lora {
            Some(_) => {
                let base = self.model().clone().without_lora();
                base.with_saved_lora(&folder.join(ADAPTER), &self.device)?
            }
            None => load_scalar_model(&folder.join(MODEL), &self.device)?,
        };
        let model = match &self.config.ensemble {
            Some(_) => model.with_saved_heads(&folder.join(MODEL).join(ENSEMBLE), &self.device)?,
            None => model,
        };
        let model = self.config.computed(model);
        self.learner.restore(model, &folder.join(OPTIMIZER), &self.device)?;
        let state = read_state::<State>(folder)?;
        self.n_tokens = state.num_tokens;
        self.objective.restore(state.numbers);
        Ok(())
    }

    fn digest(&self) -> Option<Vec<u8>> {
        Some(self.learner.digest())
    }
}

/// The mean of each head's scores.
fn means(head_scores: &[Vec<f32>]) -> Vec<f32> {
    let n_rows = head_scores.len() as f64;
    let sum = |head: usize| head_scores.iter().map(|row| f64::from(row[head])).sum::<f64>();
    (0..head_scores[0].len()).map(|head| (sum(head) / n_rows) as f32).collect()
}

/// The mean over rows of the heads' standard deviation, each head centred on these rows.
fn disagreement(head_scores: &[Vec<f32>]) -> f64 {
    let means = means(head_scores);
    let std = |row: &Vec<f32>| {
        let centred = row.iter().zip(&means).map(|(score, mean)| score - mean);
        Spread::of(&centred.collect::<Vec<_>>()).std
    };
    head_scores.iter().map(std).sum::<f64>() / head_scores.len() as f64
}

#[derive(Serialize, Deserialize)]
struct State {
    num_tokens: u64,
    /// What the loss learns beside the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    numbers: Option<Numbers>,
}

/// How often a model's scores agree with judgements, of which each worker reads its share.
pub fn accuracy<B: LmBackend>(
    model: &ScalarModel<B>,
    judgements: &Judgements,
    batch_rows: usize,
    workers: &Workers,
    device: &B::Device,
) -> Result<Share, RewardError> {
    let rows = judgements.rows();
    let scores = raw_scores(model, &workers.share(&rows), batch_rows, device);
    let scores = workers.merge(scores)?;
    Ok(agreement(judgements, &judgements.grouped(&scores)))
}
