//! Supervised fine-tuning: the next token of demonstrations, on the tokens that are learned.

use std::path::Path;

use burn::module::AutodiffModule;
use burn::prelude::*;
use rein_data::batches::{self, RowOrder, group_by_length};
use rein_data::encoding::TokenRow;
use rein_data::log::{Metrics, RunLog};
use rein_data::seed::Seed;
use rein_data::stage::{Cadence, Evaluation, Train};
use rein_data::tokenizer::Tokenizer;
use serde::{Deserialize, Serialize};

use crate::backend::{LmAutodiffBackend, LmBackend};
use crate::checkpoint::{ADAPTER, MODEL, read_state, save_with_tokenizer, write_state};
use crate::guard::{finite, fits};
use crate::hf::{AdapterConfig, load_causal_lm, save_adapter, save_causal_lm};
use crate::learner::Learner;
use crate::logprobs::{cross_entropy, entropy, learned_logits};
use crate::lora::{LoraConfig, seed_dropout};
use crate::optim::OptimizerConfig;
use crate::tokens::{LearnedTokens, scalar};
use crate::{CausalLm, ModelError};

/// How a model is fine-tuned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SftConfig {
    /// Visits of each row.
    pub epochs: f64,
    /// Rows of one update.
    pub batch_rows: usize,
    /// Rows of one forward pass; divides `batch_rows` and doesn't change the update.
    pub micro_batch_rows: usize,
    /// Longer rows are cut at their end.
    pub max_tokens: usize,
    /// The share of the probability that is spread over the vocabulary.
    pub label_smoothing: f64,
    /// Trains adapters beside a frozen model, if given, instead of the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraConfig>,
    /// The update.
    pub optimizer: OptimizerConfig,
    /// When to evaluate, save and stop.
    pub checkpoints: Cadence,
}

impl Default for SftConfig {
    fn default() -> Self {
        Self {
            epochs: 1.0,
            batch_rows: 32,
            micro_batch_rows: 32,
            max_tokens: 1024,
            label_smoothing: 0.0,
            lora: None,
            optimizer: OptimizerConfig { learning_rate: 2e-5, ..OptimizerConfig::default() },
            checkpoints: Cadence::default(),
        }
    }
}

impl SftConfig {
    /// What is wrong with these settings.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.optimizer.problems("sft.optimizer");
        problems.extend(self.lora.iter().flat_map(|lora| lora.problems("sft.lora")));
        problems.extend(batches::divides("sft", self.batch_rows, self.micro_batch_rows));
        if self.epochs <= 0.0 || !self.epochs.is_finite() {
            problems.push("`sft.epochs` must be above 0".into());
        }
        if !(0.0..1.0).contains(&self.label_smoothing) {
            problems.push("`sft.label_smoothing` must be within 0..1".into());
        }
        if self.max_tokens < 2 {
            problems.push("`sft.max_tokens` must be at least 2".into());
        }
        problems
    }

    /// Updates on `n_rows` rows.
    pub fn n_steps(&self, n_rows: usize) -> usize {
        batches::steps(n_rows, self.batch_rows, self.epochs)
    }
}

/// A fine-tuning in progress.
#[derive(Debug)]
pub struct Sft<B: LmAutodiffBackend> {
    config: SftConfig,
    learner: Learner<B, CausalLm<B>>,
    tokenizer: Option<Tokenizer>,
    rows: Vec<TokenRow>,
    heldout: Vec<TokenRow>,
    order: RowOrder,
    n_tokens: u64,
    dropout: Seed,
    device: B::Device,
}

/// The rows of a fine-tuning.
#[derive(Clone, Debug)]
pub struct SftRows {
    /// Rows to train on.
    pub train: Vec<TokenRow>,
    /// Rows to evaluate on; may be empty.
    pub heldout: Vec<TokenRow>,
}

impl<B: LmAutodiffBackend> Sft<B> {
    /// Begins to train `model`. The tokenizer, if there is one, is saved beside it.
    ///
    /// # Errors
    /// No rows, or a tokenizer whose ids the model doesn't have.
    pub fn new(
        config: SftConfig,
        model: CausalLm<B>,
        tokenizer: Option<Tokenizer>,
        rows: SftRows,
        seed: Seed,
        device: &B::Device,
    ) -> Result<Self, ModelError> {
        if rows.train.is_empty() {
            return Err(ModelError::Invalid("there are no rows to fine-tune on".into()));
        }
        if let Some(tokenizer) = &tokenizer {
            fits(model.config(), tokenizer)?;
        }
        let model = match &config.lora {
            Some(lora) => model.with_lora(lora, seed.child("lora"), device)?,
            None => model,
        };
        Ok(Self {
            learner: Learner::new(model, config.optimizer),
            order: RowOrder::new(rows.train.len(), seed.child("order")),
            config,
            tokenizer,
            rows: rows.train,
            heldout: rows.heldout,
            n_tokens: 0,
            dropout: seed.child("dropout"),
            device: device.clone(),
        })
    }

    /// Updates all told.
    pub fn n_steps(&self) -> usize {
        self.config.n_steps(self.rows.len())
    }

