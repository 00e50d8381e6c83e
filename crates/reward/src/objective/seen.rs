use rein_data::DataError;
use rein_data::log::Metrics;
use rein_data::workers::Workers;

use crate::encoding::Judgements;
use crate::evaluate::agreement;

/// The scores that the judgements of a batch got, a list for each.
#[derive(Default)]
pub(crate) struct Seen(Vec<Vec<f32>>);

impl Seen {
    /// Takes in a part of the batch and the scores of its [rows](super::scored_rows).
    pub(crate) fn add(&mut self, batch: &Judgements, scores: &[f32]) {
        match batch {
            Judgements::Pairs(pairs) => {
                let (chosen, rejected) = scores.split_at(pairs.len());
                self.0.extend(chosen.iter().zip(rejected).map(|(a, b)| vec![*a, *b]));
            }
            _ => self.0.extend(batch.grouped(scores)),
        }
    }

    /// Adds those that the other workers' rows got.
    pub(crate) fn merge(&mut self, workers: &Workers) -> Result<(), DataError> {
        self.0 = workers.merge(std::mem::take(&mut self.0))?;
        Ok(())
    }

    /// A list for each judgement, in their order.
    pub(crate) fn scores(&self) -> &[Vec<f32>] {
        &self.0
    }

    /// TRL's names.
    pub(crate) fn describe(&self, batch: &Judgements, metrics: &mut Metrics) {
        // All first scores, then all second ones.
        let n_most = self.0.iter().map(Vec::len).max().unwrap_or(0);
        let at = |place| self.0.iter().filter_map(move |it| it.get(place).copied());
        let all: Vec<f64> = (0..n_most).flat_map(at).map(f64::from).collect();
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let accuracy = agreement(batch, &self.0);
        if accuracy.n_cases > 0 {
            metrics.push("accuracy", accuracy.value());
        }
        if let Judgements::Pairs(_) = batch {
            let margins: Vec<f64> = self.0.iter().map(|it| f64::from(it[0] - it[1])).collect();
            metrics.push("margin", mean(&margins));
        }
        metrics.push("min_reward", all.iter().copied().fold(f64::INFINITY, f64::min));
        metrics.push("mean_reward", mean(&all));
        metrics.push("max_reward", all.iter().copied().fold(f64::NEG_INFINITY, f64::max));
    }
}
