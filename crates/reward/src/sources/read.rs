//! Rewards as configs have them: a table, whose `kind` says what its other keys are.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::{ErrorPolicy, RewardKind, RewardSource, RuleSource};
use crate::ensemble::Pessimism;
use crate::rules::RuleConfig;

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KindName {
    Model,
    Gold,
    LogRatio,
    Features,
    Length,
    Regex,
    Format,
    ExactAnswer,
    NumericAnswer,
    Keywords,
    Repetition,
    Language,
    Json,
    Command,
    Http,
}

/// Keys that all rules have.
const OF_ALL: &str = "`kind`, `name`, `weight`, `on_error`, `default`";

impl<'de> Deserialize<'de> for RewardSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = RewardSource;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table with the `kind` of a reward")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RewardSource, A::Error> {
        let (mut kind, mut weight, mut name, mut on_error, mut default) = Default::default();
        let (mut person, mut pessimism) = (None, None);
        let mut rest = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "kind" => kind = Some(map.next_value::<KindName>()?),
                "weight" => weight = Some(map.next_value::<f32>()?),
                "person" => person = Some(map.next_value::<PathBuf>()?),
                "pessimism" => pessimism = Some(map.next_value::<Pessimism>()?),
                "name" => name = Some(map.next_value::<String>()?),
                "on_error" => on_error = Some(map.next_value::<ErrorPolicy>()?),
                "default" => default = Some(map.next_value::<f32>()?),
                _ => {
                    rest.insert(key, map.next_value::<Value>()?);
                }
            }
        }
        let kind = kind.ok_or_else(|| A::Error::missing_field("kind"))?;
        if person.is_some() && !matches!(kind, KindName::Model) {
            return Err(A::Error::custom("`person` belongs to the kind \"model\""));
        }
        if pessimism.is_some() && !matches!(kind, KindName::Model) {
            return Err(A::Error::custom("`pessimism` belongs to the kind \"model\""));
        }
        let kind = match kind {
            KindName::Model | KindName::Gold | KindName::LogRatio | KindName::Features => {
                let of_rules = [
                    ("name", name.is_some()),
                    ("on_error", on_error.is_some()),
                    ("default", default.is_some()),
                ];
                let found = of_rules.into_iter().find(|(_, is_set)| *is_set).map(|(key, _)| key);
                let has_keys = matches!(kind, KindName::LogRatio | KindName::Features);
                let other = rest.keys().next().filter(|_| !has_keys).map(String::as_str);
                if let Some(key) = found.or(other) {
                    let known = &["kind", "weight", "person", "pessimism"];
                    return Err(A::Error::unknown_field(key, known));
                }
                match kind {
                    KindName::Gold => RewardKind::Gold,
                    KindName::LogRatio => RewardKind::LogRatio(with_keys(rest)?),
                    KindName::Features => RewardKind::Features(with_keys(rest)?),
                    _ => RewardKind::Model,
                }
            }
            rule => RewardKind::Rule(RuleSource {
                rule: read(rule, rest).map_err(A::Error::custom)?,
                name,
                on_error: on_error.unwrap_or_default(),
                default: default.unwrap_or(0.0),
            }),
        };
        Ok(RewardSource { kind, weight: weight.unwrap_or(1.0), person, pessimism })
    }
}

fn read(kind: KindName, keys: Map<String, Value>) -> Result<RuleConfig, String> {
    match kind {
        KindName::Model | KindName::Gold | KindName::LogRatio | KindName::Features => {
            unreachable!("they are no rules")
        }
        KindName::Length => strictly(keys).map(RuleConfig::Length),
        KindName::Regex => strictly(keys).map(RuleConfig::Regex),
        KindName::Format => strictly(keys).map(RuleConfig::Format),
        KindName::ExactAnswer => strictly(keys).map(RuleConfig::ExactAnswer),
        KindName::NumericAnswer => strictly(keys).map(RuleConfig::NumericAnswer),
        KindName::Keywords => strictly(keys).map(RuleConfig::Keywords),
        KindName::Repetition => strictly(keys).map(RuleConfig::Repetition),
        KindName::Language => strictly(keys).map(RuleConfig::Language),
        KindName::Json => strictly(keys).map(RuleConfig::Json),
        KindName::Command => strictly(keys).map(RuleConfig::Command),
        KindName::Http => strictly(keys).map(RuleConfig::Http),
    }
}

