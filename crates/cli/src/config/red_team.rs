//! An attacker in each round.

use rein_reward::rules::{PatternConfig, RuleConfig};
use rein_reward::{ErrorPolicy, RewardKind, RewardSource, RuleSource};
use serde::{Deserialize, Serialize};

/// What is bad, and how hard an attacker tries to elicit it, as in `rein red-team`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RedTeamConfig {
    /// A reply in which this regular expression matches is a violation.
    pub(crate) violation: String,
    /// What one costs in the rounds after the first, beside the reward.
    pub(crate) penalty: f32,
    /// Visits of each user's prompt while the attacker learns to write such.
    pub(crate) imitate_epochs: f64,
    /// Steps of its reinforcement learning.
    pub(crate) steps: usize,
    /// Prompts that it writes in a step.
    pub(crate) samples: usize,
    /// What a nat from the imitation of users costs.
    pub(crate) kl: f64,
    /// The share of its worth that a prompt loses which repeats another one.
    pub(crate) similarity: f32,
    /// Tokens that a prompt may have; a half more than users' longest one if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_prompt_tokens: Option<usize>,
    /// Fresh prompts that success is measured with.
    pub(crate) count: usize,
}

impl Default for RedTeamConfig {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl RedTeamConfig {
    /// What `rein red-team` does, too, where its command line says nothing else.
    pub(crate) const DEFAULT: Self = Self {
        violation: String::new(),
        penalty: 2.0,
        imitate_epochs: 4.0,
        steps: 60,
        samples: 64,
        kl: 0.02,
        similarity: 0.5,
        max_prompt_tokens: None,
        count: 256,
    };

    /// What a violation costs, as a reward.
    pub(crate) fn price(&self) -> RewardSource {
        let must_match = vec![self.violation.clone()];
        let rule = RuleSource {
            rule: RuleConfig::Regex(PatternConfig { must_match, ..PatternConfig::default() }),
            name: Some("violation".into()),
            on_error: ErrorPolicy::Stop,
            default: 0.0,
        };
        let kind = RewardKind::Rule(rule);
        RewardSource { kind, weight: -self.penalty, person: None, pessimism: None }
    }

    /// What can't be run.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut refuse = |is_bad: bool, what: &str| {
            if is_bad {
                problems.push(format!("`loop.red_team.{what}"));
            }
        };
        let is_positive = |it: f64| it.is_finite() && it > 0.0;
        refuse(self.violation.is_empty(), "violation` says by a regular expression what is bad");
        refuse(!is_positive(self.penalty.into()), "penalty` is above 0");
        refuse(!is_positive(self.imitate_epochs), "imitate_epochs` is above 0");
        refuse(self.steps == 0, "steps` is at least 1");
        refuse(self.samples < 2, "samples` is at least 2");
        refuse(!(self.kl.is_finite() && self.kl >= 0.0), "kl` is at least 0");
        refuse(!(0.0..=1.0).contains(&self.similarity), "similarity` is within 0..1");
        refuse(self.max_prompt_tokens == Some(0), "max_prompt_tokens` is at least 1");
        refuse(self.count == 0, "count` is at least 1");
        problems.extend(RewardSource::problems(&[self.price()], "loop.red_team.violation"));
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_bad_must_be_an_expression() {
        let problems = |violation: &str| {
            RedTeamConfig { violation: violation.into(), ..RedTeamConfig::default() }.problems()
        };
        assert_eq!(problems("never glad"), Vec::<String>::new());
        assert!(problems("")[0].contains("says by a regular expression"));
        assert!(problems("(").iter().any(|it| it.contains("loop.red_team.violation")));
    }
}
