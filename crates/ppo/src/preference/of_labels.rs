//! What a policy makes of labelled completions.

use burn::prelude::*;
use rein_data::DataError;
use rein_data::encoding::TokenRow;
use rein_data::log::Metrics;
use rein_data::workers::Workers;
use rein_model::CausalLm;
use rein_model::backend::LmBackend;
use rein_model::tokens::host;
use serde::{Deserialize, Serialize};

use crate::preference::config::DpoConfig;
use crate::preference::judgement::{Judged, Judgement, Referred, Whole, completion_stats, mean};
use crate::preference::labels::Label;
use crate::preference::unpaired::reference_point;

/// What became of one labelled completion, in nats.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Measured {
    is_desirable: bool,
    loss: f32,
    logprob: f32,
    log_ratio: f32,
}

impl Judgement for Label {
    const NAME: &'static str = "labelled completion";
    const IS_PAIR: bool = false;
    type Measured = Measured;

    fn rows(&self) -> [&TokenRow; 2] {
        [&self.row, &self.mismatched]
    }

    fn learned(&self) -> Vec<&TokenRow> {
        vec![&self.row]
    }

    fn reference_point<B: LmBackend>(
        policy: &CausalLm<B>,
        batch: &[Referred<'_, Self>],
        micro_batch_rows: usize,
        workers: &Workers,
        device: &B::Device,
    ) -> Result<f64, DataError> {
        let mine: Vec<&TokenRow> =
            workers.share(batch).into_iter().map(|it| &it.judgement.mismatched).collect();
        let ask = |rows: &[&TokenRow]| host(completion_stats(policy, rows, device).logprobs);
        let given = workers.merge(mine.chunks(micro_batch_rows).flat_map(ask).collect())?;
        let reference: Vec<f32> = batch.iter().map(|it| it.reference[1]).collect();
        Ok(reference_point(&given, &reference))
    }

    fn judge<B: LmBackend>(
        policy: &CausalLm<B>,
        part: &[Referred<'_, Self>],
        whole: &Whole,
        config: &DpoConfig,
        device: &B::Device,
    ) -> Judged<B, Measured> {
        let rows: Vec<&TokenRow> = part.iter().map(|it| &it.judgement.row).collect();
        let logprobs = completion_stats(policy, &rows, device).logprobs;
        let reference: Vec<f32> = part.iter().map(|it| it.reference[0]).collect();
        let log_ratios = logprobs.clone() - Tensor::from_data(reference.as_slice(), device);
        let is_desirable: Vec<bool> = part.iter().map(|it| it.judgement.is_desirable).collect();
        let losses =
            config.kto_loss().losses(log_ratios.clone(), &is_desirable, whole.reference_point);
        let [logprobs, log_ratios, each] = [logprobs, log_ratios, losses.clone()].map(host);
        let measure = |row: usize| Measured {
            is_desirable: is_desirable[row],
            loss: each[row],
            logprob: logprobs[row],
            log_ratio: log_ratios[row],
        };
        let seen = (0..part.len()).map(measure).collect();
        // Divided by the rows of the whole batch, as losses of pairs are.
        Judged { loss: losses.sum() / whole.n_judgements, seen }
    }

    /// A batch in which all labels are alike has nothing to say of the others.
    fn describe(seen: &[Measured], whole: &Whole, config: &DpoConfig, prefix: &str) -> Metrics {
        let mut metrics = Metrics::default();
        let mut push = |name: &str, value: f64| metrics.push(format!("{prefix}{name}"), value);
        push("loss", mean(seen, |it| it.loss));
        push("kl", whole.reference_point);
        let mut rewards = Vec::new();
        for (name, is_desirable) in [("chosen", true), ("rejected", false)] {
            let those = || seen.iter().filter(|it| it.is_desirable == is_desirable);
            if those().next().is_some() {
                let reward = config.beta * mean(those(), |it| it.log_ratio);
                push(&format!("rewards/{name}"), reward);
                push(&format!("logps/{name}"), mean(those(), |it| it.logprob));
                rewards.push(reward);
            }
        }
        if let [chosen, rejected] = rewards[..] {
            push("rewards/margins", chosen - rejected);
        }
        metrics
    }
}
