//! Which rewards a run asks, as its config says it.

mod read;

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ensemble::Pessimism;
use crate::inverse::{FeaturesSource, LogRatioSource};
use crate::rules::{OnError, Post, PostError, Posted, Received, Refusal, RuleConfig, RuleReward};

/// A reward that a run asks for, and what it counts for beside others.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RewardSource {
    /// Which reward.
    #[serde(flatten)]
    pub kind: RewardKind,
    /// What its scores are multiplied by; below 0 it is a penalty, at 0 it is only measured.
    pub weight: f32,
    /// Of the reward model: [whose](crate::meta) scores, as `rein reward adapt` has written the person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub person: Option<PathBuf>,
    /// What is made of the heads of a reward model that is an [ensemble](crate::ensemble); their mean if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pessimism: Option<Pessimism>,
}

/// The rewards that a config can name.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum RewardKind {
    /// The run's [reward model](crate::LearnedReward).
    Model,
    /// The [truth](crate::Gold) of the help-desk world.
    Gold,
    /// A policy [against its base](crate::inverse::LogRatio).
    LogRatio(LogRatioSource),
    /// Weights of named [features](crate::inverse::FeatureReward).
    Features(FeaturesSource),
    /// A [rule](crate::rules).
    #[serde(untagged)]
    Rule(RuleSource),
}

/// A rule, and what becomes of completions that it can't judge.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RuleSource {
    /// Which rule.
    #[serde(flatten)]
    pub rule: RuleConfig,
    /// What metrics call it, if not by its kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What happens where it can't judge.
    pub on_error: ErrorPolicy,
    /// The score of a completion that it can't judge, with `skip`.
    pub default: f32,
}

/// What happens where a rule can't judge a completion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorPolicy {
    /// The run ends with an error.
    #[default]
    Stop,
    /// The completion has the rule's `default` as its score; metrics count it.
    Skip,
}

/// Names that aren't a rule's to take: those of other rewards.
const TAKEN: [&str; 8] =
    ["learned", "learned_mean", "learned_std", "gold", "mixture", "model", "log_ratio", "features"];

impl RuleSource {
    /// What metrics call it.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(self.rule.kind())
    }

    /// The rule as a reward; an endpoint is asked through `client`.
    ///
    /// # Errors
    /// What can't be a rule.
    pub fn build(&self, client: &Arc<dyn Post>) -> Result<RuleReward, Refusal> {
        let on_error = match self.on_error {
            ErrorPolicy::Stop => OnError::Stop,
            ErrorPolicy::Skip => OnError::Skip(self.default),
        };
        Ok(RuleReward::new(self.name(), self.rule.build(client)?).on_error(on_error))
    }

    /// What is wrong with it, which stands at `key`.
    pub fn problems(&self, key: &str) -> Vec<String> {
        let mut problems: Vec<String> = name_problem(self.name(), key).into_iter().collect();
        if !self.default.is_finite() {
            problems.push(format!("`{key}.default` must be finite"));
        }
        if self.default != 0.0 && self.on_error == ErrorPolicy::Stop {
            problems.push(format!("`{key}.default` does nothing unless `on_error` is \"skip\""));
        }
        let nobody: Arc<dyn Post> = Arc::new(Nobody);
        if let Err(refusal) = self.build(&nobody) {
            problems.push(format!("`{key}.{}` {}", refusal.key, refusal.reason));
        }
        problems
    }
}

/// What is wrong with the name of who scores, which stands at `key`.
pub fn name_problem(name: &str, key: &str) -> Option<String> {
    let is_sign = |it: char| it.is_ascii_alphanumeric() || matches!(it, '_' | '-' | '.');
    let is_name = (1..=64).contains(&name.len()) && name.chars().all(is_sign);
    (!is_name || TAKEN.contains(&name)).then(|| {
        format!(
            "`{key}.name` is {name:?}; a name has up to 64 letters, digits, `_`, `-` and `.`, and isn't \
             another reward's"
        )
    })
}

/// Reaches nobody: for a look whether an endpoint could be asked.
struct Nobody;

impl Post for Nobody {
    fn post(&self, _: &Posted<'_>) -> Result<Received, PostError> {
        Err(PostError::Unreachable("there is no network here".into()))
    }
}

