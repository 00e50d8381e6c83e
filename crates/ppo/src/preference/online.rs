//! Online DPO (Guo et al., 2024): of the policy's own completions of a prompt, the reward says which is
//! preferred, and a loss of pairs is paid at once.
//!
//! Where a step is one update, the policy that learns is the one that sampled. There, DPO's gradient is that
//! of a policy gradient whose advantages are known from the rollout: all tokens of the preferred completion
//! gain `−∂ℓ/∂m`, and those of the other one lose it, with the margin `m` of the pair's log-ratios. So
//! online DPO is an advantage like others, and whatever guards, cuts or shares an update does so here.

use rein_data::log::Metrics;
use serde::{Deserialize, Serialize};

use crate::advantage::AdvantageEstimator;
use crate::config::PpoConfig;
use crate::rollout::Row;
use crate::shaping::Shaped;

/// What is paid for a pair of the policy's own completions. The margin `m` is
/// `(log π(y_w|x) − log π_ref(y_w|x)) − (log π(y_l|x) − log π_ref(y_l|x))`, of whole completions, in nats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnlineLoss {
    /// DPO: `−log σ(β m)`.
    #[default]
    Sigmoid,
    /// IPO: `(m − 1/(2β))²`. As in TRL's online trainer, `m` isn't per token.
    Ipo,
}

impl OnlineLoss {
    /// The loss of a pair.
    pub fn loss(self, margin: f64, beta: f64) -> f64 {
        match self {
            // Without overflow where the pair is far on the wrong side.
            Self::Sigmoid => (-beta * margin).max(0.0) + (-(beta * margin).abs()).exp().ln_1p(),
            Self::Ipo => (margin - 0.5 / beta).powi(2),
        }
    }

    /// `−∂ℓ/∂m`: how much a wider margin is worth.
    pub fn gain(self, margin: f64, beta: f64) -> f64 {
        match self {
            Self::Sigmoid => beta / (1.0 + (beta * margin).exp()),
            Self::Ipo => 1.0 / beta - 2.0 * margin,
        }
    }
}

/// Two completions of a prompt, by their places among a step's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Duel {
    /// The one with the higher score.
    pub chosen: usize,
    /// The other one.
    pub rejected: usize,
}

/// The best and the worst completion of each prompt, of which `group_size` in turn share one. A prompt whose
/// scores are all equal has none to show.
pub fn duels(scores: &[f64], group_size: usize) -> Vec<Duel> {
    let groups = scores.chunks(group_size).zip((0..).step_by(group_size));
    groups
        .filter_map(|(group, first)| {
            let by_score = |a: &usize, b: &usize| group[*a].total_cmp(&group[*b]);
            // Of equal ones, the first.
            let worst = (0..group.len()).min_by(by_score)?;
            let best = (0..group.len()).rev().max_by(by_score)?;
            let duel = Duel { chosen: first + best, rejected: first + worst };
            (group[best] > group[worst]).then_some(duel)
        })
        .collect()
}

/// What each completion gains, so that the mean over all completions of `−A Σ_t log π` has the gradient of
/// the pairs' mean loss: `± N/n · (−∂ℓ/∂m)` for `N` completions and `n` pairs, and 0 for those of no pair.
///
/// # Shapes
/// - `scores`, `log_ratios` (of whole completions, in nats), returns: one number for each completion;
///   `group_size` of them in turn share a prompt
pub fn preferred(
    scores: &[f64],
    log_ratios: &[f64],
    group_size: usize,
    loss: OnlineLoss,
    beta: f64,
) -> Vec<f64> {
    let pairs = duels(scores, group_size);
    let mut advantages = vec![0.0; scores.len()];
    for Duel { chosen, rejected } in &pairs {
        let gain = loss.gain(log_ratios[*chosen] - log_ratios[*rejected], beta);
        let gain = gain * scores.len() as f64 / pairs.len() as f64;
        advantages[*chosen] = gain;
        advantages[*rejected] = -gain;
    }
    advantages
}

/// By how much the policy prefers each completion, compared with the reference, in nats.
pub fn log_ratios(rows: &[Row]) -> Vec<f64> {
    let sum = |logprobs: &[f32]| logprobs.iter().map(|it| f64::from(*it)).sum::<f64>();
    rows.iter().map(|row| sum(&row.logprobs) - sum(&row.reference_logprobs)).collect()
}

/// Tells of a step's pairs under TRL's names, if it has learned from pairs. A step in which all scores are
/// tied, and from which nothing is learned, tells that alone.
pub(crate) fn describe(rows: &[Row], shaped: &[Shaped], config: &PpoConfig, metrics: &mut Metrics) {
    let AdvantageEstimator::Preferred { loss, beta } = config.advantage else { return };
    let scores: Vec<f64> = shaped.iter().map(|it| it.score).collect();
    let pairs = duels(&scores, config.samples_per_prompt);
    metrics.push("val/num_pairs", pairs.len() as f64);
    if pairs.is_empty() {
        return;
    }
    let ratios = log_ratios(rows);
    let logprobs = |row: usize| rows[row].logprobs.iter().map(|it| f64::from(*it)).sum::<f64>();
    let mean =
        |number: &dyn Fn(&Duel) -> f64| pairs.iter().map(number).sum::<f64>() / pairs.len() as f64;
    let margin = |pair: &Duel| ratios[pair.chosen] - ratios[pair.rejected];
    metrics.push("loss/preference", mean(&|pair| loss.loss(margin(pair), beta)));
    metrics
        .push("objective/scores_margin", mean(&|pair| scores[pair.chosen] - scores[pair.rejected]));
    metrics.push("rewards/chosen", beta * mean(&|pair| ratios[pair.chosen]));
    metrics.push("rewards/rejected", beta * mean(&|pair| ratios[pair.rejected]));
    metrics.push("rewards/margins", beta * mean(&margin));
    metrics.push("rewards/accuracies", mean(&|pair| f64::from(u8::from(margin(pair) > 0.0))));
    metrics.push("logps/chosen", mean(&|pair| logprobs(pair.chosen)));
    metrics.push("logps/rejected", mean(&|pair| logprobs(pair.rejected)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_meets_the_worst_and_ties_are_passed_over() {
        let pairs = duels(&[1.0, 3.0, 2.0, 2.0, 0.0, -1.0], 2);
        let duel = |chosen, rejected| Duel { chosen, rejected };
        assert_eq!(pairs, [duel(1, 0), duel(4, 5)]);
        assert_eq!(duels(&[1.0, 5.0, 5.0, 0.0, 0.0, 2.0], 6), [duel(1, 3)]);
        assert!(duels(&[1.0, 1.0], 2).is_empty());
    }

    #[test]
    fn a_gain_is_the_slope_of_its_loss() {
        for loss in [OnlineLoss::Sigmoid, OnlineLoss::Ipo] {
            for (margin, beta) in [(-2.0, 0.1), (0.0, 0.5), (3.0, 0.3)] {
                let slope =
                    (loss.loss(margin + 1e-5, beta) - loss.loss(margin - 1e-5, beta)) / 2e-5;
                assert!((loss.gain(margin, beta) + slope).abs() < 1e-6, "{loss:?} at {margin}");
            }
        }
    }

    #[test]
    fn advantages_of_a_pair_are_opposite_and_weigh_all_completions() {
        // One pair of two, at a margin of 0: β/2 times 4 completions to 1 pair.
        let advantages = preferred(&[2.0, 1.0, 0.0, 0.0], &[0.0; 4], 2, OnlineLoss::Sigmoid, 0.2);
        assert_eq!(advantages, [0.4, -0.4, 0.0, 0.0]);
    }
}
