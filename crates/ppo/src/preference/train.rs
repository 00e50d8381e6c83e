//! The stage that optimises a policy on preference pairs.

use std::path::Path;

use burn::module::AutodiffModule;
use rein_data::batches::{RowOrder, group_by_length};
use rein_data::encoding::TokenRow;
use rein_data::log::{Metrics, RunLog};
use rein_data::seed::Seed;
use rein_data::stage::{Evaluation, Train};
use rein_data::tokenizer::Tokenizer;
use rein_data::workers::Workers;
use rein_model::backend::LmAutodiffBackend;
use rein_model::checkpoint::{
    ADAPTER, MODEL, OPTIMIZER, read_state, save_with_tokenizer, write_state,
};
use rein_model::config::ModelConfig;
use rein_model::guard::{finite, fits, row_fits};
use rein_model::lora::seed_dropout;
use rein_model::{
    AdapterConfig, CausalLm, Frozen, Learner, load_causal_lm, save_adapter, save_causal_lm,
};
use serde::{Deserialize, Serialize};

use crate::PpoError;
use crate::preference::config::DpoConfig;
use crate::preference::judge::{Judged, Measured, Referred, describe, total_loss};
use crate::preference::pairs::Pair;
use crate::preference::reference::Reference;

/// A policy that is optimised on preference pairs.
#[derive(Debug)]
pub struct Dpo<B: LmAutodiffBackend> {
    config: DpoConfig,
    learner: Learner<B, CausalLm<B>>,
    reference: Reference<B::InnerBackend>,
    tokenizer: Option<Tokenizer>,
    train: Vec<Pair>,
    heldout: Vec<Pair>,
    order: RowOrder,
    n_tokens: u64,
    dropout: Seed,
    device: B::Device,
}

