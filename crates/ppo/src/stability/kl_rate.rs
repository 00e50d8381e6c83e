//! A learning rate that follows the distance a step goes.

use serde::{Deserialize, Serialize};

use super::broken;

/// Which distance is aimed at, and how fast the learning rate follows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KlRateConfig {
    /// The distance of the policy from itself before a step that is aimed at, in nats a token.
    pub target_nats_per_token: f64,
    /// Distances within `target / tolerance ..= target · tolerance` change nothing.
    pub tolerance: f64,
    /// What the rate is multiplied or divided by.
    pub factor: f64,
    /// The schedule's rate is multiplied by this at least, …
    pub min_scale: f64,
    /// … and by this at most.
    pub max_scale: f64,
}

impl Default for KlRateConfig {
    fn default() -> Self {
        Self {
            target_nats_per_token: 0.01,
            tolerance: 1.5,
            factor: 1.5,
            min_scale: 0.1,
            max_scale: 10.0,
        }
    }
}

impl KlRateConfig {
    /// What is wrong with these settings, each with its key below `section`.
    pub fn problems(&self, section: &str) -> Vec<String> {
        let within = |value: f64, least: f64| value >= least && value.is_finite();
        let is_target = self.target_nats_per_token > 0.0 && self.target_nats_per_token.is_finite();
        broken(
            section,
            &[
                ("target_nats_per_token", is_target, "above 0"),
                ("tolerance", within(self.tolerance, 1.0), "at least 1"),
                ("factor", within(self.factor, 1.0), "at least 1"),
                ("min_scale", 0.0 < self.min_scale && self.min_scale <= 1.0, "above 0, at most 1"),
                ("max_scale", within(self.max_scale, 1.0), "at least 1"),
            ],
        )
    }
}

/// Schulman's rule, which he gave for the penalty (2017, §4: `d < target / 1.5` halves it and
/// `d > 1.5 target` doubles it), on the learning rate: what a step went too far, the next one is slower.
///
/// It gives a factor of the schedule's rate, so that warm-up and decay stay what they are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KlRate {
    config: KlRateConfig,
    scale: f64,
}

impl KlRate {
    /// The schedule's own rate.
    pub fn new(config: KlRateConfig) -> Self {
        Self { config, scale: 1.0 }
    }

    /// What the schedule's rate is multiplied by: all that has to be saved.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// Continues from a saved scale, within the bounds of this config.
    pub fn restore(&mut self, scale: f64) {
        self.scale = scale.clamp(self.config.min_scale, self.config.max_scale);
    }

    /// Hears how far a step has gone, in nats a token: `scale ← clip(scale · factor, min, max)` where
    /// `kl < target / tolerance`, `scale ← clip(scale / factor, min, max)` where `kl > target · tolerance`. A
    /// distance that isn't a number says nothing.
    pub fn observe(&mut self, kl: f64) {
        let KlRateConfig { target_nats_per_token: target, tolerance, factor, .. } = self.config;
        let change = if kl < target / tolerance {
            factor
        } else if kl > target * tolerance {
            1.0 / factor
        } else {
            1.0
        };
        self.restore(self.scale * change);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate() -> KlRate {
        KlRate::new(KlRateConfig {
            target_nats_per_token: 0.03,
            factor: 2.0,
            min_scale: 0.2,
            max_scale: 4.0,
            ..KlRateConfig::default()
        })
    }

    #[test]
    fn the_rate_rises_after_short_steps_and_falls_after_long_ones() {
        let mut rate = rate();
        let mut after = |kl| {
            rate.observe(kl);
            rate.scale()
        };
        // Between 0.02 and 0.045 nothing changes.
        assert_eq!([0.021, 0.03, 0.044, f64::NAN].map(&mut after), [1.0; 4]);
        assert_eq!([0.019, -0.1, 0.0].map(&mut after), [2.0, 4.0, 4.0]);
        assert_eq!([0.046, 0.5, f64::INFINITY, 9.0].map(&mut after), [2.0, 1.0, 0.5, 0.25]);
        assert_eq!(after(9.0), 0.2);
    }

    #[test]
    fn a_restored_rate_goes_on_as_if_nothing_had_happened() {
        let distances = [0.01, 0.03, 0.1, 0.1, 0.01];
        let mut whole = rate();
        distances.iter().for_each(|kl| whole.observe(*kl));
        let mut first = rate();
        distances[..2].iter().for_each(|kl| first.observe(*kl));
        let mut second = rate();
        second.restore(first.scale());
        distances[2..].iter().for_each(|kl| second.observe(*kl));
        assert_eq!(second, whole);
        second.restore(1e9);
        assert_eq!(second.scale(), 4.0);
    }

    #[test]
    fn settings_that_mean_nothing_are_refused_by_name() {
        let config = KlRateConfig {
            target_nats_per_token: f64::NAN,
            tolerance: 0.5,
            factor: 0.9,
            min_scale: 2.0,
            max_scale: 0.5,
        };
        let problems = config.problems("rl.kl_rate");
        assert_eq!(problems.len(), 5);
        assert_eq!(problems[3], "`rl.kl_rate.min_scale` must be above 0, at most 1");
        assert!(KlRateConfig::default().problems("").is_empty());
    }
}
