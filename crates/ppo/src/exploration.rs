//! How much a policy tries out: the entropy bonus and the temperature, each by its rule.
//!
//! Pure functions and small state machines: no module, no random numbers. Sampling itself can explore too
//! ([`Sampling::epsilon`](rein_model::Sampling)).

use serde::{Deserialize, Serialize};

/// The weight of the entropy bonus, reward a nat: the loss gets `−α H`, with `H` the mean entropy of the
/// policy over response tokens, in nats.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum EntropyConfig {
    /// The same all the time.
    Fixed {
        /// What a nat is worth.
        coefficient: f64,
    },
    /// Goes up while the policy's entropy is below a target, and down while it is above (after
    /// Skywork-OR1; He et al., 2025).
    Adaptive {
        /// What a nat is worth at first.
        coefficient: f64,
        /// The entropy aimed at, in nats a token.
        target_nats_per_token: f64,
        /// What is added to the coefficient or taken off it at each step.
        change: f64,
        /// The coefficient stays at or above this, …
        min: f64,
        /// … and at or below this: a bonus that outweighs the reward makes noise the best policy.
        max: f64,
    },
}

impl Default for EntropyConfig {
    fn default() -> Self {
        Self::Fixed { coefficient: 0.0 }
    }
}

impl EntropyConfig {
    /// What is wrong with these settings, each with its key below `section`.
    pub fn problems(&self, section: &str) -> Vec<String> {
        let rules = match *self {
            Self::Fixed { coefficient } => vec![("coefficient", coefficient >= 0.0, "at least 0")],
            Self::Adaptive { coefficient, target_nats_per_token, change, min, max } => vec![
                ("coefficient", min <= coefficient && coefficient <= max, "within `min..=max`"),
                ("target_nats_per_token", target_nats_per_token > 0.0, "above 0"),
                ("change", change > 0.0 && change.is_finite(), "above 0"),
                ("min", min >= 0.0, "at least 0"),
                ("max", max >= min && max.is_finite(), "at least `min`"),
            ],
        };
        broken(section, rules)
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
        let (EntropyConfig::Fixed { coefficient } | EntropyConfig::Adaptive { coefficient, .. }) =
            config;
        Self { config, coefficient }
    }

    /// What a nat is worth now: all that has to be saved.
    pub fn coefficient(&self) -> f64 {
        self.coefficient
    }

    /// Continues from a saved coefficient, within the bounds of this config.
    pub fn restore(&mut self, coefficient: f64) {
        self.coefficient = match self.config {
            EntropyConfig::Fixed { coefficient } => coefficient,
            EntropyConfig::Adaptive { min, max, .. } => coefficient.clamp(min, max),
        };
    }

    /// Hears of a step whose tokens had this entropy, in nats a token:
    /// `α ← clip(α + Δ sign(target − H), min, max)`. An entropy that isn't finite says nothing.
    ///
    /// Unlike Skywork's, the bonus isn't dropped at once above the target: it falls step by step, so that
    /// the loss has no jumps.
    pub fn observe(&mut self, entropy: f64) {
        if let EntropyConfig::Adaptive { target_nats_per_token: target, change, min, max, .. } =
            self.config
        {
            let change = match entropy.partial_cmp(&target) {
                Some(std::cmp::Ordering::Less) => change,
                Some(std::cmp::Ordering::Greater) if entropy.is_finite() => -change,
                _ => 0.0,
            };
            self.coefficient = (self.coefficient + change).clamp(min, max);
        }
    }
}

/// What divides the logits, by step. It has no state: the step says it all.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Temperature {
    /// The same all the time.
    Constant {
        /// What divides the logits.
        temperature: f32,
    },
    /// In a line: `from + (to − from) · s`, with `s = min(step / steps, 1)`.
    Linear {
        /// At the first step.
        from: f32,
        /// At step `steps`, and from then on.
        to: f32,
        /// How many steps it takes.
        steps: usize,
    },
    /// Along half a cosine: `to + (from − to) · (1 + cos(π s)) / 2`, with `s = min(step / steps, 1)`.
    Cosine {
        /// At the first step.
        from: f32,
        /// At step `steps`, and from then on.
        to: f32,
        /// How many steps it takes.
        steps: usize,
    },
}

impl Default for Temperature {
    fn default() -> Self {
        Self::Constant { temperature: 1.0 }
    }
}

