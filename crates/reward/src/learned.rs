use std::path::Path;

use burn::prelude::*;
use rein_data::example::Completion;
use rein_model::backend::LmBackend;
use rein_model::tokens::{TokenBatch, host};
use rein_model::{Frozen, Precision, SavedHeads, ScalarModel, load_scalar_model, read_config};
use serde_json::{Map, Value};

use crate::ensemble::ENSEMBLE;
use crate::{Reward, RewardError};

/// A reward model that scores completions.
#[derive(Debug)]
pub struct LearnedReward<B: Backend> {
    model: Frozen<ScalarModel<B>>,
    normalization: Normalization,
    /// The heads whose mean the model is, if it is that of an ensemble.
    heads: Option<SavedHeads>,
    behind_replies: Vec<u32>,
    batch_rows: usize,
    device: B::Device,
}

/// Shifts and scales raw scores so that those of a reference have mean 0 and deviation 1. Stored in
/// the model's `config.json` as `mean` and `std`, where other tools look for them too.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalization {
    /// Mean of the raw scores.
    pub mean: f32,
    /// Standard deviation of the raw scores.
    pub std: f32,
}

impl Normalization {
    /// Leaves scores as they are.
    pub const NONE: Self = Self { mean: 0.0, std: 1.0 };

    /// What makes these scores have mean 0 and deviation 1. Constant scores are only shifted.
    pub fn of(scores: &[f32]) -> Self {
        if scores.is_empty() {
            return Self::NONE;
        }
        let count = scores.len() as f64;
        let mean = scores.iter().map(|score| f64::from(*score)).sum::<f64>() / count;
        let square = |score: &f32| (f64::from(*score) - mean).powi(2);
        let std = (scores.iter().map(square).sum::<f64>() / count).sqrt();
        Self { mean: mean as f32, std: if std > 1e-6 { std as f32 } else { 1.0 } }
    }

    /// A normalised score.
    pub fn apply(&self, score: f32) -> f32 {
        (score - self.mean) / self.std
    }

    pub(crate) fn to_json(self) -> Map<String, Value> {
        Map::from_iter([("mean".into(), self.mean.into()), ("std".into(), self.std.into())])
    }

    /// What is stored with the reward model in `folder`.
    pub(crate) fn load(folder: &Path) -> Result<Self, RewardError> {
        let normalization = Self::from_json(&read_config(folder)?.raw);
        if !(normalization.std.is_finite() && normalization.std > 0.0) {
            let reason = format!("`std` in its config.json is {}", normalization.std);
            return Err(RewardError::Invalid(format!("{}: {reason}", folder.display())));
        }
        Ok(normalization)
    }

    fn from_json(config: &Map<String, Value>) -> Self {
        let number = |key: &str| config.get(key).and_then(Value::as_f64).map(|it| it as f32);
        Self { mean: number("mean").unwrap_or(0.0), std: number("std").unwrap_or(1.0) }
    }
}

impl<B: LmBackend> LearnedReward<B> {
    /// A reward that asks `model`, so many rows at a time.
    pub fn new(
        model: ScalarModel<B>,
        normalization: Normalization,
        batch_rows: usize,
        device: &B::Device,
    ) -> Self {
        let model = Frozen::of_scalar(model, Precision::F32);
        let behind_replies = Vec::new();
        let device = device.clone();
        Self { model, normalization, heads: None, behind_replies, batch_rows, device }
    }

    /// The reward that reads these tokens behind each completion that ended: what a chat template writes
    /// there, and the model has read in training.
    #[must_use]
    pub fn behind_replies(self, tokens: Vec<u32>) -> Self {
        Self { behind_replies: tokens, ..self }
    }

    /// The reward with its model kept, and asked, in this precision.
    #[must_use]
    pub fn with_precision(self, precision: Precision) -> Self {
        Self { model: self.model.with_precision(precision), ..self }
    }

