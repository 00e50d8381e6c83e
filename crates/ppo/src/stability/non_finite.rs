//! Updates with numbers that aren't finite.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::broken;

/// When updates with numbers that aren't finite are too many.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NonFiniteConfig {
    /// More than this one after the other are too many.
    pub max_in_a_row: u32,
    /// More than this share of `window` updates are too many, …
    pub max_share: f64,
    /// … counted among so many latest ones. A run that is younger may have as many as an old one.
    pub window: u32,
    /// What the learning rate is multiplied by when the run goes back.
    pub rate_factor: f64,
    /// How often the run goes back before it ends.
    pub max_rollbacks: u32,
    /// A policy that is further than this from itself at the step's beginning, in nats a token, was led astray
    /// by the updates before, and the run goes back at once.
    pub max_nats_per_token: f64,
}

impl Default for NonFiniteConfig {
    /// More than 3 in a row or 1 % of 1000; back at half the rate, eight times at most.
    fn default() -> Self {
        Self {
            max_in_a_row: 3,
            max_share: 0.01,
            window: 1000,
            rate_factor: 0.5,
            max_rollbacks: 8,
            max_nats_per_token: 10.0,
        }
    }
}

impl NonFiniteConfig {
    /// What is wrong with these settings, each with its key below `section`.
    pub fn problems(&self, section: &str) -> Vec<String> {
        let share = (0.0..=1.0).contains(&self.max_share);
        let factor = self.rate_factor > 0.0 && self.rate_factor <= 1.0;
        broken(
            section,
            &[
                ("max_share", share, "within 0..=1"),
                ("window", self.window > 0, "above 0"),
                ("rate_factor", factor, "above 0 and at most 1"),
                ("max_nats_per_token", self.max_nats_per_token > 0.0, "above 0"),
            ],
        )
    }
}

/// What is to be done about an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// It is applied.
    Apply,
    /// It is left out: weights, moments and the number of updates stay as they are.
    Skip,
    /// The run goes back to its last checkpoint and on from there, at [`NonFinite::rate_scale`].
    RollBack,
    /// The run has gone back as often as it may, and ends.
    GiveUp,
}

/// What a [`NonFinite`] has heard so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NonFiniteState {
    /// Updates, those that were left out included.
    pub n_updates: u64,
    /// Those that were left out.
    pub n_skipped: u64,
    /// Those that were left out since the last one that wasn't.
    pub n_in_a_row: u32,
    /// The numbers of those that were left out within the window, since the run last went back.
    pub recent: VecDeque<u64>,
    /// How often the run went back.
    pub n_rollbacks: u32,
    /// What the learning rate is multiplied by.
    pub rate_scale: f64,
}

impl Default for NonFiniteState {
    fn default() -> Self {
        Self {
            n_updates: 0,
            n_skipped: 0,
            n_in_a_row: 0,
            recent: VecDeque::new(),
            n_rollbacks: 0,
            rate_scale: 1.0,
        }
    }
}

/// Leaves out updates with numbers that aren't finite, and sends a run back that has too many of them.
///
/// Its state outlives going back: a checkpoint holds an older one, with which the run would go back for
/// ever. Restore it where a process begins, not where a run goes back.
#[derive(Clone, Debug, PartialEq)]
pub struct NonFinite {
    config: NonFiniteConfig,
    state: NonFiniteState,
}

impl NonFinite {
    /// A guard that has seen nothing.
    pub fn new(config: NonFiniteConfig) -> Self {
        Self { config, state: NonFiniteState::default() }
    }

    /// All that has to be saved.
    pub fn state(&self) -> &NonFiniteState {
        &self.state
    }

    /// Continues from a saved state.
    pub fn restore(&mut self, state: NonFiniteState) {
        self.state = state;
    }

    /// What the learning rate is multiplied by.
    pub fn rate_scale(&self) -> f64 {
        self.state.rate_scale
    }

    /// Hears of an update's numbers (its rewards, its loss, its gradient's norm) before it is applied.
    pub fn judge(&mut self, numbers: &[f64]) -> Verdict {
        let Self { config, state } = self;
        state.n_updates += 1;
        let oldest = state.n_updates.saturating_sub(u64::from(config.window));
        while state.recent.front().is_some_and(|number| *number <= oldest) {
            state.recent.pop_front();
        }
        if numbers.iter().all(|it| it.is_finite()) {
            state.n_in_a_row = 0;
            return Verdict::Apply;
        }
        state.n_skipped += 1;
        state.n_in_a_row += 1;
        state.recent.push_back(state.n_updates);
        let most = config.max_share * f64::from(config.window);
        if state.n_in_a_row <= config.max_in_a_row && state.recent.len() as f64 <= most {
            return Verdict::Skip;
        }
        self.go_back()
    }

