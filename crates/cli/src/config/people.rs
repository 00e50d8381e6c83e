//! A policy for each of some people.

use serde::{Deserialize, Serialize};

/// Who gets a policy of their own, and how. Their tastes are told from their answers by `reward.personal`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PeopleConfig {
    /// What a person's reward is used for.
    pub(crate) policy: PersonalPolicy,
    /// Whose replies are picked from, or which model goes on learning.
    pub(crate) start: PersonalStart,
    /// Replies to a prompt among which the person's reward picks.
    pub(crate) samples: usize,
    /// Of `lora`: steps of reinforcement learning; `rl.steps` if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) steps: Option<usize>,
    /// Of `lora`: its learning rate; twice `rl.optimizer.learning_rate` if left out, or `rl`'s own where that trains adapters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) learning_rate: Option<f64>,
    /// Whose answers of the run's store are looked at; everybody's if left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) annotators: Vec<String>,
    /// Simulated people of `data.population` who join when the policy is there.
    pub(crate) newcomers: usize,
    /// Pairs that each of those judges.
    pub(crate) answers: usize,
}

/// What a person's reward is used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PersonalPolicy {
    /// Scores alone.
    None,
    /// It picks the best of several replies.
    #[default]
    Rerank,
    /// The run's policy goes on learning what it says, in an adapter of the person's own.
    Lora,
}

/// With what a person's own policy begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PersonalStart {
    /// With the fine-tuned model, which hasn't lost what others don't like.
    #[default]
    Sft,
    /// With the run's policy, which knows what all like.
    Rl,
    /// With the one of whose replies the best are better, by the person's reward.
    Best,
}

impl PersonalPolicy {
    /// As configs have it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Rerank => "rerank",
            Self::Lora => "lora",
        }
    }
}

impl Default for PeopleConfig {
    fn default() -> Self {
        Self {
            policy: PersonalPolicy::default(),
            start: PersonalStart::default(),
            samples: 16,
            steps: None,
            learning_rate: None,
            annotators: Vec::new(),
            newcomers: 8,
            answers: 16,
        }
    }
}

impl PeopleConfig {
    /// What can't be done.
    pub(super) fn problems(&self) -> Vec<String> {
        let counts = [
            ("samples", self.samples),
            ("steps", self.steps.unwrap_or(1)),
            ("newcomers", self.newcomers),
            ("answers", self.answers),
        ];
        let zeros = counts.iter().filter(|(_, count)| *count == 0);
        let rate =
            self.learning_rate.filter(|it| !(it.is_finite() && *it > 0.0)).map(|_| "learning_rate");
        let keys = zeros.map(|(key, _)| *key).chain(rate);
        keys.map(|key| format!("`personal.{key}` must be above 0")).collect()
    }
}
