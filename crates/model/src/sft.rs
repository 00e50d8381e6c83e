//! Supervised fine-tuning: the next token of demonstrations, on the tokens that are learned.

mod judged;

use std::path::Path;

use burn::module::AutodiffModule;
use rein_data::batches;
use rein_data::encoding::TokenRow;
use rein_data::log::{Metrics, RunLog};
use rein_data::seed::Seed;
use rein_data::sequences::{Batching, Sequences};
use rein_data::stage::{Cadence, Evaluation, Train};
use rein_data::store::TokenStore;
use rein_data::tokenizer::Tokenizer;
use rein_data::workers::Workers;
use serde::{Deserialize, Serialize};

use crate::backend::{LmAutodiffBackend, LmBackend};
use crate::checkpoint::{read_state, write_state};
use crate::guard::{finite, fits};
use crate::iq_learn::IqLearnConfig;
use crate::learner::Learner;
use crate::lora::{LoraConfig, seed_dropout};
use crate::optim::OptimizerConfig;
use crate::{CausalLm, ModelError, Noise, Precision};

use judged::{Judged, Totals};

/// How a model is fine-tuned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SftConfig {
    /// Visits of each row.
    pub epochs: f64,
    /// Rows of one update; with `packing`, sequences of rows.
    pub batch_rows: usize,
    /// Rows (or sequences) of one forward pass; divides `batch_rows` and doesn't change the update.
    pub micro_batch_rows: usize,
    /// Whether what is inside blocks is computed again for the backward pass instead of kept.
    pub gradient_checkpointing: bool,
    /// Longer rows are cut at their end. With `packing`, the length of a sequence.
    pub max_tokens: usize,
    /// Whether rows share sequences, without seeing each other, so that little of a batch is padding.
    pub packing: bool,
    /// Whether the rows of a batch are of like length.
    pub group_by_length: bool,
    /// The share of the probability that is spread over the vocabulary.
    pub label_smoothing: f64,
    /// Keeps the rewards small that the logits imply, if given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iq_learn: Option<IqLearnConfig>,
    /// The `α` of the [`Noise`] that embeddings get while they are trained (5 to 15), if given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub neftune_noise_alpha: Option<f64>,
    /// Trains adapters beside a frozen model, if given, instead of the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraConfig>,
    /// The update.
    pub optimizer: OptimizerConfig,
    /// When to evaluate, save and stop.
    pub checkpoints: Cadence,
    /// Of the products, forward and backward; a run's `[precision]` says it for all stages.
    #[serde(skip)]
    pub precision: Precision,
}

impl Default for SftConfig {
    fn default() -> Self {
        Self {
            epochs: 1.0,
            batch_rows: 32,
            micro_batch_rows: 32,
            gradient_checkpointing: false,
            max_tokens: 1024,
            packing: false,
            group_by_length: false,
            label_smoothing: 0.0,
            iq_learn: None,
            neftune_noise_alpha: None,
            lora: None,
            optimizer: OptimizerConfig { learning_rate: 2e-5, ..OptimizerConfig::default() },
            checkpoints: Cadence::default(),
            precision: Precision::F32,
        }
    }
}

impl SftConfig {
    /// What is wrong with these settings.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.optimizer.problems("sft.optimizer");
        problems.extend(self.lora.iter().flat_map(|lora| lora.problems("sft.lora")));
        problems.extend(self.iq_learn.iter().flat_map(|it| it.problems("sft.iq_learn")));
        problems.extend(batches::divides("sft", self.batch_rows, self.micro_batch_rows));
        if self.epochs <= 0.0 || !self.epochs.is_finite() {
            problems.push("`sft.epochs` must be above 0".into());
        }
        if !(0.0..1.0).contains(&self.label_smoothing) {
            problems.push("`sft.label_smoothing` must be within 0..1".into());
        }
        if self.neftune_noise_alpha.is_some_and(|it| !(it > 0.0 && it.is_finite())) {
            problems.push("`sft.neftune_noise_alpha` must be above 0".into());
        }
        if self.max_tokens < 2 {
            problems.push("`sft.max_tokens` must be at least 2".into());
        }
        problems
    }

    /// The sequences that rows are trained on in, each a row or, with `packing`, several.
    pub fn sequences(&self, rows: TokenStore, seed: Seed) -> Sequences {
        let batching = Batching {
            batch_rows: self.batch_rows,
            micro_batch_rows: self.micro_batch_rows,
            packed: self.packing.then_some(self.max_tokens),
            group_by_length: self.group_by_length,
        };
        Sequences::new(rows, batching, seed)
    }

    /// The model, computed as these settings say.
    fn computed<B: LmBackend>(&self, model: CausalLm<B>) -> CausalLm<B> {
        let model = model.with_precision(self.precision);
        model.with_gradient_checkpointing(self.gradient_checkpointing)
    }

    /// Updates on `n_sequences` sequences.
    pub fn n_steps(&self, n_sequences: usize) -> usize {
        batches::steps(n_sequences, self.batch_rows, self.epochs)
    }
}

