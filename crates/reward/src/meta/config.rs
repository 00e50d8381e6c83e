use serde::{Deserialize, Serialize};

use super::descent::Descent;

/// How a reward for one person is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// A few coordinates in directions in which people differ.
    #[default]
    Basis,
    /// A start that lies near everybody's head (Nichol et al., 2018).
    Reptile,
    /// A start from which a few steps help most, by first-order MAML (Finn et al., 2017).
    Fomaml,
}

impl Method {
    /// As configs have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Basis => "basis",
            Self::Reptile => "reptile",
            Self::Fomaml => "fomaml",
        }
    }
}

/// What is learned of many people, so that little is needed of the next.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PersonalConfig {
    /// How a person's reward is found.
    pub method: Method,
    /// Of `basis`: in how many directions people may differ.
    pub rank: usize,
    /// Whether the trunk learns together with a basis and everybody's coordinates, so that its features tell
    /// of what people disagree on; else it learns what most of them say.
    pub joint: bool,
    /// Of `reptile` and `fomaml`: step size with which the start becomes a person's head.
    pub inner_learning_rate: f64,
    /// Steps of that.
    pub inner_steps: usize,
    /// Step size of the start itself.
    pub outer_learning_rate: f64,
    /// Steps of that.
    pub outer_steps: usize,
    /// People of one of those.
    pub people: usize,
    /// Answers of each of them that the inner steps see.
    pub labels: usize,
}

impl Default for PersonalConfig {
    fn default() -> Self {
        Self {
            method: Method::Basis,
            rank: 4,
            joint: false,
            inner_learning_rate: 0.1,
            inner_steps: 5,
            outer_learning_rate: 0.1,
            outer_steps: 300,
            people: 16,
            labels: 8,
        }
    }
}

impl PersonalConfig {
    /// What is wrong with these settings, which stand at `key`.
    pub fn problems(&self, key: &str) -> Vec<String> {
        let counts = [
            ("rank", self.rank),
            ("inner_steps", self.inner_steps),
            ("outer_steps", self.outer_steps),
            ("people", self.people),
            ("labels", self.labels),
        ];
        let rates = [
            ("inner_learning_rate", self.inner_learning_rate),
            ("outer_learning_rate", self.outer_learning_rate),
        ];
        let counts = counts.iter().filter(|(_, count)| *count == 0);
        let rates = rates.iter().filter(|(_, rate)| !(rate.is_finite() && *rate > 0.0));
        let mut names: Vec<&str> = counts.map(|(name, _)| *name).collect();
        names.extend(rates.map(|(name, _)| *name));
        let mut problems: Vec<String> =
            names.iter().map(|name| format!("`{key}.{name}` must be above 0")).collect();
        if self.rank > MAX_RANK {
            problems.push(format!("`{key}.rank` must be at most {MAX_RANK}"));
        }
        problems
    }

    /// The steps that suit a start to a person.
    pub fn inner(&self) -> Descent {
        Descent { learning_rate: self.inner_learning_rate, steps: self.inner_steps }
    }
}

/// More directions than a few answers can tell apart.
pub(super) const MAX_RANK: usize = 64;