    /// Loads the reward model in `folder` with its normalisation, and with the heads of its
    /// [ensemble](crate::ensemble) if it is one.
    pub fn load(folder: &Path, batch_rows: usize, device: &B::Device) -> Result<Self, RewardError> {
        let normalization = Normalization::load(folder)?;
        let model = load_scalar_model(folder, device)?;
        let heads = folder.join(ENSEMBLE);
        let load = || SavedHeads::load(&heads, model.config().hidden_size);
        let heads = heads.exists().then(load).transpose()?;
        Ok(Self { heads, ..Self::new(model, normalization, batch_rows, device) })
    }

    /// The model that is asked, where it is kept in f32.
    pub fn model(&self) -> Option<&ScalarModel<B>> {
        self.model.whole()
    }

    /// Scores of rows of tokens as the model gives them: probabilities follow from these.
    pub fn raw_rows(&self, rows: &[impl AsRef<[u32]>]) -> Vec<f32> {
        self.model.scores(rows, self.batch_rows, &self.device)
    }

    /// The heads of an ensemble.
    pub fn heads(&self) -> Option<&SavedHeads> {
        self.heads.as_ref()
    }

    /// What each head of an ensemble gives to rows of tokens, centred and in the units of normalised scores: their
    /// mean is the normalised score, up to rounding. `None` for a model with one head.
    pub fn head_scores(&self, rows: &[impl AsRef<[u32]>]) -> Option<Vec<Vec<f32>>> {
        let heads = self.heads.as_ref()?;
        let hidden = self.model.pooled(rows, self.batch_rows, &self.device);
        let scale = |score: f32| score / self.normalization.std;
        let of_row = |hidden: Vec<f32>| heads.centred_scores(&hidden).into_iter().map(scale);
        Some(hidden.into_iter().map(|it| of_row(it).collect()).collect())
    }

    /// The rows of tokens that are scored for these completions.
    pub fn rows(&self, completions: &[Completion]) -> Vec<Vec<u32>> {
        let row = |completion: &Completion| {
            let mut row = completion.sequence();
            if completion.finished {
                row.extend(&self.behind_replies);
            }
            row
        };
        completions.iter().map(row).collect()
    }

    /// Normalised scores of rows of tokens.
    pub fn score_rows(&self, rows: &[impl AsRef<[u32]>]) -> Vec<f32> {
        let raw = self.raw_rows(rows);
        raw.into_iter().map(|score| self.normalization.apply(score)).collect()
    }
}

/// A model's scores of rows of tokens, as they are.
pub(crate) fn raw_scores<B: LmBackend>(
    model: &ScalarModel<B>,
    rows: &[impl AsRef<[u32]>],
    batch_rows: usize,
    device: &B::Device,
) -> Vec<f32> {
    let batches = rows.chunks(batch_rows);
    batches.flat_map(|rows| host(model.scores(&TokenBatch::right_padded(rows, device)))).collect()
}

/// What each head of a model in training gives to rows of tokens, as it is.
pub(crate) fn raw_head_scores<B: LmBackend>(
    model: &ScalarModel<B>,
    rows: &[impl AsRef<[u32]>],
    batch_rows: usize,
    device: &B::Device,
) -> Vec<Vec<f32>> {
    let n_heads = model.heads.as_ref().map_or(1, |heads| heads.count());
    let score = |rows| host(model.head_scores(&TokenBatch::right_padded(rows, device)));
    let scores: Vec<f32> = rows.chunks(batch_rows).flat_map(score).collect();
    scores.chunks(n_heads).map(<[f32]>::to_vec).collect()
}

impl<B: LmBackend> Reward for LearnedReward<B> {
    fn name(&self) -> &'static str {
        "learned"
    }

    fn score(&self, completions: &[Completion]) -> Result<Vec<f32>, RewardError> {
        Ok(self.score_rows(&self.rows(completions)))
    }
}
