//! Fits a reward model to judgements.

use std::path::Path;

use burn::module::AutodiffModule;
use rein_data::batches::{RowOrder, group_by_length};
use rein_data::log::{Metrics, RunLog};
use rein_data::seed::Seed;
use rein_data::stage::{Evaluation, Train};
use rein_data::tokenizer::Tokenizer;
use rein_data::workers::Workers;
use rein_model::backend::{LmAutodiffBackend, LmBackend};
use rein_model::checkpoint::{
    ADAPTER, MODEL, OPTIMIZER, read_state, save_with_tokenizer, write_state,
};
use rein_model::guard::{finite, fits};
use rein_model::lora::seed_dropout;
use rein_model::tokens::{TokenBatch, host};
use rein_model::{
    AdapterConfig, Learner, ScalarModel, load_scalar_model, save_scalar_adapter, save_scalar_model,
};
use serde::{Deserialize, Serialize};

use crate::RewardError;
pub use crate::config::RewardConfig;
use crate::encoding::Judgements;
use crate::evaluate::{Share, label_accuracy, pair_accuracy};
use crate::learned::{Normalization, raw_scores};
use crate::objective::{Seen, losses, scored_rows};

/// Rows whose scores the normalisation is measured on, at most.
const N_NORMALIZATION_ROWS: usize = 512;

