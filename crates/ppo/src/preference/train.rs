//! The stage that optimises a policy on judgements.

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
use rein_model::checkpoint::{read_state, write_state};
use rein_model::guard::{finite, fits, row_fits};
use rein_model::lora::seed_dropout;
use rein_model::{CausalLm, Frozen, Learner};
use serde::{Deserialize, Serialize};

use crate::PpoError;
use crate::preference::config::DpoConfig;
use crate::preference::judgement::{Judgement, Referred, Whole};
use crate::preference::labels::Label;
use crate::preference::pairs::Pair;
use crate::preference::reference::Reference;

/// A policy that is optimised on labelled completions, by KTO.
pub type Kto<B> = Dpo<B, Label>;

/// A policy that is optimised on judgements: preference pairs, unless it is said otherwise.
#[derive(Debug)]
pub struct Dpo<B: LmAutodiffBackend, J = Pair> {
    config: DpoConfig,
    learner: Learner<B, CausalLm<B>>,
    reference: Reference<B::InnerBackend>,
    tokenizer: Option<Tokenizer>,
    train: Vec<J>,
    heldout: Vec<J>,
    order: RowOrder,
    n_tokens: u64,
    dropout: Seed,
    device: B::Device,
}

impl<B: LmAutodiffBackend, J: Judgement> Dpo<B, J> {
    /// Begins to optimise `policy`; where it stands now becomes its reference, if the loss has one. The
    /// held-out judgements may be none. The tokenizer, if there is one, is saved beside the policy.
    ///
    /// # Errors
    /// No judgements, a loss of others, rows that the policy can't take, or a tokenizer whose ids it
    /// doesn't have.
    pub fn new(
        config: DpoConfig,
        policy: CausalLm<B>,
        tokenizer: Option<Tokenizer>,
        [train, heldout]: [Vec<J>; 2],
        seed: Seed,
        device: &B::Device,
    ) -> Result<Self, PpoError> {
        check(&policy, &config, [&train, &heldout])?;
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
            reference: Reference::new(
                config.has_reference().then(began),
                [train.len(), heldout.len()],
            ),
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

    /// Optimises together with these workers, each of which must have a judgement of every batch.
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

    /// What the reference gives to the completions of both rows of each judgement to train on, in nats, once
    /// it was asked.
    pub fn reference_logprobs(&self) -> &[[f32; 2]] {
        &self.reference.train
    }

    /// One update on these judgements, by their numbers; `step`, counted from 0, sets the learning rate.
    pub fn update(&mut self, step: usize, numbers: &[usize]) -> Result<Metrics, PpoError> {
        self.ask_reference()?;
        let workers = self.learner.workers().clone();
        let references = &self.reference.train;
        let referred =
            |&it: &usize| Referred { judgement: &self.train[it], reference: references[it] };
        let batch: Vec<Referred<'_, J>> = numbers.iter().map(referred).collect();
        let whole = self.whole(&self.policy().valid(), &batch)?;
        let mine: Vec<Referred<'_, J>> = workers.share(&batch).into_iter().copied().collect();
        let seeds = workers.row_seeds(self.dropout.index(step as u64));
        let mut seen: Vec<J::Measured> = Vec::new();
        let micro_batches = mine.chunks(self.config.micro_batch_rows).enumerate();
        let gradients = self.learner.gradients(micro_batches, |policy, (number, part)| {
            seed_dropout::<B>(self.config.lora.as_ref(), seeds.of(number), &self.device);
            let judged = J::judge(policy, part, &whole, &self.config, &self.device);
            seen.extend(judged.seen);
            judged.loss
        });
        let mut metrics = J::describe(&workers.merge(seen)?, &whole, &self.config, "");
        finite(step, "the loss", metrics.get("loss").expect("described above"))?;
        let rate = self.config.optimizer.rate(step, self.n_steps());
        let rows = batch.iter().flat_map(|it| it.judgement.learned());
        let n_tokens = rows.map(|row| row.tokens.len() as u64).sum::<u64>();
        let grad_norm = self.learner.update(step, gradients, rate)?;
        self.n_tokens += n_tokens;
        metrics.push("grad_norm", grad_norm);
        metrics.push("learning_rate", rate);
        metrics.push("num_tokens", self.n_tokens as f64);
        metrics.push("epoch", (step + 1) as f64 * whole.n_judgements / self.train.len() as f64);
        Ok(metrics)
    }

    /// What the parts of a batch must know of it.
    fn whole(
        &self,
        policy: &CausalLm<B::InnerBackend>,
        batch: &[Referred<'_, J>],
    ) -> Result<Whole, PpoError> {
        let (workers, n_rows) = (self.learner.workers(), self.config.micro_batch_rows);
        let imitated = batch.iter().map(|it| it.judgement.learned()[0].n_learned());
        Ok(Whole {
            n_judgements: batch.len() as f64,
            n_imitated: imitated.sum::<usize>() as f64,
            reference_point: J::reference_point(policy, batch, n_rows, workers, &self.device)?,
        })
    }

    fn ask_reference(&mut self) -> Result<(), PpoError> {
        let (workers, rows) = (self.learner.workers(), self.config.micro_batch_rows);
        let judgements = [&self.train[..], &self.heldout];
        Ok(self.reference.ask(judgements, rows, workers, &self.device)?)
    }
}

impl<B: LmAutodiffBackend, J: Judgement> Train for Dpo<B, J> {
    type Error = PpoError;

    fn step(&mut self, step: usize, _: &mut RunLog) -> Result<Metrics, PpoError> {
        let mut batch = self.order.batch(step, self.config.batch_rows);
        group_by_length(&mut batch, self.config.micro_batch_rows, |it| {
            let rows = self.train[it].learned().into_iter();
            rows.map(|row| row.tokens.len()).max().unwrap_or(0)
        });
        self.update(step, &batch)
    }

    fn evaluate(&mut self) -> Result<Option<Evaluation>, PpoError> {
        if self.heldout.is_empty() {
            return Ok(None);
        }
        self.ask_reference()?;
        let judgements = Referred::all(&self.heldout, &self.reference.heldout);
        let policy = self.policy().valid();
        let whole = self.whole(&policy, &judgements)?;
        let chunks: Vec<&[Referred<'_, J>]> =
            judgements.chunks(self.config.micro_batch_rows).collect();
        let workers = self.learner.workers();
        let judge = |part: &&[Referred<'_, J>]| {
            J::judge(&policy, part, &whole, &self.config, &self.device).seen
        };
        let mine: Vec<Vec<J::Measured>> = workers.share(&chunks).into_iter().map(judge).collect();
        let seen: Vec<J::Measured> = workers.merge(mine)?.into_iter().flatten().collect();
        let metrics = J::describe(&seen, &whole, &self.config, "eval_");
        let score = -metrics.get("eval_loss").expect("described above");
        Ok(Some(Evaluation { metrics, score }))
    }

    fn save(&self, folder: &Path) -> Result<(), PpoError> {
        self.learner.save(self.config.lora.as_ref(), self.tokenizer.as_ref(), folder)?;
        Ok(write_state(folder, &State { num_tokens: self.n_tokens })?)
    }

    fn restore(&mut self, folder: &Path) -> Result<(), PpoError> {
        let config = &self.config;
        let computed = |policy| config.computed(policy);
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

/// Refuses judgements that nothing can be learned from, or that the policy can't take.
fn check<B: LmAutodiffBackend, J: Judgement>(
    policy: &CausalLm<B>,
    config: &DpoConfig,
    [train, heldout]: [&[J]; 2],
) -> Result<(), PpoError> {
    if J::IS_PAIR != config.loss_type.is_of_pairs() {
        let reason = format!("the loss `{:?}` doesn't learn from a {}", config.loss_type, J::NAME);
        return Err(PpoError::Invalid(reason));
    }
    if train.is_empty() {
        return Err(PpoError::Invalid(format!("there are no {}s", J::NAME)));
    }
    for (part, judgements) in [("", train), ("held-out ", heldout)] {
        for (number, judgement) in (1..).zip(judgements) {
            let problem = judgement.rows().into_iter().find_map(|row| problem(policy, row));
            if let Some(problem) = problem {
                let name = J::NAME;
                return Err(PpoError::Invalid(format!("{part}{name} {number}: {problem}")));
            }
        }
    }
    Ok(())
}

fn problem<B: LmAutodiffBackend>(policy: &CausalLm<B>, row: &TokenRow) -> Option<String> {
    if row.n_learned() == 0 {
        return Some("a completion has no tokens to learn".into());
    }
    row_fits(policy.config(), &row.tokens, 0).err().map(|reason| format!("a row {reason}"))
}
