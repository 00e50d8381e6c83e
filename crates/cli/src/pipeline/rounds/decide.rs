//! Whether to go on after a round.

use serde::{Deserialize, Serialize};

use crate::config::{LoopConfig, REWARD};
use crate::pipeline::compare::Versus;

/// What follows from a round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) decision: Decision,
    /// In words.
    pub(crate) reason: String,
    /// Whether the round was better than what it began with, beyond chance.
    gained: bool,
}

/// What is done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Decision {
    /// Another round, from this one's policy.
    GoOn,
    /// This round's policy is the result.
    Stop,
    /// Another round, from what this one began with.
    TakeBack,
    /// What this round began with is the result.
    TakeBackAndStop,
}

/// What a decision looks at.
pub(super) struct Evidence<'a> {
    pub(super) number: usize,
    /// Against the fine-tuned model, and against what the round began with, by the truth as far as it is known.
    pub(super) against_fine_tuned: &'a Versus,
    pub(super) against_before: &'a Versus,
    /// How much the reward model's mean score rose meanwhile.
    pub(super) proxy_gain: Option<f64>,
    /// Rounds before this one, at the end, that gained nothing.
    pub(super) n_stale: usize,
}

impl Verdict {
    /// Whether the round's policy stays.
    pub(crate) fn keeps(&self) -> bool {
        matches!(self.decision, Decision::GoOn | Decision::Stop)
    }

    /// Whether there are more rounds.
    pub(crate) fn goes_on(&self) -> bool {
        matches!(self.decision, Decision::GoOn | Decision::TakeBack)
    }

    pub(super) fn has_gained(&self) -> bool {
        self.gained
    }
}

/// A round that is worse than what it began with, beyond chance, is taken back: where the reward model's score rose
/// meanwhile, that is over-optimisation (Gao et al., 2023). Else, in this order: the target is met, nothing was gained for
/// long enough, all rounds are done. Chance is a 95 % interval of the mean difference on held-out prompts.
pub(super) fn decide(evidence: &Evidence<'_>, config: &LoopConfig) -> Verdict {
    let [low, high] = evidence.against_before.difference_interval;
    let gained = low > 0.0;
    let n_stale = if gained { 0 } else { evidence.n_stale + 1 };
    let is_last = evidence.number >= config.rounds;
    let is_stale = config.patience > 0 && n_stale >= config.patience;
    let difference = evidence.against_before.difference;
    let by = &evidence.against_before.by;
    if high < 0.0 {
        let why = match evidence.proxy_gain.filter(|it| *it > 0.0 && by != REWARD) {
            Some(rise) => format!(
                "over-optimised: the reward model's score rose by {rise:.2}, {by} fell by {:.2}",
                -difference
            ),
            None => format!("worse than before: {by} fell by {:.2}", -difference),
        };
        let decision =
            if is_last || is_stale { Decision::TakeBackAndStop } else { Decision::TakeBack };
        return Verdict { decision, reason: why, gained };
    }
    let rate = evidence.against_fine_tuned.rate;
    let (decision, reason) = match config.target_win_rate {
        Some(target) if rate >= target => (
            Decision::Stop,
            format!("the target is met: {:.1} % wins against the fine-tuned model", 100.0 * rate),
        ),
        _ if is_last => (Decision::Stop, "all rounds are done".to_owned()),
        _ if is_stale => (
            Decision::Stop,
            format!("no gain beyond chance: {by} {difference:+.2} ({low:+.2} to {high:+.2})"),
        ),
        _ => (
            Decision::GoOn,
            format!("{by} {difference:+.2} ({low:+.2} to {high:+.2}) against what it began with"),
        ),
    };
    Verdict { decision, reason, gained }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versus(difference_interval: [f64; 2], rate: f64) -> Versus {
        let [low, high] = difference_interval;
        Versus { difference: (low + high) / 2.0, difference_interval, rate, ..Versus::default() }
    }

    fn verdict(number: usize, interval: [f64; 2], n_stale: usize, config: &LoopConfig) -> Verdict {
        let evidence = Evidence {
            number,
            against_fine_tuned: &versus([0.1, 0.2], 0.8),
            against_before: &versus(interval, 0.6),
            proxy_gain: Some(0.7),
            n_stale,
        };
        decide(&evidence, config)
    }

    #[test]
    fn what_is_worse_is_taken_back_and_what_gains_goes_on() {
        let config = LoopConfig { rounds: 4, patience: 2, ..LoopConfig::default() };
        let decision =
            |number, interval, n_stale| verdict(number, interval, n_stale, &config).decision;
        assert_eq!(decision(2, [0.1, 0.3], 1), Decision::GoOn);
        assert_eq!(decision(2, [-0.1, 0.3], 0), Decision::GoOn);
        assert_eq!(decision(2, [-0.1, 0.3], 1), Decision::Stop);
        assert_eq!(decision(2, [-0.3, -0.1], 0), Decision::TakeBack);
        assert_eq!(decision(2, [-0.3, -0.1], 1), Decision::TakeBackAndStop);
        assert_eq!(decision(4, [0.1, 0.3], 0), Decision::Stop);
        assert_eq!(decision(4, [-0.3, -0.1], 0), Decision::TakeBackAndStop);
    }

    #[test]
    fn a_fall_while_the_score_rises_is_called_by_its_name() {
        let told = verdict(2, [-0.3, -0.1], 0, &LoopConfig::default());
        assert!(told.reason.starts_with("over-optimised"), "{}", told.reason);
        assert!(!told.keeps() && !told.has_gained());
    }

    #[test]
    fn a_target_that_is_met_ends_the_loop() {
        let config = LoopConfig { rounds: 9, target_win_rate: Some(0.75), ..LoopConfig::default() };
        let told = verdict(2, [0.1, 0.3], 0, &config);
        assert_eq!(told.decision, Decision::Stop);
        assert!(told.reason.contains("80.0 %"), "{}", told.reason);
        let far = LoopConfig { target_win_rate: Some(0.9), ..config };
        assert_eq!(verdict(2, [0.1, 0.3], 0, &far).decision, Decision::GoOn);
    }
}
