//! Completions that fool an ensemble, found by optimising what it says and where it doubts (Adv-RM; Bukharin et
//! al., 2025, with fewer steps): a policy learns what has a high score and divides the heads. What it finds
//! becomes a pair in which it is rejected, and the reward model is trained anew, round after round.

use serde::{Deserialize, Serialize};

use crate::ensemble::Spread;

/// How such completions are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SearchConfig {
    /// Rounds of search and new training.
    pub rounds: usize,
    /// Steps of the policy that searches, with the settings of reinforcement learning else.
    pub steps: usize,
    /// What the heads' standard deviation counts for beside their mean.
    pub disagreement: f32,
    /// Prompts that the policy completes in the end.
    pub prompts: usize,
    /// The score above which a completion is suspicious, in deviations of the reference's scores.
    pub min_score: f64,
    /// The share of the reference's completions on which heads disagree less.
    pub quantile: f64,
}

impl Default for SearchConfig {
    fn default() -> Self {
        Self {
            rounds: 2,
            steps: 30,
            disagreement: 2.0,
            prompts: 512,
            min_score: 1.0,
            quantile: 0.95,
        }
    }
}

impl SearchConfig {
    /// What is wrong with these settings, each with its key below `section`.
    pub(crate) fn problems(&self, section: &str) -> Vec<String> {
        let rules = [
            (self.rounds > 0, "rounds", "above 0"),
            (self.steps > 0, "steps", "above 0"),
            (self.prompts > 0, "prompts", "above 0"),
            (
                self.disagreement >= 0.0 && self.disagreement.is_finite(),
                "disagreement",
                "at least 0",
            ),
            (self.min_score.is_finite(), "min_score", "finite"),
            ((0.0..1.0).contains(&self.quantile), "quantile", "within 0..1"),
        ];
        let broken = rules.into_iter().filter(|(fine, ..)| !fine);
        broken.map(|(_, key, rule)| format!("`{section}.{key}` must be {rule}")).collect()
    }

    /// The places of completions that score high and divide the heads more than nearly all of the `reference`'s
    /// completions do.
    pub fn suspicious(&self, found: &[Spread], reference: &[Spread]) -> Vec<usize> {
        let limit = quantile(reference.iter().map(|it| it.std).collect(), self.quantile);
        let is_suspicious = |it: &Spread| it.mean > self.min_score && it.std > limit;
        (0..found.len()).filter(|place| is_suspicious(&found[*place])).collect()
    }
}

/// The least of the values that at least such a share of them doesn't exceed; infinite without values.
fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = (share * values.len() as f64).ceil() as usize;
    values.get(place.max(1) - 1).copied().unwrap_or(f64::INFINITY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_scores_high_and_divides_the_heads_is_suspicious() {
        let reference: Vec<Spread> =
            (1..=20).map(|it| Spread { mean: 0.0, std: f64::from(it) / 20.0 }).collect();
        // 19 of 20 don't exceed 0.95.
        let spread = |mean, std| Spread { mean, std };
        let found = [
            spread(1.5, 0.96),
            spread(0.9, 2.0),
            spread(2.0, 0.95),
            spread(1.1, 1.0),
            spread(f64::NAN, 3.0),
        ];
        assert_eq!(SearchConfig::default().suspicious(&found, &reference), [0, 3]);
        assert!(SearchConfig::default().suspicious(&found, &[]).is_empty());
    }
}