impl RewardKind {
    /// As configs and metrics tell it from others.
    pub fn name(&self) -> &str {
        match self {
            Self::Model => "model",
            Self::Gold => "gold",
            Self::LogRatio(_) => "log_ratio",
            Self::Features(_) => "features",
            Self::Rule(rule) => rule.name(),
        }
    }

    /// The columns of prompts that it reads.
    pub fn columns(&self) -> &[String] {
        match self {
            Self::Model | Self::Gold | Self::LogRatio(_) | Self::Features(_) => &[],
            Self::Rule(source) => source.rule.columns(),
        }
    }
}

impl RewardSource {
    /// The reward model alone.
    pub const MODEL: Self =
        Self { kind: RewardKind::Model, weight: 1.0, person: None, pessimism: None };

    /// What is wrong with a list of them, which stands at `key`.
    pub fn problems(sources: &[Self], key: &str) -> Vec<String> {
        let mut problems = Vec::new();
        for (place, source) in sources.iter().enumerate() {
            let name = source.kind.name();
            if !source.weight.is_finite() {
                problems.push(format!("`{key}`: the weight of \"{name}\" must be finite"));
            }
            if sources[..place].iter().any(|it| it.kind.name() == name) {
                let hint = match &source.kind {
                    RewardKind::Rule(_) => "; give one of them a `name` of its own",
                    _ => "",
                };
                problems.push(format!("`{key}` holds \"{name}\" twice{hint}"));
            }
            let key = format!("{key}[{place}]");
            if let Some(pessimism) = source.pessimism {
                problems.extend(pessimism.problem(&format!("{key}.pessimism")));
            }
            match &source.kind {
                RewardKind::Rule(rule) => problems.extend(rule.problems(&key)),
                RewardKind::LogRatio(source) => problems.extend(source.problems(&key)),
                RewardKind::Model | RewardKind::Gold | RewardKind::Features(_) => {}
            }
        }
        if !sources.is_empty() && sources.iter().all(|it| it.weight == 0.0) {
            problems.push(format!("`{key}` needs a weight that isn't 0"));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_name_the_list() {
        let of = |sources: &[(RewardKind, f32)]| {
            let sources = sources.iter().map(|(kind, weight)| RewardSource {
                kind: kind.clone(),
                weight: *weight,
                ..RewardSource::MODEL
            });
            RewardSource::problems(&sources.collect::<Vec<_>>(), "rl.rewards")
        };
        let [model, gold] = [RewardKind::Model, RewardKind::Gold];
        assert!(of(&[]).is_empty() && of(&[(model.clone(), 0.0), (gold.clone(), -1.0)]).is_empty());
        let twice = of(&[(model.clone(), 1.0), (model, 2.0)]);
        assert_eq!(twice, ["`rl.rewards` holds \"model\" twice"]);
        let endless = "`rl.rewards`: the weight of \"gold\" must be finite";
        assert_eq!(of(&[(gold.clone(), f32::NAN)]), [endless]);
        assert_eq!(of(&[(gold, 0.0)]), ["`rl.rewards` needs a weight that isn't 0"]);
    }

    #[test]
    fn problems_of_rules_name_their_keys() {
        let of = |text: &str| {
            let sources: Vec<RewardSource> = serde_json::from_str(text).expect("reads");
            RewardSource::problems(&sources, "rewards")
        };
        let length = r#"{"kind": "length", "max": 3}"#;
        assert!(
            of(&format!(r#"[{length}, {{"kind": "length", "max": 3, "name": "b"}}]"#)).is_empty()
        );
        let twice = "`rewards` holds \"length\" twice; give one of them a `name` of its own";
        assert_eq!(of(&format!("[{length}, {length}]")), [twice]);
        assert_eq!(
            of(
                r#"[{"kind": "gold"}, {"kind": "length", "min": 4, "max": 3, "name": "gold", "default": 1}]"#
            ),
            [
                "`rewards` holds \"gold\" twice; give one of them a `name` of its own",
                "`rewards[1].name` is \"gold\"; a name has up to 64 letters, digits, `_`, `-` and `.`, and \
                 isn't another reward's",
                "`rewards[1].default` does nothing unless `on_error` is \"skip\"",
                "`rewards[1].min` must be at most `max`",
            ]
        );
    }
}