/// A fine-tuning in progress.
#[derive(Debug)]
pub struct Sft<B: LmAutodiffBackend> {
    config: SftConfig,
    learner: Learner<B, CausalLm<B>>,
    tokenizer: Option<Tokenizer>,
    sequences: Sequences,
    heldout: TokenStore,
    n_tokens: u64,
    dropout: Seed,
    noise: Seed,
    device: B::Device,
}

/// The rows of a fine-tuning.
#[derive(Clone, Debug)]
pub struct SftRows {
    /// Rows to train on.
    pub train: TokenStore,
    /// Rows to evaluate on, one a sequence; may be empty.
    pub heldout: TokenStore,
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
            learner: Learner::new(config.computed(model), config.optimizer),
            sequences: config.sequences(rows.train, seed.child("order")),
            config,
            tokenizer,
            heldout: rows.heldout,
            n_tokens: 0,
            dropout: seed.child("dropout"),
            noise: seed.child("neftune"),
            device: device.clone(),
        })
    }

    /// Trains together with these workers, each of which must have a sequence of every batch.
    #[must_use]
    pub fn with_workers(mut self, workers: &Workers) -> Self {
        self.learner.share_with(workers);
        self
    }

    /// Updates all told.
    pub fn n_steps(&self) -> usize {
        self.config.n_steps(self.sequences.len())
    }

    /// One update on these rows; `step`, counted from 0, sets the learning rate.
    pub fn update(&mut self, step: usize, rows: &[&TokenRow]) -> Result<Metrics, ModelError> {
        self.update_packed(step, &rows.iter().map(|row| vec![*row]).collect::<Vec<_>>())
    }

    /// [`update`](Self::update) on sequences that may hold several rows: the same update that their
    /// rows alone would give, up to rounding.
    pub fn update_packed(
        &mut self,
        step: usize,
        sequences: &[Vec<&TokenRow>],
    ) -> Result<Metrics, ModelError> {
        let rows = || sequences.iter().flatten();
        let n_learned = rows().map(|row| row.n_learned()).sum::<usize>() as f64;
        let mut totals = Totals::default();
        let workers = self.learner.workers().clone();
        let mine: Vec<Vec<&TokenRow>> = workers.share(sequences).into_iter().cloned().collect();
        let seeds = workers.row_seeds(self.dropout.index(step as u64));
        let micro_batches = mine.chunks(self.config.micro_batch_rows).enumerate();
        let noise = self
            .config
            .neftune_noise_alpha
            .map(|alpha| Noise { alpha, seed: self.noise.index(step as u64) });
        let gradients = self.learner.gradients(micro_batches, |model, (number, sequences)| {
            seed_dropout::<B>(self.config.lora.as_ref(), seeds.of(number), &self.device);
            let judged = Judged::new(model, sequences, &self.config, noise, &self.device);
            totals.add(&judged);
            // Divided by the tokens of the whole batch, so that the sum over micro-batches is the
            // mean over the batch, however it is cut.
            judged.loss() / n_learned
        });
        totals.sum_over(&workers);
        finite(step, "the loss", totals.loss)?;
        let rate = self.config.optimizer.rate(step, self.n_steps());
        let grad_norm = self.learner.update(step, gradients, rate)?;
        self.n_tokens += rows().map(|row| row.tokens.len() as u64).sum::<u64>();
        let mut metrics = Metrics::from([
            ("loss", totals.loss / n_learned),
            ("mean_token_accuracy", totals.n_right / n_learned),
            ("entropy", totals.entropy / n_learned),
            ("grad_norm", grad_norm),
            ("learning_rate", rate),
            ("num_tokens", self.n_tokens as f64),
            ("epoch", (step + 1) as f64 * sequences.len() as f64 / self.sequences.len() as f64),
        ]);
        if self.config.iq_learn.is_some() {
            metrics.push("iq_learn/penalty", totals.penalty / n_learned);
        }
        Ok(metrics)
    }

    /// The model as it is.
    pub fn model(&self) -> &CausalLm<B> {
        self.learner.module()
    }

    /// A row to train on, which the model must have embeddings and positions for.
    fn row(&self, number: usize) -> Result<TokenRow, ModelError> {
        let row = self.sequences.rows().row(number)?;
        let config = self.model().config();
        let refuse = |reason| ModelError::Invalid(format!("row {}: {reason}", number + 1));
        let (n_tokens, room) = (row.tokens.len(), config.max_positions);
        if n_tokens > room {
            let reason = format!("has {n_tokens} tokens, but the model has {room} positions");
            return Err(refuse(reason));
        }
        match row.tokens.iter().find(|token| **token as usize >= config.vocab_size) {
            Some(token) => Err(refuse(format!(
                "holds the token {token}, but the model's vocabulary has {}; encode the rows with \
                 the model's own tokenizer",
                config.vocab_size
            ))),
            None => Ok(row),
        }
    }
}

