//! What a batch of judgements costs, by the scores that a model gives to its rows.

use burn::prelude::*;
use rein_data::DataError;
use rein_data::log::Metrics;
use rein_data::workers::Workers;
use rein_model::backend::LmBackend;

use crate::config::RewardConfig;
use crate::encoding::Judgements;
use crate::evaluate::{label_accuracy, pair_accuracy};
use crate::loss::{binary, bradley_terry};

/// The rows to score, in the order in which [`losses`] takes their scores: of pairs, all preferred ones come
/// first.
pub fn scored_rows(batch: &Judgements) -> Vec<&[u32]> {
    match batch {
        Judgements::Pairs(pairs) => {
            let chosen = pairs.iter().map(|pair| pair.chosen.as_slice());
            chosen.chain(pairs.iter().map(|pair| pair.rejected.as_slice())).collect()
        }
        Judgements::Labels(labels) => labels.iter().map(|label| label.tokens.as_slice()).collect(),
    }
}

/// The loss of each judgement.
///
/// # Shapes
/// - `scores`: `[rows]`, of [`scored_rows`]
/// - returns: `[judgements]`
pub fn losses<B: LmBackend>(
    config: &RewardConfig,
    batch: &Judgements,
    scores: Tensor<B, 1>,
) -> Tensor<B, 1> {
    let device = scores.device();
    let numbers = |values: Vec<f32>| Tensor::from_data(values.as_slice(), &device);
    match batch {
        Judgements::Pairs(pairs) => {
            let margins = numbers(pairs.iter().map(|it| it.margin.unwrap_or(0.0)).collect());
            let chosen = scores.clone().narrow(0, 0, pairs.len());
            let rejected = scores.narrow(0, pairs.len(), pairs.len());
            bradley_terry(chosen, rejected, Some(margins), config.center_rewards_coefficient)
        }
        Judgements::Labels(labels) => {
            let sign = |is_good: bool| if is_good { 1.0 } else { -1.0 };
            binary(scores, numbers(labels.iter().map(|it| sign(it.is_good)).collect()))
        }
    }
}

/// The scores that a batch got: of pairs both sides, of labels one.
#[derive(Default)]
pub(crate) struct Seen {
    first: Vec<f32>,
    second: Vec<f32>,
    labels: Vec<bool>,
}

impl Seen {
    /// Takes in a part of the batch and the scores of its [rows](scored_rows).
    pub(crate) fn add(&mut self, batch: &Judgements, scores: &[f32]) {
        match batch {
            Judgements::Pairs(pairs) => {
                let (chosen, rejected) = scores.split_at(pairs.len());
                self.first.extend(chosen);
                self.second.extend(rejected);
            }
            Judgements::Labels(labels) => {
                self.first.extend(scores);
                self.labels.extend(labels.iter().map(|label| label.is_good));
            }
        }
    }

    /// Adds those that the other workers' rows got.
    pub(crate) fn merge(&mut self, workers: &Workers) -> Result<(), DataError> {
        let Self { first, second, labels } = std::mem::take(self);
        let (first, second) = (workers.merge(first)?, workers.merge(second)?);
        *self = Self { first, second, labels: workers.merge(labels)? };
        Ok(())
    }

    /// TRL's names.
    pub(crate) fn describe(&self, metrics: &mut Metrics) {
        let all: Vec<f64> =
            self.first.iter().chain(&self.second).map(|it| f64::from(*it)).collect();
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        if self.labels.is_empty() {
            metrics.push("accuracy", pair_accuracy(&self.first, &self.second).value());
            let margin = |(first, second): (&f32, &f32)| f64::from(first - second);
            let margins: Vec<f64> = self.first.iter().zip(&self.second).map(margin).collect();
            metrics.push("margin", mean(&margins));
        } else {
            metrics.push("accuracy", label_accuracy(&self.first, &self.labels).value());
        }
        metrics.push("min_reward", all.iter().copied().fold(f64::INFINITY, f64::min));
        metrics.push("mean_reward", mean(&all));
        metrics.push("max_reward", all.iter().copied().fold(f64::NEG_INFINITY, f64::max));
    }
}