impl<B: LmAutodiffBackend> Dpo<B> {
    /// Begins to optimise `policy`; where it stands now becomes its reference, if the loss has one. The
    /// held-out pairs may be none. The tokenizer, if there is one, is saved beside the policy.
    ///
    /// # Errors
    /// No pairs, rows that the policy can't take, or a tokenizer whose ids it doesn't have.
    pub fn new(
        config: DpoConfig,
        policy: CausalLm<B>,
        tokenizer: Option<Tokenizer>,
        [train, heldout]: [Vec<Pair>; 2],
        seed: Seed,
        device: &B::Device,
    ) -> Result<Self, PpoError> {
        check(&policy, [&train, &heldout])?;
        if let Some(tokenizer) = &tokenizer {
            fits(policy.config(), tokenizer)?;
        }
        let policy = match &config.lora {
            Some(lora) => policy.with_lora(lora, seed.child("lora"), device)?,
            None => policy,
        };
        let policy = config.computed(policy);
        // New adapters change nothing: the policy without them is where it stands now, and its tensors are
        // the policy's own.
        let began = || Frozen::new(policy.valid().without_lora(), config.precision.frozen);
        Ok(Self {
            reference: Reference::new(config.has_reference().then(began), &train, &heldout),
            learner: Learner::new(policy, config.optimizer),
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

    /// Optimises together with these workers, each of which must have a pair of every batch.
    #[must_use]
    pub fn with_workers(mut self, workers: &Workers) -> Self {
        self.learner.share_with(workers);
        self
    }

    /// Updates all told.
    pub fn n_steps(&self) -> usize {
        self.config.n_steps(self.train.len())
    }

    /// The policy as it is.
    pub fn policy(&self) -> &CausalLm<B> {
        self.learner.module()
    }

    /// What the reference gives to both completions of each pair to train on, in nats, once it was asked.
    pub fn reference_logprobs(&self) -> &[[f32; 2]] {
        &self.reference.train
    }

    /// One update on these pairs, by their numbers; `step`, counted from 0, sets the learning rate.
    pub fn update(&mut self, step: usize, numbers: &[usize]) -> Result<Metrics, PpoError> {
        self.ask_reference()?;
        let workers = self.learner.workers().clone();
        let references = &self.reference.train;
        let referred = |&it: &usize| Referred { pair: &self.train[it], reference: references[it] };
        let batch: Vec<Referred<'_>> = numbers.iter().map(referred).collect();
        let (n_pairs, n_chosen) = (batch.len() as f64, n_chosen_tokens(&batch));
        let mine: Vec<Referred<'_>> = workers.share(&batch).into_iter().copied().collect();
        let seeds = workers.row_seeds(self.dropout.index(step as u64));
        let (loss, imitation) = (self.config.loss(), self.config.imitation());
        let mut seen: Vec<Measured> = Vec::new();
        let micro_batches = mine.chunks(self.config.micro_batch_rows).enumerate();
        let gradients = self.learner.gradients(micro_batches, |policy, (number, pairs)| {
            seed_dropout::<B>(self.config.lora.as_ref(), seeds.of(number), &self.device);
            let judged = Judged::new(policy, pairs, &loss, &self.device);
            seen.extend(judged.measured());
            // Divided by the pairs and tokens of the whole batch, so that the sum over micro-batches is
            // the mean over the batch, however it is cut.
            let losses = judged.losses.sum() / n_pairs;
            if imitation == 0.0 {
                losses
            } else {
                losses + judged.nll.sum() * (imitation / n_chosen)
            }
        });
        let seen = workers.merge(seen)?;
        finite(step, "the loss", total_loss(&seen, n_chosen, &self.config))?;
        let rate = self.config.optimizer.rate(step, self.config.n_steps(self.train.len()));
        let grad_norm = self.learner.update(step, gradients, rate)?;
        let rows = batch.iter().flat_map(|it| it.pair.sides());
        self.n_tokens += rows.map(|row| row.tokens.len() as u64).sum::<u64>();
        let mut metrics = describe(&seen, n_chosen, &self.config, "");
        metrics.push("grad_norm", grad_norm);
        metrics.push("learning_rate", rate);
        metrics.push("num_tokens", self.n_tokens as f64);
        metrics.push("epoch", (step + 1) as f64 * n_pairs / self.train.len() as f64);
        Ok(metrics)
    }

    fn ask_reference(&mut self) -> Result<(), PpoError> {
        let (workers, rows) = (self.learner.workers(), self.config.micro_batch_rows);
        let pairs = [&self.train[..], &self.heldout];
        Ok(self.reference.ask(pairs, rows, workers, &self.device)?)
    }
}

impl<B: LmAutodiffBackend> Train for Dpo<B> {
    type Error = PpoError;

    fn step(&mut self, step: usize, _: &mut RunLog) -> Result<Metrics, PpoError> {
        let mut pairs = self.order.batch(step, self.config.batch_rows);
        group_by_length(&mut pairs, self.config.micro_batch_rows, |it| self.train[it].n_tokens());
        self.update(step, &pairs)
    }

    fn evaluate(&mut self) -> Result<Option<Evaluation>, PpoError> {
        if self.heldout.is_empty() {
            return Ok(None);
        }
        self.ask_reference()?;
        let pairs = Referred::all(&self.heldout, &self.reference.heldout);
        let (policy, loss) = (self.policy().valid(), self.config.loss());
        let chunks: Vec<&[Referred<'_>]> = pairs.chunks(self.config.micro_batch_rows).collect();
        let workers = self.learner.workers();
        let judge =
            |pairs: &&[Referred<'_>]| Judged::new(&policy, pairs, &loss, &self.device).measured();
        let mine: Vec<Vec<Measured>> = workers.share(&chunks).into_iter().map(judge).collect();
        let seen = workers.merge(mine)?.concat();
        let n_chosen = n_chosen_tokens(&pairs);
        let score = -total_loss(&seen, n_chosen, &self.config);
        let metrics = describe(&seen, n_chosen, &self.config, "eval_");
        Ok(Some(Evaluation { metrics, score }))
    }

    fn save(&self, folder: &Path) -> Result<(), PpoError> {
        let policy = self.policy().valid();
        save_with_tokenizer(&folder.join(MODEL), self.tokenizer.as_ref(), |folder| {
            save_causal_lm(&policy, folder)
        })?;
        if let Some(lora) = &self.config.lora {
            let config = AdapterConfig::new(lora, policy.config(), false);
            save_adapter(&policy, &config, &folder.join(ADAPTER))?;
        }
        self.learner.save_optimizer(&folder.join(OPTIMIZER))?;
        Ok(write_state(folder, &State { num_tokens: self.n_tokens })?)
    }

    fn restore(&mut self, folder: &Path) -> Result<(), PpoError> {
        let policy = match &self.config.lora {
            Some(_) => {
                let base = self.policy().clone().without_lora();
                base.with_saved_lora(&folder.join(ADAPTER), &self.device)?
            }
            None => load_causal_lm(&folder.join(MODEL), &self.device)?,
        };
        let policy = self.config.computed(policy);
        self.learner.restore(policy, &folder.join(OPTIMIZER), &self.device)?;
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

fn n_chosen_tokens(pairs: &[Referred<'_>]) -> f64 {
    pairs.iter().map(|it| it.pair.chosen.n_learned()).sum::<usize>() as f64
}

/// Refuses pairs that nothing can be learned from, or that the policy can't take.
fn check<B: LmAutodiffBackend>(
    policy: &CausalLm<B>,
    [train, heldout]: [&[Pair]; 2],
) -> Result<(), PpoError> {
    if train.is_empty() {
        return Err(PpoError::Invalid("there are no preference pairs".into()));
    }
    for (name, pairs) in [("preference pair", train), ("held-out preference pair", heldout)] {
        for (number, pair) in (1..).zip(pairs) {
            let problem = pair.sides().into_iter().find_map(|row| problem(policy.config(), row));
            if let Some(problem) = problem {
                return Err(PpoError::Invalid(format!("{name} {number}: {problem}")));
            }
        }
    }
    Ok(())
}

fn problem(config: &ModelConfig, row: &TokenRow) -> Option<String> {
    if row.n_learned() == 0 {
        return Some("a completion has no tokens to learn".into());
    }
    row_fits(config, &row.tokens, 0).err().map(|reason| format!("a row {reason}"))
}