    /// Hears that the updates before led astray, which leaving out another doesn't mend.
    pub fn astray(&mut self) -> Verdict {
        self.state.n_updates += 1;
        self.state.n_skipped += 1;
        self.go_back()
    }

    fn go_back(&mut self) -> Verdict {
        let Self { config, state } = self;
        if state.n_rollbacks >= config.max_rollbacks {
            return Verdict::GiveUp;
        }
        state.n_rollbacks += 1;
        state.rate_scale *= config.rate_factor;
        state.n_in_a_row = 0;
        state.recent.clear();
        Verdict::RollBack
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: [f64; 3] = [0.1, -2.0, 3.0];
    const BAD: [f64; 3] = [0.1, f64::NAN, 3.0];

    fn guard() -> NonFinite {
        NonFinite::new(NonFiniteConfig { max_rollbacks: 1, ..NonFiniteConfig::default() })
    }

    #[test]
    fn updates_that_are_not_finite_are_left_out_and_counted() {
        let mut guard = guard();
        assert_eq!(guard.judge(&FINE), Verdict::Apply);
        for odd in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(guard.judge(&[1.0, odd]), Verdict::Skip);
            assert_eq!(guard.judge(&FINE), Verdict::Apply);
        }
        assert_eq!((guard.state().n_updates, guard.state().n_skipped), (7, 3));
        assert_eq!(guard.rate_scale(), 1.0);
    }

    #[test]
    fn the_fourth_in_a_row_sends_the_run_back_at_half_the_rate_and_once() {
        let mut guard = guard();
        let four = |guard: &mut NonFinite| [(); 4].map(|()| guard.judge(&BAD));
        let [skip, back, end] = [Verdict::Skip, Verdict::RollBack, Verdict::GiveUp];
        assert_eq!(four(&mut guard), [skip, skip, skip, back]);
        assert_eq!((guard.rate_scale(), guard.state().n_rollbacks), (0.5, 1));
        assert_eq!(guard.judge(&FINE), Verdict::Apply);
        assert_eq!(four(&mut guard), [skip, skip, skip, end]);
        assert_eq!((guard.rate_scale(), guard.state().n_rollbacks), (0.5, 1));
    }

    #[test]
    fn who_was_led_astray_goes_back_at_once() {
        let mut guard = guard();
        assert_eq!(guard.judge(&FINE), Verdict::Apply);
        assert_eq!((guard.astray(), guard.astray()), (Verdict::RollBack, Verdict::GiveUp));
        assert_eq!((guard.state().n_updates, guard.state().n_skipped), (3, 2));
        assert_eq!(guard.rate_scale(), 0.5);
    }

    /// One of a hundred is 1 %, not more; one of ninety-nine, and the eleventh lies within the window.
    #[test]
    fn more_than_a_hundredth_of_a_thousand_sends_the_run_back() {
        let rare = |every: u32| {
            let mut guard = guard();
            let number = |number| if number % every == 0 { &BAD } else { &FINE };
            (1..=3000).find(|it| guard.judge(number(*it)) == Verdict::RollBack)
        };
        assert_eq!(rare(100), None);
        assert_eq!(rare(99), Some(11 * 99));
        assert_eq!(rare(2), Some(22));
    }

    #[test]
    fn a_restored_guard_goes_on_as_if_nothing_had_happened() {
        let numbers = |step: u32| if step.is_multiple_of(7) { BAD } else { FINE };
        let mut whole = guard();
        let verdicts: Vec<Verdict> = (1..90).map(|step| whole.judge(&numbers(step))).collect();
        assert!(verdicts.contains(&Verdict::RollBack));
        let mut first = guard();
        let mut again: Vec<Verdict> = (1..40).map(|step| first.judge(&numbers(step))).collect();
        let saved = serde_json::to_string(first.state()).expect("is plain JSON");
        let mut second = guard();
        second.restore(serde_json::from_str(&saved).expect("reads"));
        again.extend((40..90).map(|step| second.judge(&numbers(step))));
        assert_eq!((again, second), (verdicts, whole));
    }

    #[test]
    fn settings_that_mean_nothing_are_refused_by_name() {
        let config = NonFiniteConfig {
            max_share: 1.5,
            window: 0,
            rate_factor: 0.0,
            ..NonFiniteConfig::default()
        };
        assert_eq!(
            config.problems("rl.guard"),
            [
                "`rl.guard.max_share` must be within 0..=1",
                "`rl.guard.window` must be above 0",
                "`rl.guard.rate_factor` must be above 0 and at most 1",
            ]
        );
        assert!(NonFiniteConfig::default().problems("").is_empty());
    }
}
