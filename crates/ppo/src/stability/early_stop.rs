//! The end of a step's epochs before their number.

use serde::{Deserialize, Serialize};

use super::broken;

/// How far a step may take the policy.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EarlyStopConfig {
    /// The distance aimed at, in nats a token, of the policy from itself at the step's beginning.
    pub target_nats_per_token: f64,
    /// Epochs end when the distance exceeds so many times the target (1.5 in Spinning Up).
    #[serde(default = "multiple")]
    pub multiple: f64,
}

fn multiple() -> f64 {
    1.5
}

impl EarlyStopConfig {
    /// What is wrong with these settings, each with its key below `section`.
    pub fn problems(&self, section: &str) -> Vec<String> {
        let positive = |value: f64| value > 0.0 && value.is_finite();
        broken(
            section,
            &[
                ("target_nats_per_token", positive(self.target_nats_per_token), "above 0"),
                ("multiple", self.multiple >= 1.0, "at least 1"),
            ],
        )
    }
}

/// Ends a step's epochs when the policy has gone far enough.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EarlyStop {
    config: EarlyStopConfig,
    n_stopped: u64,
}

impl EarlyStop {
    /// A guard that has stopped nothing.
    pub fn new(config: EarlyStopConfig) -> Self {
        Self { config, n_stopped: 0 }
    }

    /// How many steps ended early: all that has to be saved.
    pub fn n_stopped(&self) -> u64 {
        self.n_stopped
    }

    /// Continues from a saved count.
    pub fn restore(&mut self, n_stopped: u64) {
        self.n_stopped = n_stopped;
    }

    /// Hears of the approximate KL of a minibatch, in nats a token, before its update; says whether that one
    /// and all later ones of the step are left out. A distance that isn't a number is too far.
    pub fn stops(&mut self, approx_kl: f64) -> bool {
        let EarlyStopConfig { target_nats_per_token, multiple } = self.config;
        let is_near = approx_kl <= target_nats_per_token * multiple;
        self.n_stopped += u64::from(!is_near);
        !is_near
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_end_beyond_the_multiple_of_the_target() {
        let config = EarlyStopConfig { target_nats_per_token: 0.02, multiple: 1.5 };
        let mut guard = EarlyStop::new(config);
        guard.restore(2);
        // The limit is 0.03; an estimate may be negative.
        let stops = [0.0, -0.01, 0.0299, 0.0301, f64::NAN, f64::INFINITY].map(|kl| guard.stops(kl));
        assert_eq!(stops, [false, false, false, true, true, true]);
        assert_eq!(guard.n_stopped(), 5);
    }

    #[test]
    fn the_multiple_has_a_default_and_nonsense_is_refused_by_name() {
        let read = |text| serde_json::from_str::<EarlyStopConfig>(text);
        let config = read(r#"{ "target_nats_per_token": 0.1 }"#).expect("reads");
        assert_eq!(config, EarlyStopConfig { target_nats_per_token: 0.1, multiple: 1.5 });
        assert!(config.problems("").is_empty());
        assert!(read(r#"{ "target_nats_per_token": 0.1, "target": 1.0 }"#).is_err());
        let config = EarlyStopConfig { target_nats_per_token: 0.0, multiple: 0.5 };
        assert_eq!(
            config.problems("rl.early_stop"),
            [
                "`rl.early_stop.target_nats_per_token` must be above 0",
                "`rl.early_stop.multiple` must be at least 1",
            ]
        );
    }
}
