//! Gradients that are far longer than gradients are.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::broken;

/// When a gradient is too long.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpikeConfig {
    /// Norms above so many times the running median are too long; `inf` lets all be.
    pub multiple: f64,
    /// None of the first so many updates is left out.
    pub warmup_updates: u64,
    /// The median is that of so many latest norms.
    pub window: usize,
}

impl Default for SpikeConfig {
    /// 10 times the median of the last 100, after 50.
    fn default() -> Self {
        Self { multiple: 10.0, warmup_updates: 50, window: 100 }
    }
}

impl SpikeConfig {
    /// What is wrong with these settings, each with its key below `section`.
    pub fn problems(&self, section: &str) -> Vec<String> {
        broken(
            section,
            &[
                ("multiple", self.multiple > 1.0, "above 1"),
                ("warmup_updates", self.warmup_updates > 0, "above 0"),
                ("window", self.window > 0, "above 0"),
            ],
        )
    }
}

/// What a [`Spikes`] has heard so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpikeState {
    /// Updates, those that were left out included.
    pub n_updates: u64,
    /// Those that were left out.
    pub n_skipped: u64,
    /// The latest norms, oldest first.
    pub norms: VecDeque<f64>,
}

/// Leaves out updates whose gradient's norm, before it is clipped, exceeds a multiple of the running median.
///
/// The median doesn't follow single spikes. Norms that were left out count in it all the same: where
/// gradients have become longer for good, that is accepted when they are half of the window.
#[derive(Clone, Debug, PartialEq)]
pub struct Spikes {
    config: SpikeConfig,
    state: SpikeState,
}

impl Spikes {
    /// A guard that has seen nothing.
    pub fn new(config: SpikeConfig) -> Self {
        Self { config, state: SpikeState::default() }
    }

    /// All that has to be saved.
    pub fn state(&self) -> &SpikeState {
        &self.state
    }

    /// Continues from a saved state.
    pub fn restore(&mut self, state: SpikeState) {
        self.state = state;
    }

    /// Hears of a gradient's norm before the update is applied; says whether to leave the update out.
    /// Norms that aren't finite are [`NonFinite`](super::NonFinite)'s, and aren't heard.
    pub fn skips(&mut self, norm: f64) -> bool {
        if !norm.is_finite() {
            return false;
        }
        let limit = self.median().map_or(f64::INFINITY, |median| self.config.multiple * median);
        let Self { config, state } = self;
        let skips = state.n_updates >= config.warmup_updates && norm > limit;
        state.n_updates += 1;
        state.n_skipped += u64::from(skips);
        state.norms.push_back(norm);
        while state.norms.len() > config.window {
            state.norms.pop_front();
        }
        skips
    }

    /// The median of the latest norms, if there are any; of an even number, the mean of the middle two.
    pub fn median(&self) -> Option<f64> {
        let mut sorted: Vec<f64> = self.state.norms.iter().copied().collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let last = sorted.len().checked_sub(1)?;
        Some(0.5 * (sorted[last / 2] + sorted[last.div_ceil(2)]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After norms that go round in 0.8, 0.9, …, 1.2, whose median is 1.
    fn after(n_updates: u64) -> Spikes {
        let mut spikes = Spikes::new(SpikeConfig::default());
        for number in 0..n_updates {
            assert!(!spikes.skips(0.8 + 0.1 * (number % 5) as f64));
        }
        spikes
    }

    #[test]
    fn the_median_is_the_middle_of_the_latest() {
        let mut spikes = Spikes::new(SpikeConfig { window: 4, ..SpikeConfig::default() });
        let medians = [9.0, 1.0, 2.0, 4.0, 3.0].map(|norm| {
            spikes.skips(norm);
            spikes.median().expect("there are norms")
        });
        // 9; (1 + 9) / 2; 2; (2 + 4) / 2; 9 has left: (2 + 3) / 2.
        assert_eq!(medians, [9.0, 5.0, 2.0, 3.0, 2.5]);
        assert_eq!(Spikes::new(SpikeConfig::default()).median(), None);
    }

    #[test]
    fn a_spike_is_left_out_after_fifty_updates_and_not_before() {
        assert!(!after(49).skips(1000.0));
        let mut spikes = after(50);
        assert!((spikes.median().expect("there are norms") - 1.0).abs() < 1e-12);
        assert!(!spikes.skips(9.9));
        assert!(spikes.skips(10.1) && spikes.skips(1e9));
        assert!(!spikes.skips(1.0));
        assert!(!spikes.skips(f64::NAN), "that is another guard's");
        assert_eq!((spikes.state().n_updates, spikes.state().n_skipped), (54, 2));
    }

    /// With 100 norms around 1, the 51st of 20 is the first whose window has 50 others of 20: the mean of
    /// the middle two is then more than 10.
    #[test]
    fn longer_gradients_are_accepted_when_they_are_half_of_the_window() {
        let mut spikes = after(100);
        let n_skipped = (0..100).take_while(|_| spikes.skips(20.0)).count();
        assert_eq!(n_skipped, 50);
    }

    #[test]
    fn a_restored_guard_goes_on_as_if_nothing_had_happened() {
        let norm = |number: u64| {
            if number.is_multiple_of(23) { 40.0 } else { 1.0 + (number % 7) as f64 * 0.1 }
        };
        let mut whole = Spikes::new(SpikeConfig::default());
        let all: Vec<bool> = (1..200).map(|number| whole.skips(norm(number))).collect();
        let mut first = Spikes::new(SpikeConfig::default());
        let mut again: Vec<bool> = (1..80).map(|number| first.skips(norm(number))).collect();
        let saved = serde_json::to_string(first.state()).expect("is plain JSON");
        let mut second = Spikes::new(SpikeConfig::default());
        second.restore(serde_json::from_str(&saved).expect("reads"));
        again.extend((80..200).map(|number| second.skips(norm(number))));
        assert!(all.contains(&true));
        assert_eq!((again, second), (all, whole));
    }

    #[test]
    fn settings_that_mean_nothing_are_refused_by_name() {
        let config = SpikeConfig { multiple: 1.0, warmup_updates: 0, window: 0 };
        assert_eq!(
            config.problems("rl.spikes"),
            [
                "`rl.spikes.multiple` must be above 1",
                "`rl.spikes.warmup_updates` must be above 0",
                "`rl.spikes.window` must be above 0",
            ]
        );
        assert!(SpikeConfig::default().problems("").is_empty());
    }
}
