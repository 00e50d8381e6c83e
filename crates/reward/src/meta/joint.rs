//! Trains a reward model together with a basis and everybody's coordinates.
//!
//! A trunk that learns what most people say has no reason to tell apart what they disagree on. Here each pair is
//! scored by the head of the person who judged it, `w + B z_u`, and the trunk learns whatever any of them cares for:
//! `−log σ((w + B z_u)ᵀ (φ_chosen − φ_rejected) − margin) + c (wᵀφ_chosen + wᵀφ_rejected)² + ½ |z_u|² / n_u`, where
//! `n_u` is how many answers a person gave. `B` and `z` shape the trunk and are left behind: what is kept of people
//! is learned anew on the features that came of it.

use std::path::Path;

use burn::module::{AutodiffModule, Param};
use burn::prelude::*;
use burn::tensor::activation::log_sigmoid;
use rein_data::batches::{RowOrder, steps};
use rein_data::log::{Metrics, RunLog};
use rein_data::seed::Seed;
use rein_data::stage::{Evaluation, Train};
use rein_data::tokenizer::Tokenizer;
use rein_model::backend::{LmAutodiffBackend, LmBackend};
use rein_model::checkpoint::{MODEL, OPTIMIZER, read_state, save_with_tokenizer, write_state};
use rein_model::guard::{finite, fits};
use rein_model::tokens::{TokenBatch, host, indices};
use rein_model::weights::{RandomWeights, WeightSource};
use rein_model::{Learner, ScalarModel, load_scalar_model, save_scalar_model};
use serde::{Deserialize, Serialize};

use super::Annotated;
use crate::RewardError;
use crate::config::RewardConfig;
use crate::encoding::Pair;
use crate::learned::{Normalization, raw_scores};
use crate::train::N_NORMALIZATION_ROWS;

/// Coordinates are learned in this unit: they have as many updates as weights have, and farther to go.
const UNIT: f64 = 50.0;

/// A reward model, a basis and people.
#[derive(Module, Debug)]
struct Joint<B: Backend> {
    model: ScalarModel<B>,
    /// `B`, `[hidden, rank]`
    basis: Param<Tensor<B, 2>>,
    /// `z / UNIT`, `[people, rank]`
    people: Param<Tensor<B, 2>>,
}

impl<B: LmBackend> Joint<B> {
    fn new(
        model: ScalarModel<B>,
        [n_people, rank]: [usize; 2],
        seed: Seed,
        device: &B::Device,
    ) -> Result<Self, RewardError> {
        let (hidden, std) = (model.config().hidden_size, model.config().init_std as f32);
        let mut weights = RandomWeights::new(model.config(), seed);
        let mut draw = |name: &str, shape: [usize; 2], scale: f32| -> Result<_, RewardError> {
            let values = weights.values(name, &shape)?;
            Ok(values.into_iter().map(|it| it / std * scale).collect::<Vec<_>>())
        };
        let basis = draw("basis", [hidden, rank], 1.0 / (hidden as f32).sqrt())?;
        let people = draw("people", [n_people, rank], 1.0 / UNIT as f32)?;
        Ok(Self::with(model, basis, people, rank, device))
    }

