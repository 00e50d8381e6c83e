//! Demonstrations against a model's own samples: an expert is better than who imitates it, on the whole.
//!
//! Where `d` was demonstrated and `s` sampled for the same prompt, the probability that it was this way around is
//! `σ(log p_E(d)/p_ref(d) − log p_E(s)/p_ref(s))`. So the reward of a Bradley-Terry model of such pairs is
//! `log p_E/p_ref = r/β − log Z`, the expert's up to a constant of the prompt: AfD (Sun and van der Schaar,
//! 2024) and, with more than two ranks, T-REX (Brown et al., 2019). Ranks below the first can be had by
//! noise, as in D-REX (Brown et al., 2020): the hotter, the worse.

use serde::{Deserialize, Serialize};

use super::MaxEntConfig;
use crate::encoding::Pair;

/// How a reward model's pairs are made of demonstrations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DemonstrationsConfig {
    /// Whose samples the demonstrations are better than.
    pub sampler: Sampler,
    /// Demonstrations that are used, at most; of more, a part drawn at random.
    pub count: usize,
    /// Samples for each demonstration and temperature.
    pub samples: usize,
    /// What divides the logits; of several, completions of a lower temperature are better than those of the
    /// next higher ones (D-REX).
    pub temperatures: Vec<f32>,
    /// Whether only the sample is taken that is closest to the demonstration in length, so that the reward
    /// doesn't learn length alone. Else, all are.
    pub length_matched: bool,
    /// The probability that a pair is the wrong way around; `reward.loss.label_smoothing` of such runs.
    pub label_smoothing: f64,
    /// Weights of features are fitted beside and written to the run's `feature_reward.json`, if given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_ent: Option<MaxEntConfig>,
}

/// Which model demonstrations are compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampler {
    /// The one that fine-tuning began with.
    #[default]
    Initial,
    /// The fine-tuned one; with temperatures above 1, its noisy samples are worse than demonstrations.
    FineTuned,
}

impl Default for DemonstrationsConfig {
    fn default() -> Self {
        Self {
            sampler: Sampler::Initial,
            count: 8192,
            samples: 2,
            temperatures: vec![1.0],
            length_matched: true,
            label_smoothing: 0.1,
            max_ent: None,
        }
    }
}

impl DemonstrationsConfig {
    /// What is wrong with these settings, each with its key below `section`.
    pub fn problems(&self, section: &str) -> Vec<String> {
        let rises = self.temperatures.windows(2).all(|pair| pair[0] < pair[1]);
        let is_fine = |it: &f32| *it > 0.0 && it.is_finite();
        let rules = [
            (self.count > 0, "count", "above 0"),
            (self.samples > 0, "samples", "above 0"),
            (!self.temperatures.is_empty(), "temperatures", "a list of one temperature at least"),
            (
                rises && self.temperatures.iter().all(is_fine),
                "temperatures",
                "above 0 and in rising order",
            ),
            ((0.0..0.5).contains(&self.label_smoothing), "label_smoothing", "within 0..0.5"),
        ];
        let broken = rules.into_iter().filter(|(fine, ..)| !fine);
        let broken = broken.map(|(_, key, rule)| format!("`{section}.{key}` must be {rule}"));
        let of_features =
            self.max_ent.iter().flat_map(|it| it.problems(&format!("{section}.max_ent")));
        broken.chain(of_features).collect()
    }
}

/// The pairs of one demonstration and samples for its prompt, all as rows of prompt and completion. `samples`
/// has a list for each rank, the best first. Completions that are equal make no pair.
pub fn pairs(demonstration: &[u32], samples: &[Vec<Vec<u32>>], length_matched: bool) -> Vec<Pair> {
    let chosen = |rank: &Vec<Vec<u32>>| -> Vec<Vec<u32>> {
        if length_matched {
            nearest(rank, demonstration.len()).into_iter().collect()
        } else {
            rank.clone()
        }
    };
    let ranks = [vec![demonstration.to_vec()]].into_iter().chain(samples.iter().map(chosen));
    let ranks: Vec<Vec<Vec<u32>>> = ranks.collect();
    let mut pairs = Vec::new();
    for (place, better) in ranks.iter().enumerate() {
        let worse = || ranks[place + 1..].iter().flatten();
        let both = better.iter().flat_map(|better| worse().map(move |worse| (better, worse)));
        pairs.extend(both.filter(|(better, worse)| better != worse).map(|(better, worse)| Pair {
            chosen: better.clone(),
            rejected: worse.clone(),
            ..Pair::default()
        }));
    }
    pairs
}

/// The first of the rows whose length is closest.
fn nearest(rows: &[Vec<u32>], n_tokens: usize) -> Option<Vec<u32>> {
    rows.iter().min_by_key(|row| row.len().abs_diff(n_tokens)).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demonstrations_are_better_than_samples_and_cool_samples_than_hot_ones() {
        let [shown, cool, hot] = [vec![1, 2, 3], vec![1, 5, 6], vec![1, 7]];
        let samples = [vec![vec![1, 4], cool.clone()], vec![hot.clone()]];
        let sides = |length_matched| -> Vec<(Vec<u32>, Vec<u32>)> {
            let pairs = pairs(&shown, &samples, length_matched);
            pairs.into_iter().map(|it| (it.chosen, it.rejected)).collect()
        };
        let matched =
            [(&shown, &cool), (&shown, &hot), (&cool, &hot)].map(|(a, b)| (a.clone(), b.clone()));
        assert_eq!(sides(true), matched);
        assert_eq!(sides(false).len(), 5);
        assert!(pairs(&shown, &[vec![shown.clone()]], true).is_empty(), "they are the same");
    }

    #[test]
    fn settings_that_mean_nothing_are_refused_by_name() {
        let config = DemonstrationsConfig {
            count: 0,
            samples: 0,
            temperatures: vec![1.0, 0.7],
            label_smoothing: 0.5,
            ..DemonstrationsConfig::default()
        };
        assert_eq!(
            config.problems("reward.demonstrations"),
            [
                "`reward.demonstrations.count` must be above 0",
                "`reward.demonstrations.samples` must be above 0",
                "`reward.demonstrations.temperatures` must be above 0 and in rising order",
                "`reward.demonstrations.label_smoothing` must be within 0..0.5",
            ]
        );
        assert!(DemonstrationsConfig::default().problems("").is_empty());
    }
}
