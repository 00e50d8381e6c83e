//! How results are measured, and by whom.

use std::path::PathBuf;

use rein_reward::{RewardKind, RewardSource, RuleSource, name_problem};
use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// How the result is measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct EvaluateConfig {
    /// Held-out prompts that each model completes.
    pub(crate) prompts: usize,
    /// Replies of the fine-tuned model of which the reward model picks the best, to compare with; 1 for
    /// no such comparison.
    pub(crate) best_of: usize,
    /// Completions of each model that are shown.
    pub(crate) samples: usize,
    /// Pairs of replies, of the newest policy and the fine-tuned model, that people are asked about.
    pub(crate) people: usize,
    /// The column of prompts by which figures are told apart; the help desk's prompts have a category of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) category: Option<String>,
    /// A file of prompts with rules that every reply to them must keep.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) regression: Option<PathBuf>,
    /// Policies that are measured beside the run's own, and that its newest one is compared with: folders, or names in
    /// the Hub.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) against: Vec<PathBuf>,
    /// Who scores replies beside the truth and the run's reward model.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) judges: Vec<JudgeSource>,
}

impl Default for EvaluateConfig {
    fn default() -> Self {
        Self {
            prompts: 256,
            best_of: 1,
            samples: 3,
            people: 0,
            category: None,
            regression: None,
            against: Vec::new(),
            judges: Vec::new(),
        }
    }
}

/// Who scores replies: a rule, or a reward model that isn't the run's.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum JudgeSource {
    /// Another reward model.
    Model(JudgeModel),
    /// A rule, as `rl.rewards` have it.
    #[serde(untagged)]
    Rule(RuleSource),
}

/// A reward model that reads the run's tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct JudgeModel {
    /// Its folder, or its name in the Hub.
    pub(crate) path: PathBuf,
    /// What tables call it.
    pub(crate) name: String,
}

impl<'de> Deserialize<'de> for JudgeSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut keys = Map::<String, Value>::deserialize(deserializer)?;
        if keys.get("kind").is_some_and(|it| it == "model") {
            keys.remove("kind");
            let model = serde_json::from_value(Value::Object(keys)).map_err(D::Error::custom)?;
            return Ok(Self::Model(model));
        }
        if keys.contains_key("weight") {
            return Err(D::Error::custom("a judge's scores aren't weighed; leave out `weight`"));
        }
        let source: RewardSource =
            serde_json::from_value(Value::Object(keys)).map_err(D::Error::custom)?;
        match source.kind {
            RewardKind::Rule(rule) => Ok(Self::Rule(rule)),
            other => Err(D::Error::custom(format!(
                "\"{}\" can't be a judge; name a rule or a \"model\"",
                other.name()
            ))),
        }
    }
}

/// Who judges without being named.
pub(crate) const GOLD: &str = "gold";
pub(crate) const REWARD: &str = "reward";

impl JudgeSource {
    /// What tables call it.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Model(model) => &model.name,
            Self::Rule(rule) => rule.name(),
        }
    }

    /// The columns of prompts that it reads.
    fn columns(&self) -> &[String] {
        match self {
            Self::Model(_) => &[],
            Self::Rule(source) => source.rule.columns(),
        }
    }

    fn problems(&self, key: &str) -> Vec<String> {
        match self {
            Self::Model(model) => name_problem(&model.name, key).into_iter().collect(),
            Self::Rule(rule) => rule.problems(key),
        }
    }
}

impl EvaluateConfig {
    /// The columns of held-out prompts that are read.
    pub(crate) fn columns(&self) -> Vec<String> {
        let of_judges = self.judges.iter().flat_map(JudgeSource::columns);
        of_judges.chain(&self.category).cloned().collect()
    }

    /// What can't be measured.
    pub(super) fn problems(&self) -> Vec<String> {
        let counts = [("prompts", self.prompts), ("best_of", self.best_of)];
        let zeros = counts.iter().filter(|(_, count)| *count == 0);
        let mut problems: Vec<String> =
            zeros.map(|(key, _)| format!("`evaluate.{key}` must be above 0")).collect();
        for (place, path) in self.against.iter().enumerate() {
            if self.against[..place].contains(path) {
                problems.push(format!("`evaluate.against` names {} twice", path.display()));
            }
        }
        for (place, judge) in self.judges.iter().enumerate() {
            let (key, name) = (format!("evaluate.judges[{place}]"), judge.name());
            problems.extend(judge.problems(&key));
            let is_twice = self.judges[..place].iter().any(|it| it.name() == name);
            if is_twice || name == REWARD {
                problems.push(format!(
                    "`{key}` is another judge called \"{name}\"; give it a `name` of its own"
                ));
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<JudgeSource, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn judges_are_rules_or_models_and_are_written_as_they_are_read() {
        for text in [
            r#"{"kind": "model", "path": "a", "name": "referee"}"#,
            r#"{"kind": "length", "max": 9, "name": "brief", "on_error": "skip"}"#,
            r#"{"kind": "exact_answer", "column": "truth"}"#,
        ] {
            let judge = read(text).expect("reads");
            let written = serde_json::to_string(&judge).expect("writes");
            assert_eq!(read(&written), Ok(judge), "{written}");
        }
        let refused = [
            (r#"{"kind": "gold"}"#, "\"gold\" can't be a judge"),
            (r#"{"kind": "length", "max": 9, "weight": 2}"#, "leave out `weight`"),
            (r#"{"kind": "model", "path": "a"}"#, "missing field `name`"),
            (r#"{"kind": "model", "path": "a", "name": "b", "max": 3}"#, "unknown field `max`"),
            (r#"{"kind": "length", "most": 9}"#, "unknown field `most`"),
            (r#"{"max": 9}"#, "missing field `kind`"),
        ];
        for (text, reason) in refused {
            let told = read(text).expect_err("is refused");
            assert!(told.contains(reason), "{text}: {told}");
        }
    }

    #[test]
    fn each_judge_has_a_name_of_its_own() {
        let of = |judges: &str| EvaluateConfig {
            judges: serde_json::from_str(judges).expect("reads"),
            ..EvaluateConfig::default()
        };
        let good = of(
            r#"[{"kind": "model", "path": "a", "name": "x"}, {"kind": "exact_answer", "column": "c"}]"#,
        );
        assert!(good.problems().is_empty() && good.columns() == ["c"]);
        let taken = of(
            r#"[{"kind": "model", "path": "a", "name": "gold"}, {"kind": "length", "max": 2, "name": "reward"}]"#,
        );
        let told = taken.problems();
        assert!(
            told[0].starts_with("`evaluate.judges[0].name` is \"gold\"; a name has"),
            "{told:?}"
        );
        assert!(told[1].starts_with("`evaluate.judges[1]` is another judge called \"reward\""));
        assert_eq!(
            of(r#"[{"kind": "length", "max": 2}, {"kind": "length", "max": 3}]"#).problems().len(),
            1
        );
    }
}