    fn with(
        model: ScalarModel<B>,
        basis: Vec<f32>,
        people: Vec<f32>,
        rank: usize,
        device: &B::Device,
    ) -> Self {
        let matrix = |values: Vec<f32>| {
            let shape = [values.len() / rank, rank];
            Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), device))
        };
        Self { model, basis: matrix(basis), people: matrix(people) }
    }

    /// The loss of each pair, and by how much its score exceeds the other side's for the person who judged it.
    ///
    /// # Shapes
    /// - returns: both `[pairs]`
    fn losses(
        &self,
        batch: &[&Annotated],
        answers: &[usize],
        center: f64,
    ) -> (Tensor<B, 1>, Tensor<B, 1>) {
        let (device, n_pairs) = (self.basis.val().device(), batch.len());
        let side = |side: fn(&Pair) -> &Vec<u32>| batch.iter().map(move |it| side(&it.pair));
        let rows: Vec<&Vec<u32>> =
            side(|pair| &pair.chosen).chain(side(|pair| &pair.rejected)).collect();
        let pooled = self.model.pooled(&TokenBatch::right_padded(&rows, &device));
        let scores = self.model.score.forward(pooled.clone()).reshape([2 * n_pairs]);
        let halves = |it: &Tensor<B, 1>| {
            (it.clone().narrow(0, 0, n_pairs), it.clone().narrow(0, n_pairs, n_pairs))
        };
        let (chosen, rejected) = halves(&scores);
        let difference = pooled.clone().narrow(0, 0, n_pairs) - pooled.narrow(0, n_pairs, n_pairs);
        let people: Vec<usize> = batch.iter().map(|it| it.person).collect();
        let z = self.people.val().select(0, indices(&people, &device)) * UNIT;
        let own: Tensor<B, 1> =
            (difference.matmul(self.basis.val()) * z.clone()).sum_dim(1).reshape([n_pairs]);
        let margins = own + chosen.clone() - rejected.clone();
        let numbers = |values: Vec<f32>| Tensor::<B, 1>::from_data(values.as_slice(), &device);
        let asked = numbers(batch.iter().map(|it| it.pair.margin.unwrap_or(0.0)).collect());
        let shares = numbers(people.iter().map(|it| 0.5 / answers[*it] as f32).collect());
        let prior: Tensor<B, 1> = z.square().sum_dim(1).reshape([n_pairs]);
        let losses = log_sigmoid(margins.clone() - asked).neg()
            + (chosen + rejected).square() * center
            + prior * shares;
        (losses, margins)
    }
}

/// A reward model in training on what single people said.
#[derive(Debug)]
pub struct JointTraining<B: LmAutodiffBackend> {
    config: RewardConfig,
    rank: usize,
    learner: Learner<B, Joint<B>>,
    tokenizer: Option<Tokenizer>,
    train: Vec<Annotated>,
    /// Of each person.
    answers: Vec<usize>,
    /// Completions that scores are normalised by; without any, those that are trained on.
    reference: Vec<Vec<u32>>,
    order: RowOrder,
    n_tokens: u64,
    device: B::Device,
}

impl<B: LmAutodiffBackend> JointTraining<B> {
    /// Begins to train `model` on these answers. `config.personal` says in how many directions people differ.
    ///
    /// # Errors
    /// No answers, or a tokenizer whose ids the model doesn't have.
    pub fn new(
        config: RewardConfig,
        model: ScalarModel<B>,
        tokenizer: Option<Tokenizer>,
        train: Vec<Annotated>,
        seed: Seed,
        device: &B::Device,
    ) -> Result<Self, RewardError> {
        if train.is_empty() {
            return Err(RewardError::Invalid("there are no preference pairs".into()));
        }
        if let Some(tokenizer) = &tokenizer {
            fits(model.config(), tokenizer)?;
        }
        let rank = config.personal.unwrap_or_default().rank;
        let n_people = train.iter().map(|it| it.person + 1).max().unwrap_or(0);
        let mut answers = vec![0; n_people];
        train.iter().for_each(|it| answers[it.person] += 1);
        let model = config.computed(model);
        let joint = Joint::new(model, [n_people, rank], seed.child("basis"), device)?;
        Ok(Self {
            learner: Learner::new(joint, config.optimizer),
            order: RowOrder::new(train.len(), seed.child("order")),
            config,
            rank,
            tokenizer,
            train,
            answers,
            reference: Vec::new(),
            n_tokens: 0,
            device: device.clone(),
        })
    }

    /// Normalises scores so that those of these rows have mean 0 and deviation 1.
    #[must_use]
    pub fn with_reference(self, reference: Vec<Vec<u32>>) -> Self {
        Self { reference, ..self }
    }

    /// Updates all told.
    pub fn n_steps(&self) -> usize {
        steps(self.train.len(), self.config.batch_rows, self.config.epochs)
    }
}