    /// One update on these rows; `step`, counted from 0, sets the learning rate.
    pub fn update(&mut self, step: usize, rows: &[&TokenRow]) -> Result<Metrics, ModelError> {
        let n_learned = rows.iter().map(|row| row.n_learned()).sum::<usize>() as f64;
        let mut totals = Totals::default();
        let seed = self.dropout.index(step as u64);
        let micro_batches = rows.chunks(self.config.micro_batch_rows).enumerate();
        let gradients = self.learner.gradients(micro_batches, |model, (number, rows)| {
            seed_dropout::<B>(self.config.lora.as_ref(), seed.index(number as u64), &self.device);
            let judged = Judged::new(model, rows, self.config.label_smoothing, &self.device);
            totals.add(judged.clone().inner());
            // Divided by the tokens of the whole batch, so that the sum over micro-batches is the
            // mean over the batch, however it is cut.
            judged.losses.sum() / n_learned
        });
        finite(step, "the loss", totals.loss)?;
        let rate = self.config.optimizer.rate(step, self.n_steps());
        let grad_norm = self.learner.update(step, gradients, rate)?;
        self.n_tokens += rows.iter().map(|row| row.tokens.len() as u64).sum::<u64>();
        Ok([
            ("loss", totals.loss / n_learned),
            ("mean_token_accuracy", totals.n_right / n_learned),
            ("entropy", totals.entropy / n_learned),
            ("grad_norm", grad_norm),
            ("learning_rate", rate),
            ("num_tokens", self.n_tokens as f64),
            ("epoch", (step + 1) as f64 * rows.len() as f64 / self.rows.len() as f64),
        ]
        .into())
    }

    /// The model as it is.
    pub fn model(&self) -> &CausalLm<B> {
        self.learner.module()
    }
}

impl<B: LmAutodiffBackend> Train for Sft<B> {
    type Error = ModelError;

    fn step(&mut self, step: usize, _: &mut RunLog) -> Result<Metrics, ModelError> {
        let mut rows = self.order.batch(step, self.config.batch_rows);
        group_by_length(&mut rows, self.config.micro_batch_rows, |row| self.rows[row].tokens.len());
        let rows: Vec<TokenRow> = rows.into_iter().map(|row| self.rows[row].clone()).collect();
        self.update(step, &rows.iter().collect::<Vec<_>>())
    }

    fn evaluate(&mut self) -> Result<Option<Evaluation>, ModelError> {
        if self.heldout.is_empty() {
            return Ok(None);
        }
        let heldout: Vec<&TokenRow> = self.heldout.iter().collect();
        let loss = heldout_loss(
            &self.model().valid(),
            &heldout,
            self.config.micro_batch_rows,
            &self.device,
        );
        let metrics = [("eval_loss", loss), ("eval_perplexity", loss.exp())].into();
        Ok(Some(Evaluation { metrics, score: -loss }))
    }

    fn save(&self, folder: &Path) -> Result<(), ModelError> {
        let model = self.model().valid();
        save_with_tokenizer(&folder.join(MODEL), self.tokenizer.as_ref(), |folder| {
            save_causal_lm(&model, folder)
        })?;
        if let Some(lora) = &self.config.lora {
            let config = AdapterConfig::new(lora, model.config(), false);
            save_adapter(&model, &config, &folder.join(ADAPTER))?;
        }
        self.learner.save_optimizer(folder)?;
        write_state(folder, &State { num_tokens: self.n_tokens })
    }

    fn restore(&mut self, folder: &Path) -> Result<(), ModelError> {
        let model = match &self.config.lora {
            Some(_) => {
                let base = self.model().clone().without_lora();
                base.with_saved_lora(&folder.join(ADAPTER), &self.device)?
            }
            None => load_causal_lm(&folder.join(MODEL), &self.device)?,
        };
        self.learner.restore(model, folder, &self.device)?;
        self.n_tokens = read_state::<State>(folder)?.num_tokens;
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
struct State {
    num_tokens: u64,
}

/// The mean loss per learned token over rows that nothing trains on, in nats.
pub fn heldout_loss<B: LmBackend>(
    model: &CausalLm<B>,
    rows: &[&TokenRow],
    micro_batch_rows: usize,
    device: &B::Device,
) -> f64 {
    let mut totals = Totals::default();
    for rows in rows.chunks(micro_batch_rows) {
        totals.add(Judged::new(model, rows, 0.0, device));
    }
    let n_learned: usize = rows.iter().map(|row| row.n_learned()).sum();
    totals.loss / n_learned as f64
}

/// What a model makes of the learned tokens of some rows.
#[derive(Clone)]
struct Judged<B: Backend> {
    /// `[tokens]`
    losses: Tensor<B, 1>,
    /// `[tokens, vocab]`
    logits: Tensor<B, 2>,
    /// `[tokens]`
    targets: Tensor<B, 1, Int>,
}

impl<B: LmBackend> Judged<B> {
    fn new(
        model: &CausalLm<B>,
        rows: &[&TokenRow],
        label_smoothing: f64,
        device: &B::Device,
    ) -> Self {
        let learned = LearnedTokens::new(rows, device);
        let logits = learned_logits(model, &learned, 1.0);
        let targets = learned.targets;
        let losses = cross_entropy(logits.clone(), targets.clone(), label_smoothing);
        Self { losses, logits, targets }
    }
}

impl<B: LmAutodiffBackend> Judged<B> {
    /// Without the tape, for what is only looked at.
    fn inner(self) -> Judged<B::InnerBackend> {
        Judged {
            losses: self.losses.inner(),
            logits: self.logits.inner(),
            targets: self.targets.inner(),
        }
    }
}

/// Sums over learned tokens.
#[derive(Default)]
struct Totals {
    loss: f64,
    n_right: f64,
    entropy: f64,
}

impl Totals {
    fn add<B: LmBackend>(&mut self, judged: Judged<B>) {
        let Judged { losses, logits, targets } = judged;
        let guesses = logits.clone().argmax(1).reshape([targets.dims()[0]]);
        self.loss += scalar(losses.sum());
        self.n_right += scalar(guesses.equal(targets).float().sum());
        self.entropy += scalar(entropy(logits).sum());
    }
}