impl<B: LmAutodiffBackend> Train for Sft<B> {
    type Error = ModelError;

    fn step(&mut self, step: usize, _: &mut RunLog) -> Result<Metrics, ModelError> {
        let numbers = self.sequences.batch(step).into_iter();
        let read = |rows: Vec<usize>| rows.into_iter().map(|row| self.row(row)).collect();
        let sequences: Vec<Vec<TokenRow>> = numbers.map(read).collect::<Result<_, ModelError>>()?;
        let sequences: Vec<Vec<&TokenRow>> =
            sequences.iter().map(|rows| rows.iter().collect()).collect();
        self.update_packed(step, &sequences)
    }

    fn evaluate(&mut self) -> Result<Option<Evaluation>, ModelError> {
        if self.heldout.is_empty() {
            return Ok(None);
        }
        let loss = heldout_loss(
            &self.model().valid(),
            &self.heldout,
            self.config.micro_batch_rows,
            self.learner.workers(),
            &self.device,
        )?;
        let metrics = [("eval_loss", loss), ("eval_perplexity", loss.exp())].into();
        Ok(Some(Evaluation { metrics, score: -loss }))
    }

    fn save(&self, folder: &Path) -> Result<(), ModelError> {
        self.learner.save(self.config.lora.as_ref(), self.tokenizer.as_ref(), folder)?;
        write_state(folder, &State { num_tokens: self.n_tokens })
    }

    fn restore(&mut self, folder: &Path) -> Result<(), ModelError> {
        let config = &self.config;
        let computed = |model| config.computed(model);
        self.learner.load(config.lora.as_ref(), computed, folder, &self.device)?;
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

/// The mean loss per learned token over rows that nothing trains on, in nats. Rows are read a
/// micro-batch at a time, by all workers in turn.
pub fn heldout_loss<B: LmBackend>(
    model: &CausalLm<B>,
    rows: &TokenStore,
    micro_batch_rows: usize,
    workers: &Workers,
    device: &B::Device,
) -> Result<f64, ModelError> {
    let (mut totals, plain) = (Totals::default(), SftConfig::default());
    let begins: Vec<usize> = (0..rows.len()).step_by(micro_batch_rows).collect();
    for &first in workers.share(&begins) {
        let last = (first + micro_batch_rows).min(rows.len());
        let part: Vec<TokenRow> =
            (first..last).map(|row| rows.row(row)).collect::<Result<_, _>>()?;
        let part: Vec<Vec<&TokenRow>> = part.iter().map(|row| vec![row]).collect();
        totals.add(&Judged::new(model, &part, &plain, None, device));
    }
    totals.sum_over(workers);
    let n_learned: usize = (0..rows.len()).map(|row| rows.n_learned(row)).sum();
    Ok(totals.loss / n_learned as f64)
}
