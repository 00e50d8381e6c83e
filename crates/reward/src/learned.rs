use std::path::{Path, PathBuf};

use burn::prelude::*;
use rein_data::example::Completion;
use rein_model::backend::LmBackend;
use rein_model::tokens::{TokenBatch, host};
use rein_model::{Frozen, Precision, SavedHeads, ScalarModel, load_scalar_model, read_config};
use serde_json::{Map, Value};

use crate::active::bald;
use crate::ensemble::{ENSEMBLE, members};
use crate::logistic::sigmoid;
use crate::{Reward, RewardError};

/// A reward model that scores completions.
#[derive(Debug)]
pub struct LearnedReward<B: Backend> {
    model: Frozen<ScalarModel<B>>,
    normalization: Normalization,
    /// The heads whose mean the model is, if it is that of an ensemble on one backbone.
    heads: Option<SavedHeads>,
    /// The further models of an ensemble with a backbone for each.
    members: Vec<Self>,
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
        let (heads, members) = (None, Vec::new());
        Self { model, normalization, heads, members, behind_replies, batch_rows, device }
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
        let members = self.members.into_iter().map(|it| it.with_precision(precision)).collect();
        Self { model: self.model.with_precision(precision), members, ..self }
    }

    /// Loads the reward model in `folder` with its normalisation, and with the heads or further models of its
    /// [ensemble](crate::ensemble) if it is one.
    ///
    /// # Errors
    /// Files that hold no such model, or a further model that reads other tokens than the first.
    pub fn load(folder: &Path, batch_rows: usize, device: &B::Device) -> Result<Self, RewardError> {
        let first = Self::load_one(folder, batch_rows, device)?;
        let size = |folder: &Path| -> Result<[usize; 2], RewardError> {
            let config = read_config(folder)?;
            Ok([config.vocab_size, config.max_positions])
        };
        let load_further = |member: PathBuf| {
            if size(&member)? != size(folder)? {
                let reason =
                    "has another vocabulary or other positions than the ensemble's first model";
                return Err(RewardError::Invalid(format!("{}: {reason}", member.display())));
            }
            Self::load_one(&member, batch_rows, device)
        };
        let members = members(folder).into_iter().map(load_further).collect::<Result<_, _>>()?;
        Ok(Self { members, ..first })
    }

    fn load_one(folder: &Path, batch_rows: usize, device: &B::Device) -> Result<Self, RewardError> {
        let normalization = Normalization::load(folder)?;
        let model = load_scalar_model(folder, device)?;
        let heads = folder.join(ENSEMBLE);
        let load = || SavedHeads::load(&heads, model.config().hidden_size);
        let heads = heads.exists().then(load).transpose()?.filter(|heads| heads.count() > 1);
        Ok(Self { heads, ..Self::new(model, normalization, batch_rows, device) })
    }

    /// The model that is asked, where it is kept in f32; of several models, the first.
    pub fn model(&self) -> Option<&ScalarModel<B>> {
        self.model.whole()
    }

    /// What its scores are normalised by.
    pub fn normalization(&self) -> &Normalization {
        &self.normalization
    }

    /// Scores of rows of tokens as the model gives them, of several models their mean: probabilities follow from
    /// these.
    pub fn raw_rows(&self, rows: &[impl AsRef<[u32]>]) -> Vec<f32> {
        let scores = |it: &Self| it.model.scores(rows, it.batch_rows, &it.device);
        mean(std::iter::once(self).chain(&self.members).map(scores).collect())
    }

    /// Whether it is an ensemble, whose heads may differ.
    pub fn is_ensemble(&self) -> bool {
        self.heads.is_some() || !self.members.is_empty()
    }

    /// What each head of an ensemble gives to rows of tokens, centred and in the units of normalised scores: their
    /// mean is the normalised score, up to rounding. `None` for a model with one head.
    pub fn head_scores(&self, rows: &[impl AsRef<[u32]>]) -> Option<Vec<Vec<f32>>> {
        if !self.members.is_empty() {
            let of_models = self.scores_of_models(rows);
            let of_row = |row| of_models.iter().map(|scores| scores[row]).collect();
            return Some((0..rows.len()).map(of_row).collect());
        }
        let heads = self.heads.as_ref()?;
        let hidden = self.model.pooled(rows, self.batch_rows, &self.device);
        let scale = |score: f32| score / self.normalization.std;
        let of_row = |hidden: Vec<f32>| heads.centred_scores(&hidden).into_iter().map(scale);
        Some(hidden.into_iter().map(|it| of_row(it).collect()).collect())
    }

    /// What an answer would tell of the heads, in nats ([`bald`]): whether people prefer a completion to an ordinary one
    /// of the reference. `heads` are its [`head_scores`](Self::head_scores).
    pub fn bald(&self, heads: &[f32]) -> f64 {
        let models = std::iter::once(self).chain(&self.members);
        // Heads on one backbone share its normalisation.
        let stds = models.map(|it| it.normalization.std).cycle();
        let logits = heads.iter().zip(stds).map(|(score, std)| f64::from(score * std));
        bald(&logits.map(sigmoid).collect::<Vec<_>>())
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

    /// Normalised scores of rows of tokens, of several models their mean.
    pub fn score_rows(&self, rows: &[impl AsRef<[u32]>]) -> Vec<f32> {
        mean(self.scores_of_models(rows))
    }

    /// What each model gives to rows of tokens, by its own normalisation.
    fn scores_of_models(&self, rows: &[impl AsRef<[u32]>]) -> Vec<Vec<f32>> {
        let scores = |it: &Self| {
            let raw = it.model.scores(rows, it.batch_rows, &it.device);
            raw.into_iter().map(|score| it.normalization.apply(score)).collect()
        };
        std::iter::once(self).chain(&self.members).map(scores).collect()
    }
}

/// The mean of several models' scores, row by row.
fn mean(mut of_models: Vec<Vec<f32>>) -> Vec<f32> {
    if of_models.len() == 1 {
        return of_models.remove(0);
    }
    let sum = |row| of_models.iter().map(|scores| f64::from(scores[row])).sum::<f64>();
    let n_models = of_models.len() as f64;
    (0..of_models[0].len()).map(|row| (sum(row) / n_models) as f32).collect()
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