impl Temperature {
    /// The temperature of step `step`, counted from 0: for sampling and for scoring alike.
    pub fn at(self, step: usize) -> f32 {
        match self {
            Self::Constant { temperature } => temperature,
            Self::Linear { from, to, steps } => between(from, to, share(step, steps)),
            Self::Cosine { from, to, steps } => {
                let way = 0.5 * (1.0 - (std::f64::consts::PI * share(step, steps)).cos());
                between(from, to, way)
            }
        }
    }

    /// What is wrong with these settings, each with its key below `section`.
    pub fn problems(&self, section: &str) -> Vec<String> {
        let positive = |value: f32| value > 0.0 && value.is_finite();
        let rules = match *self {
            Self::Constant { temperature } => {
                vec![("temperature", positive(temperature), "above 0")]
            }
            Self::Linear { from, to, steps } | Self::Cosine { from, to, steps } => vec![
                ("from", positive(from), "above 0"),
                ("to", positive(to), "above 0"),
                ("steps", steps > 0, "above 0"),
            ],
        };
        broken(section, rules)
    }
}

fn share(step: usize, steps: usize) -> f64 {
    (step as f64 / steps.max(1) as f64).min(1.0)
}

/// `from` at 0 and `to` at 1, to the bit.
fn between(from: f32, to: f32, way: f64) -> f32 {
    (f64::from(from) * (1.0 - way) + f64::from(to) * way) as f32
}

fn broken(section: &str, rules: Vec<(&str, bool, &str)>) -> Vec<String> {
    let broken = rules.into_iter().filter(|(_, fine, _)| !fine);
    broken.map(|(key, _, rule)| format!("`{section}.{key}` must be {rule}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adaptive() -> EntropyConfig {
        EntropyConfig::Adaptive {
            coefficient: 0.005,
            target_nats_per_token: 0.2,
            change: 0.005,
            min: 0.0,
            max: 0.02,
        }
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
        let mut controller = EntropyController::new(EntropyConfig::Fixed { coefficient: 0.01 });
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
    fn temperatures_go_from_one_end_to_the_other() {
        let linear = Temperature::Linear { from: 1.2, to: 0.4, steps: 8 };
        let cosine = Temperature::Cosine { from: 1.2, to: 0.4, steps: 8 };
        // Linear: 1.2 − 0.8 · 1/4. Cosine: 0.4 + 0.8 · (1 + cos(π/4)) / 2 = 0.4 + 0.4 · 1.707107.
        for (step, in_a_line, along_a_cosine) in
            [(0, 1.2, 1.2), (2, 1.0, 1.082_843), (4, 0.8, 0.8), (8, 0.4, 0.4), (99, 0.4, 0.4)]
        {
            assert!((linear.at(step) - in_a_line).abs() < 1e-6, "{step}");
            assert!((cosine.at(step) - along_a_cosine).abs() < 1e-6, "{step}");
        }
        assert_eq!([linear.at(0), linear.at(8), cosine.at(0), cosine.at(8)], [1.2, 0.4, 1.2, 0.4]);
        assert_eq!(Temperature::Constant { temperature: 0.7 }.at(3), 0.7);
    }

    #[test]
    fn settings_that_mean_nothing_are_refused_by_name() {
        let linear = Temperature::Linear { from: 0.0, to: f32::NAN, steps: 0 };
        let want =
            ["from", "to", "steps"].map(|key| format!("`rl.temperature.{key}` must be above 0"));
        assert_eq!(linear.problems("rl.temperature"), want);
        let entropy = EntropyConfig::Adaptive {
            coefficient: 0.5,
            target_nats_per_token: 0.0,
            change: -1.0,
            min: 0.0,
            max: 0.1,
        };
        assert_eq!(
            entropy.problems("rl.entropy"),
            [
                "`rl.entropy.coefficient` must be within `min..=max`",
                "`rl.entropy.target_nats_per_token` must be above 0",
                "`rl.entropy.change` must be above 0",
            ]
        );
        assert!(
            adaptive().problems("").is_empty() && Temperature::default().problems("").is_empty()
        );
    }

    #[test]
    fn configs_are_read_and_unknown_keys_refused() {
        let text = r#"{ "kind": "cosine", "from": 1.0, "to": 0.5, "steps": 10 }"#;
        let read: Temperature = serde_json::from_str(text).expect("a schedule");
        assert_eq!(read, Temperature::Cosine { from: 1.0, to: 0.5, steps: 10 });
        let text = r#"{ "kind": "fixed", "coefficient": 0.0, "target": 1.0 }"#;
        assert!(serde_json::from_str::<EntropyConfig>(text).is_err());
        let text = serde_json::to_string(&adaptive()).expect("is plain JSON");
        assert_eq!(serde_json::from_str::<EntropyConfig>(&text).expect("reads"), adaptive());
    }
}
