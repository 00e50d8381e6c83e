//! Rounds of feedback, reward modelling and reinforcement learning.

use serde::{Deserialize, Serialize};

use super::RedTeamConfig;

/// What is repeated, and when it ends. The first round is the run as it would be without a loop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LoopConfig {
    /// Rounds at most.
    pub(crate) rounds: usize,
    /// Pairs that people are asked about in each round after the first.
    pub(crate) pairs: usize,
    /// Held-out pairs of each round after the first.
    pub(crate) heldout_pairs: usize,
    /// So many times as many pairs are sampled, of which those are asked that tell most.
    pub(crate) candidates: usize,
    /// How they are chosen.
    pub(crate) query: Query,
    /// Who answers.
    pub(crate) answers: Answers,
    /// What a round's reward model begins as; it learns from the answers of all rounds.
    pub(crate) reward: RewardStart,
    /// The learning rate of reinforcement learning is multiplied by this after each round, …
    pub(crate) rate_factor: f64,
    /// … as are the nats that it aims at, or divided by it the price of a nat where it is fixed, …
    pub(crate) kl_factor: f64,
    /// … and what entropy is worth.
    pub(crate) entropy_factor: f64,
    /// Who decides: one of `evaluate.judges`; the truth where it is known, else the round's reward model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) judge: Option<String>,
    /// Stop once the policy wins this share against the fine-tuned model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target_win_rate: Option<f64>,
    /// Stop after so many rounds in a row that gained nothing; 0 means never.
    pub(crate) patience: usize,
    /// An attacker who learns against each round's policy, and from whom the next one learns; none if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) red_team: Option<RedTeamConfig>,
}

/// How pairs are chosen to ask about, a tenth always at random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Query {
    /// By chance.
    Random,
    /// Those of which the answers so far say least, as a reward of readable features sees it.
    Bald,
}

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answers {
    /// Simulated people, at once.
    Simulated,
    /// People, who are waited for: by `rein feedback serve`, or by what is imported.
    People,
}

/// What a round's reward model begins as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RewardStart {
    /// The fine-tuned model with a new head.
    Fresh,
    /// The reward model of the round before.
    Continued,
}

impl Default for LoopConfig {
    fn default() -> Self {
        Self {
            rounds: 2,
            pairs: 1024,
            heldout_pairs: 256,
            candidates: 4,
            query: Query::Bald,
            answers: Answers::Simulated,
            reward: RewardStart::Fresh,
            rate_factor: 1.0,
            kl_factor: 1.0,
            entropy_factor: 1.0,
            judge: None,
            target_win_rate: None,
            patience: 1,
            red_team: None,
        }
    }
}

impl LoopConfig {
    /// What can't be run.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut refuse = |is_bad: bool, why: &str| {
            if is_bad {
                problems.push(why.to_owned());
            }
        };
        refuse(self.rounds == 0, "`loop.rounds` is at least 1");
        refuse(self.pairs == 0, "`loop.pairs` is at least 1");
        refuse(self.candidates == 0, "`loop.candidates` is at least 1");
        for (key, value) in [
            ("rate_factor", self.rate_factor),
            ("kl_factor", self.kl_factor),
            ("entropy_factor", self.entropy_factor),
        ] {
            let is_good = value.is_finite() && value > 0.0;
            refuse(!is_good, &format!("`loop.{key}` is above 0, not {value}"));
        }
        let is_share = |it: f64| it > 0.5 && it <= 1.0;
        refuse(
            self.target_win_rate.is_some_and(|it| !is_share(it)),
            "`loop.target_win_rate` is above 0.5 and up to 1",
        );
        problems.extend(self.red_team.iter().flat_map(RedTeamConfig::problems));
        problems
    }
}
