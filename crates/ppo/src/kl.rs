//! The distance from the reference, and how much it costs.

use serde::{Deserialize, Serialize};

/// How `KL(policy ‖ reference)` is estimated from a sampled token (Schulman, 2020), with
/// `k1 = log p − log p_ref`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KlEstimator {
    /// `k1`: unbiased, of high variance, can be negative.
    #[default]
    K1,
    /// `k1² / 2`: biased, of low variance.
    K2,
    /// `exp(−k1) − 1 + k1`: unbiased, never negative.
    K3,
}

impl KlEstimator {
    /// The estimate at one token, in nats.
    pub fn estimate(self, logprob: f64, reference: f64) -> f64 {
        let k1 = logprob - reference;
        match self {
            Self::K1 => k1,
            Self::K2 => 0.5 * k1 * k1,
            Self::K3 => (-k1).exp() - 1.0 + k1,
        }
    }
}

/// The weight of the KL penalty.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum KlConfig {
    /// The same all the time.
    Fixed {
        /// Reward that a nat costs.
        coefficient: f64,
    },
    /// Follows a target (Ziegler et al., 2019).
    Adaptive {
        /// Reward that a nat costs at first.
        coefficient: f64,
        /// The distance aimed at, in nats summed over a completion.
        target_nats_per_completion: f64,
        /// Completions after which a distance of twice the target has multiplied the coefficient
        /// by about `e^0.2`.
        horizon: f64,
    },
}

impl Default for KlConfig {
    fn default() -> Self {
        Self::Fixed { coefficient: 0.05 }
    }
}

impl KlConfig {
    /// The coefficient at first.
    pub fn initial(&self) -> f64 {
        let (Self::Fixed { coefficient } | Self::Adaptive { coefficient, .. }) = *self;
        coefficient
    }

    pub(crate) fn problems(&self) -> Vec<String> {
        let numbers = match *self {
            Self::Fixed { coefficient } => vec![("coefficient", coefficient >= 0.0)],
            Self::Adaptive { coefficient, target_nats_per_completion, horizon } => vec![
                ("coefficient", coefficient >= 0.0),
                ("target_nats_per_completion", target_nats_per_completion > 0.0),
                ("horizon", horizon > 0.0),
            ],
        };
        let wrong = numbers.into_iter().filter(|(_, fine)| !fine);
        wrong.map(|(key, _)| format!("`rl.kl.{key}` must be positive")).collect()
    }
}

/// The coefficient and its rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KlController {
    config: KlConfig,
    coefficient: f64,
}

impl KlController {
    /// A controller at its first coefficient.
    pub fn new(config: KlConfig) -> Self {
        Self { config, coefficient: config.initial() }
    }

    /// Reward that a nat costs now.
    pub fn coefficient(&self) -> f64 {
        self.coefficient
    }

    /// Continues from a saved coefficient.
    pub fn restore(&mut self, coefficient: f64) {
        self.coefficient = coefficient;
    }

    /// Hears of `n_completions` whose distance was `kl` nats a completion on average:
    /// `β ← β (1 + clip(kl / target − 1, ±0.2) · n / horizon)`.
    pub fn observe(&mut self, kl: f64, n_completions: usize) {
        if let KlConfig::Adaptive { target_nats_per_completion, horizon, .. } = self.config {
            let error = (kl / target_nats_per_completion - 1.0).clamp(-0.2, 0.2);
            self.coefficient *= 1.0 + error * n_completions as f64 / horizon;
        }
    }
}
