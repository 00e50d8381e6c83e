//! How much a policy tries out, by the entropy bonus. Sampling itself can explore, too: by its
//! [temperature](crate::config::PpoConfig::temperature) and by [`epsilon`](rein_model::Sampling::epsilon).

use serde::{Deserialize, Deserializer, Serialize};

use crate::scheduled::number_or_table;

/// The weight of the entropy bonus, reward a nat: the loss gets `−α H`, with `H` the mean entropy of the
/// policy over response tokens, in nats. A number, or a table for one that adapts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum EntropyConfig {
    /// The same all the time.
    Fixed(f64),
    /// Goes up while the policy's entropy is below a target, and down while it is above.
    Adaptive(AdaptiveEntropy),
}

/// A bonus that follows the policy's entropy (after Skywork-OR1; He et al., 2025).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdaptiveEntropy {
    /// What a nat is worth at first.
    #[serde(default)]
    pub coefficient: f64,
    /// The entropy aimed at, in nats a token.
    pub target_nats_per_token: f64,
    /// What is added to the coefficient or taken off it at each step.
    #[serde(default = "AdaptiveEntropy::change")]
    pub change: f64,
    /// The coefficient stays at or above this, …
    #[serde(default)]
    pub min: f64,
    /// … and at or below this: a bonus that outweighs the reward makes noise the best policy.
    #[serde(default = "AdaptiveEntropy::max")]
    pub max: f64,
}

impl AdaptiveEntropy {
    fn change() -> f64 {
        0.005
    }

    fn max() -> f64 {
        0.1
    }
}

impl Default for EntropyConfig {
    fn default() -> Self {
        Self::Fixed(0.0)
    }
}

impl<'de> Deserialize<'de> for EntropyConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        number_or_table(deserializer, Self::Fixed, Self::Adaptive)
    }
}

impl EntropyConfig {
    /// The weight at first.
    pub fn initial(&self) -> f64 {
        match self {
            Self::Fixed(coefficient) => *coefficient,
            Self::Adaptive(rule) => rule.coefficient,
        }
    }

    /// Whether there will never be a bonus.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// What is wrong with these settings, with their key.
    pub fn problems(&self, key: &str) -> Vec<String> {
        let rules = match *self {
            Self::Fixed(coefficient) => {
                let fine = coefficient >= 0.0 && coefficient.is_finite();
                return (!fine)
                    .then(|| format!("`{key}` must be at least 0"))
                    .into_iter()
                    .collect();
            }
            Self::Adaptive(AdaptiveEntropy {
                coefficient,
                target_nats_per_token,
                change,
                min,
                max,
            }) => [
                ("coefficient", min <= coefficient && coefficient <= max, "within `min..=max`"),
                ("target_nats_per_token", target_nats_per_token > 0.0, "above 0"),
                ("change", change > 0.0 && change.is_finite(), "above 0"),
                ("min", min >= 0.0, "at least 0"),
                ("max", max >= min && max.is_finite(), "at least `min`"),
            ],
        };
        let broken = rules.into_iter().filter(|(_, fine, _)| !fine);
        broken.map(|(name, _, rule)| format!("`{key}.{name}` must be {rule}")).collect()
    }
}

/// The entropy bonus and its rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EntropyController {
    config: EntropyConfig,
    coefficient: f64,
}

impl EntropyController {
    /// A controller at its first coefficient.
    pub fn new(config: EntropyConfig) -> Self {
        Self { config, coefficient: config.initial() }
    }

    /// What a nat is worth now: all that has to be saved.
    pub fn coefficient(&self) -> f64 {
        self.coefficient
    }

    /// Continues from a saved coefficient, within the bounds of this config.
    pub fn restore(&mut self, coefficient: f64) {
        self.coefficient = match self.config {
            EntropyConfig::Fixed(coefficient) => coefficient,
            EntropyConfig::Adaptive(rule) => coefficient.clamp(rule.min, rule.max),
        };
    }

