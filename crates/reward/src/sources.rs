//! Which rewards a run asks, as its config says it.

use serde::{Deserialize, Serialize};

/// A reward that a run asks for, and what it counts for beside others.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RewardSource {
    /// Which reward.
    pub kind: RewardKind,
    /// What its scores are multiplied by; below 0 it is a penalty, at 0 it is only measured.
    #[serde(default = "one")]
    pub weight: f32,
}

/// The rewards that a config can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RewardKind {
    /// The run's [reward model](crate::LearnedReward).
    Model,
    /// The [truth](crate::Gold) of the help-desk world.
    Gold,
}

impl RewardKind {
    /// As configs have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Gold => "gold",
        }
    }
}

impl RewardSource {
    /// The reward model alone.
    pub const MODEL: Self = Self { kind: RewardKind::Model, weight: 1.0 };

    /// What is wrong with a list of them, which stands at `key`.
    pub fn problems(sources: &[Self], key: &str) -> Vec<String> {
        let mut problems = Vec::new();
        for (place, source) in sources.iter().enumerate() {
            let name = source.kind.name();
            if !source.weight.is_finite() {
                problems.push(format!("`{key}`: the weight of \"{name}\" must be finite"));
            }
            if sources[..place].iter().any(|it| it.kind == source.kind) {
                problems.push(format!("`{key}` holds \"{name}\" twice"));
            }
        }
        if !sources.is_empty() && sources.iter().all(|it| it.weight == 0.0) {
            problems.push(format!("`{key}` needs a weight that isn't 0"));
        }
        problems
    }
}

fn one() -> f32 {
    1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_read_strictly() {
        let read = serde_json::from_str::<RewardSource>;
        assert_eq!(read(r#"{"kind": "model"}"#).expect("valid"), RewardSource::MODEL);
        let gold = RewardSource { kind: RewardKind::Gold, weight: -0.5 };
        assert_eq!(read(r#"{"kind": "gold", "weight": -0.5}"#).expect("valid"), gold);
        assert!(read(r#"{"kind": "gold", "wait": 1}"#).is_err());
        assert!(read(r#"{"kind": "golden"}"#).is_err() && read(r#"{"weight": 1}"#).is_err());
    }

    #[test]
    fn problems_name_the_list() {
        let of = |sources: &[(RewardKind, f32)]| {
            let sources =
                sources.iter().map(|(kind, weight)| RewardSource { kind: *kind, weight: *weight });
            RewardSource::problems(&sources.collect::<Vec<_>>(), "rl.rewards")
        };
        let [model, gold] = [RewardKind::Model, RewardKind::Gold];
        assert!(of(&[]).is_empty() && of(&[(model, 0.0), (gold, -1.0)]).is_empty());
        assert_eq!(of(&[(model, 1.0), (model, 2.0)]), ["`rl.rewards` holds \"model\" twice"]);
        let endless = "`rl.rewards`: the weight of \"gold\" must be finite";
        assert_eq!(of(&[(gold, f32::NAN)]), [endless]);
        assert_eq!(of(&[(gold, 0.0)]), ["`rl.rewards` needs a weight that isn't 0"]);
    }
}