fn with_keys<T: DeserializeOwned, E: Error>(keys: Map<String, Value>) -> Result<T, E> {
    serde_path_to_error::deserialize(Value::Object(keys)).map_err(E::custom)
}

/// Errors name the key; that of an unknown one begins as serde's does, and names the keys of all rules, too.
fn strictly<T: DeserializeOwned>(keys: Map<String, Value>) -> Result<T, String> {
    serde_path_to_error::deserialize(Value::Object(keys)).map_err(|error| {
        let (path, reason) = (error.path().to_string(), error.inner().to_string());
        if reason.starts_with("unknown field") {
            format!("{reason}, {OF_ALL}")
        } else {
            format!("`{path}`: {reason}")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> RewardSource {
        serde_json::from_str(text).expect("reads")
    }

    #[test]
    fn sources_are_read_strictly() {
        let read = |text: &str| serde_json::from_str::<RewardSource>(text);
        assert_eq!(source(r#"{"kind": "model"}"#), RewardSource::MODEL);
        let gold = RewardSource { kind: RewardKind::Gold, weight: -0.5, ..RewardSource::MODEL };
        assert_eq!(source(r#"{"kind": "gold", "weight": -0.5}"#), gold);
        assert!(read(r#"{"kind": "gold", "wait": 1}"#).is_err());
        assert!(read(r#"{"kind": "gold", "name": "a"}"#).is_err());
        assert!(read(r#"{"kind": "log_ratio", "policy": 1}"#).is_err());
        assert!(read(r#"{"kind": "log_ratio", "name": "a"}"#).is_err());
        assert!(read(r#"{"kind": "features", "policy": "a"}"#).is_err());
        assert!(read(r#"{"kind": "gold", "pessimism": {"kind": "minimum"}}"#).is_err());
        assert!(read(r#"{"kind": "golden"}"#).is_err() && read(r#"{"weight": 1}"#).is_err());
        let told = |text: &str| read(text).expect_err("is refused").to_string();
        let unknown = told(r#"{"kind": "length", "maxi": 3}"#);
        assert!(unknown.starts_with("unknown field `maxi`, expected one of `unit`"), "{unknown}");
        assert!(unknown.contains("`on_error`"), "{unknown}");
        let wrong = told(r#"{"kind": "length", "max": "many"}"#);
        assert!(wrong.starts_with("`max`: invalid type: string \"many\""), "{wrong}");
    }

    #[test]
    fn what_is_written_is_read_again() {
        let all = [
            r#"{"weight": 0.1, "kind": "length", "max": 10, "unit": "tokens", "name": "brief"}"#,
            r#"{"kind": "regex", "must_match": ["a"], "on_error": "skip", "default": -0.1}"#,
            r#"{"kind": "format", "tags": ["think", "answer"]}"#,
            r#"{"kind": "exact_answer", "column": "truth", "tag": "answer"}"#,
            r#"{"kind": "log_ratio", "policy": "a", "base": "b", "clip": 2.0, "weight": 0.5}"#,
            r#"{"kind": "features", "path": "a.json"}"#,
            r#"{"kind": "numeric_answer"}"#,
            r#"{"kind": "keywords", "required": ["a"], "forbidden": ["b"]}"#,
            r#"{"kind": "repetition", "n": 4}"#,
            r#"{"kind": "language", "languages": ["en"]}"#,
            r#"{"kind": "json", "schema": {"type": "object", "required": ["a"]}}"#,
            r#"{"kind": "json", "schema": "schema.json", "fenced": true}"#,
            r#"{"kind": "command", "command": ["judge"], "columns": ["a"]}"#,
            r#"{"kind": "http", "url": "https://judge/"}"#,
            r#"{"kind": "gold", "weight": 0.25}"#,
            r#"{"kind": "model", "pessimism": {"kind": "lower_bound", "coefficient": 2.0}}"#,
        ];
        for text in all {
            let read = source(text);
            let written = serde_json::to_string(&read).expect("writes");
            assert_eq!(source(&written), read, "{written}");
            assert_eq!(read.kind.name(), source(text).kind.name());
        }
    }
}