    /// Hears of a step whose tokens had this entropy, in nats a token:
    /// `α ← clip(α + Δ sign(target − H), min, max)`. An entropy that isn't finite says nothing.
    ///
    /// Unlike Skywork's, the bonus isn't dropped at once above the target: it falls step by step, so that
    /// the loss has no jumps.
    pub fn observe(&mut self, entropy: f64) {
        if let EntropyConfig::Adaptive(rule) = self.config {
            let AdaptiveEntropy { target_nats_per_token: target, change, min, max, .. } = rule;
            let change = match entropy.partial_cmp(&target) {
                Some(std::cmp::Ordering::Less) => change,
                Some(std::cmp::Ordering::Greater) if entropy.is_finite() => -change,
                _ => 0.0,
            };
            self.coefficient = (self.coefficient + change).clamp(min, max);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adaptive() -> EntropyConfig {
        EntropyConfig::Adaptive(AdaptiveEntropy {
            coefficient: 0.005,
            target_nats_per_token: 0.2,
            change: 0.005,
            min: 0.0,
            max: 0.02,
        })
    }

    #[test]
    fn the_bonus_rises_below_the_target_and_falls_above() {
        let mut controller = EntropyController::new(adaptive());
        let mut after = |entropy| {
            controller.observe(entropy);
            controller.coefficient()
        };
        // 0.005 + 0.005, + 0.005, + 0.005, then at `max`.
        for want in [0.01, 0.015, 0.02, 0.02] {
            assert!((after(0.1) - want).abs() < 1e-12);
        }
        assert!((after(0.2) - 0.02).abs() < 1e-12, "the target itself changes nothing");
        for odd in [f64::NAN, f64::INFINITY] {
            assert!((after(odd) - 0.02).abs() < 1e-12, "{odd} says nothing");
        }
        for want in [0.015, 0.01, 0.005, 0.0, 0.0] {
            assert!((after(0.9) - want).abs() < 1e-12);
        }
    }

    #[test]
    fn a_fixed_bonus_stays() {
        let mut controller = EntropyController::new(EntropyConfig::Fixed(0.01));
        controller.observe(0.0);
        controller.restore(5.0);
        assert_eq!(controller.coefficient(), 0.01);
    }

    #[test]
    fn a_restored_controller_goes_on_as_if_nothing_had_happened() {
        let entropies = [0.1, 0.3, 0.1, 0.1, 0.5, 0.25, 0.1];
        let mut whole = EntropyController::new(adaptive());
        entropies.iter().for_each(|it| whole.observe(*it));
        let mut first = EntropyController::new(adaptive());
        entropies[..3].iter().for_each(|it| first.observe(*it));
        let mut second = EntropyController::new(adaptive());
        second.restore(first.coefficient());
        entropies[3..].iter().for_each(|it| second.observe(*it));
        assert_eq!(second, whole);
    }

    #[test]
    fn settings_that_mean_nothing_are_refused_by_name() {
        let entropy = EntropyConfig::Adaptive(AdaptiveEntropy {
            coefficient: 0.5,
            target_nats_per_token: 0.0,
            change: -1.0,
            min: 0.0,
            max: 0.1,
        });
        assert_eq!(
            entropy.problems("rl.entropy"),
            [
                "`rl.entropy.coefficient` must be within `min..=max`",
                "`rl.entropy.target_nats_per_token` must be above 0",
                "`rl.entropy.change` must be above 0",
            ]
        );
        assert!(adaptive().problems("").is_empty());
    }

    #[test]
    fn configs_are_read_and_unknown_keys_refused() {
        let read = |text: &str| serde_json::from_str::<EntropyConfig>(text);
        assert_eq!(read("0.01").expect("a number"), EntropyConfig::Fixed(0.01));
        let text = serde_json::to_string(&adaptive()).expect("is plain JSON");
        assert_eq!(read(&text).expect("reads"), adaptive());
        assert!(read(r#"{ "target_nats_per_token": 1.0, "coef": 0.0 }"#).is_err());
        assert!(read(r#"{ "coefficient": 1.0 }"#).is_err(), "a target is needed");
    }
}