/// A reward model in training.
#[derive(Debug)]
pub struct RewardTraining<B: LmAutodiffBackend> {
    config: RewardConfig,
    learner: Learner<B, ScalarModel<B>>,
    tokenizer: Option<Tokenizer>,
    train: Judgements,
    heldout: Judgements,
    order: RowOrder,
    n_tokens: u64,
    dropout: Seed,
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
        check(&train)?;
        if let Some(tokenizer) = &tokenizer {
            fits(model.config(), tokenizer)?;
        }
        let model = match &config.lora {
            Some(lora) => model.with_lora(lora, seed.child("lora"), device)?,
            None => model,
        };
        Ok(Self {
            learner: Learner::new(config.computed(model), config.optimizer),
            order: RowOrder::new(train.len(), seed.child("order")),
            config,
            tokenizer,
            train,
            heldout,
            n_tokens: 0,
            dropout: seed.child("dropout"),
            device: device.clone(),
        })
    }

    /// Trains together with these workers, each of which must have a judgement of every batch.
    #[must_use]
    pub fn with_workers(mut self, workers: &Workers) -> Self {
        self.learner.share_with(workers);
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

    /// One update on these judgements; `step`, counted from 0, sets the learning rate.
    pub fn update(&mut self, step: usize, batch: &Judgements) -> Result<Metrics, RewardError> {
        let n_rows = batch.len() as f64;
        let mut seen = Seen::default();
        let mut loss = 0.0;
        let workers = self.learner.workers().clone();
        let seeds = workers.row_seeds(self.dropout.index(step as u64));
        let numbers: Vec<usize> = (0..batch.len()).collect();
        let mine = batch.select(workers.share(&numbers).into_iter().copied());
        let parts = mine.chunks(self.config.micro_batch_rows).into_iter();
        let gradients = self.learner.gradients(parts.enumerate(), |model, (number, part)| {
            seed_dropout::<B>(self.config.lora.as_ref(), seeds.of(number), &self.device);
            let scores = model.scores(&TokenBatch::right_padded(&scored_rows(&part), &self.device));
            seen.add(&part, &host(scores.clone().inner()));
            let losses = losses(&self.config, &part, scores).sum();
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
        self.n_tokens += batch.rows().iter().map(|row| row.len() as u64).sum::<u64>();
        let mut metrics = Metrics::from([("loss", loss)]);
        seen.describe(&mut metrics);
        metrics.push("grad_norm", grad_norm);
        metrics.push("learning_rate", rate);
        metrics.push("num_tokens", self.n_tokens as f64);
        metrics.push("epoch", (step + 1) as f64 * n_rows / self.train.len() as f64);
        Ok(metrics)
    }
}

impl<B: LmAutodiffBackend> Train for RewardTraining<B> {
    type Error = RewardError;

    fn step(&mut self, step: usize, _: &mut RunLog) -> Result<Metrics, RewardError> {
        let mut rows = self.order.batch(step, self.config.batch_rows);
        group_by_length(&mut rows, self.config.micro_batch_rows, |row| self.train.n_tokens(row));
        self.update(step, &self.train.select(rows))
    }

    fn evaluate(&mut self) -> Result<Option<Evaluation>, RewardError> {
        if self.heldout.is_empty() {
            return Ok(None);
        }
        let batch_rows = 2 * self.config.micro_batch_rows;
        let accuracy = accuracy(
            &self.model().valid(),
            &self.heldout,
            batch_rows,
            self.learner.workers(),
            &self.device,
        )?;
        let metrics = [("eval_accuracy", accuracy.value())].into();
        Ok(Some(Evaluation { metrics, score: accuracy.value() }))
    }

    fn save(&self, folder: &Path) -> Result<(), RewardError> {
        let model = self.model().valid();
        let mut rows = self.train.rows();
        rows.truncate(N_NORMALIZATION_ROWS);
        let batch_rows = 2 * self.config.micro_batch_rows;
        let scores = raw_scores(&model, &rows, batch_rows, &self.device);
        // The sign of a score is a labelled model's prediction, so only pairs are shifted.
        let normalization = match &self.train {
            Judgements::Pairs(_) => Normalization::of(&scores),
            Judgements::Labels(_) => Normalization { mean: 0.0, ..Normalization::of(&scores) },
        };
        save_with_tokenizer(&folder.join(MODEL), self.tokenizer.as_ref(), |folder| {
            save_scalar_model(&model, &normalization.to_json(), folder)
        })?;
        if let Some(lora) = &self.config.lora {
            let config = AdapterConfig::new(lora, model.config(), true);
            save_scalar_adapter(&model, &config, &folder.join(ADAPTER))?;
        }
        self.learner.save_optimizer(&folder.join(OPTIMIZER))?;
        Ok(write_state(folder, &State { num_tokens: self.n_tokens })?)
    }

    fn restore(&mut self, folder: &Path) -> Result<(), RewardError> {
        let model = match &self.config.lora {
            Some(_) => {
                let base = self.model().clone().without_lora();
                base.with_saved_lora(&folder.join(ADAPTER), &self.device)?
            }
            None => load_scalar_model(&folder.join(MODEL), &self.device)?,
        };
        let model = self.config.computed(model);
        self.learner.restore(model, &folder.join(OPTIMIZER), &self.device)?;
        self.n_tokens = read_state::<State>(folder)?.num_tokens;
        Ok(())
    }

    fn digest(&self) -> Option<Vec<u8>> {
        Some(self.learner.digest())
    }
}

#[derive(Serialize, Deserialize)]
struct State {
    num_tokens: u64,
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
    Ok(match judgements {
        Judgements::Pairs(_) => {
            let side =
                |side: usize| scores.iter().skip(side).step_by(2).copied().collect::<Vec<_>>();
            pair_accuracy(&side(0), &side(1))
        }
        Judgements::Labels(labels) => {
            let is_good: Vec<bool> = labels.iter().map(|label| label.is_good).collect();
            label_accuracy(&scores, &is_good)
        }
    })
}

/// Refuses judgements that nothing can be learned from.
fn check(judgements: &Judgements) -> Result<(), RewardError> {
    let refuse = |reason: &str| Err(RewardError::Invalid(reason.to_owned()));
    match judgements {
        Judgements::Pairs(pairs) if pairs.is_empty() => refuse("there are no preference pairs"),
        Judgements::Labels(labels) if labels.is_empty() => refuse("there are no labels"),
        Judgements::Labels(labels)
            if labels.iter().all(|label| label.is_good == labels[0].is_good) =>
        {
            refuse("all labels are the same; a reward model needs good and bad completions")
        }
        _ => Ok(()),
    }
}