impl<B: LmAutodiffBackend> Train for JointTraining<B> {
    type Error = RewardError;

    fn step(&mut self, step: usize, _: &mut RunLog) -> Result<Metrics, RewardError> {
        let rows = self.order.batch(step, self.config.batch_rows);
        let batch: Vec<&Annotated> = rows.into_iter().map(|row| &self.train[row]).collect();
        let n_rows = batch.len() as f64;
        let (mut loss, mut n_right, mut margin) = (0.0, 0.0, 0.0);
        let micro_batches = batch.chunks(self.config.micro_batch_rows);
        let center = self.config.center_rewards_coefficient;
        let gradients = self.learner.gradients(micro_batches, |joint, rows| {
            let (losses, margins) = joint.losses(rows, &self.answers, center);
            for it in host(margins.inner()) {
                n_right += if it > 0.0 { 1.0 } else { 0.0 };
                margin += f64::from(it) / n_rows;
            }
            let losses = losses.sum() / n_rows;
            loss += f64::from(host(losses.clone().inner())[0]);
            losses
        });
        finite(step, "the loss", loss)?;
        let rate = self.config.optimizer.rate(step, self.n_steps());
        self.n_tokens += batch
            .iter()
            .map(|it| (it.pair.chosen.len() + it.pair.rejected.len()) as u64)
            .sum::<u64>();
        let grad_norm = self.learner.update(step, gradients, rate)?;
        let mut metrics = Metrics::from([("loss", loss), ("accuracy", n_right / n_rows)]);
        metrics.push("margin", margin);
        metrics.push("grad_norm", grad_norm);
        metrics.push("learning_rate", rate);
        metrics.push("num_tokens", self.n_tokens as f64);
        metrics.push("epoch", (step + 1) as f64 * n_rows / self.train.len() as f64);
        Ok(metrics)
    }

    fn evaluate(&mut self) -> Result<Option<Evaluation>, RewardError> {
        Ok(None)
    }

    fn save(&self, folder: &Path) -> Result<(), RewardError> {
        let Joint { model, basis, people } = self.learner.module().valid();
        let pairs = self.train.iter().map(|it| &it.pair);
        let judged = pairs.flat_map(|pair| [pair.chosen.as_slice(), &pair.rejected]);
        let rows: Vec<&[u32]> = match &self.reference[..] {
            [] => judged.take(N_NORMALIZATION_ROWS).collect(),
            rows => rows.iter().map(Vec::as_slice).collect(),
        };
        let batch_rows = 2 * self.config.micro_batch_rows;
        let scores = raw_scores(&model, &rows, batch_rows, &self.device);
        let normalization = Normalization::of(&scores).to_json();
        save_with_tokenizer(&folder.join(MODEL), self.tokenizer.as_ref(), |folder| {
            save_scalar_model(&model, &normalization, folder)
        })?;
        self.learner.save_optimizer(&folder.join(OPTIMIZER))?;
        let (basis, people) = (host(basis.val()), host(people.val()));
        Ok(write_state(folder, &State { num_tokens: self.n_tokens, basis, people })?)
    }

    fn restore(&mut self, folder: &Path) -> Result<(), RewardError> {
        let State { num_tokens, basis, people } = read_state(folder)?;
        let model = self.config.computed(load_scalar_model(&folder.join(MODEL), &self.device)?);
        let n_values = self.rank * self.answers.len();
        if basis.len() != self.rank * model.config().hidden_size || people.len() != n_values {
            let reason = format!("{}: holds a basis of other people", folder.display());
            return Err(RewardError::Invalid(reason));
        }
        let joint = Joint::with(model, basis, people, self.rank, &self.device);
        self.learner.restore(joint, &folder.join(OPTIMIZER), &self.device)?;
        self.n_tokens = num_tokens;
        Ok(())
    }

    fn digest(&self) -> Option<Vec<u8>> {
        Some(self.learner.digest())
    }
}

#[derive(Serialize, Deserialize)]
struct State {
    num_tokens: u64,
    basis: Vec<f32>,
    people: Vec<f32>,
}
