//! `adapter_config.json`, as PEFT writes and reads it.

use serde_json::{Map, Value, json};

use super::places::linear_places;
use crate::config::{Family, ModelConfig};
use crate::lora::{LoraConfig, Targets};

/// What an adapter's folder says about it.
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterConfig {
    /// The model that it was trained on: a folder or a name on the Hub.
    pub base_model_name_or_path: Option<String>,
    /// Where its matrices stand, and how they count.
    pub lora: LoraConfig,
    /// Whether it brings a score head of its own.
    pub has_score: bool,
}

/// Keys that don't change what an adapter computes once it is trained.
const HARMLESS: [&str; 20] = [
    "auto_mapping",
    "base_model_name_or_path",
    "exclude_modules",
    "fan_in_fan_out",
    "inference_mode",
    "init_lora_weights",
    "lora_alpha",
    "lora_dropout",
    "megatron_core",
    "modules_to_save",
    "parent_library",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "r",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
    "use_rslora",
];

/// Ways to begin that change the base model, which the adapter's files don't hold.
const PLAIN_BEGINNINGS: [&str; 3] = ["gaussian", "eva", "orthogonal"];

impl AdapterConfig {
    /// What is to be said of new adapters of this model.
    pub fn new(lora: &LoraConfig, base: &ModelConfig, has_score: bool) -> Self {
        let origin = base.origin.as_deref().map(|folder| folder.display().to_string());
        Self { base_model_name_or_path: origin, lora: lora.clone(), has_score }
    }

    /// Reads the file's keys; what would change the numbers and isn't supported is refused by name.
    pub(crate) fn parse(raw: &Map<String, Value>) -> Result<Self, String> {
        match raw.get("peft_type").and_then(Value::as_str) {
            Some("LORA") => {}
            other => {
                let found = other.unwrap_or("missing");
                return Err(format!("`peft_type` is {found}; only LORA is supported"));
            }
        }
        refuse_unknown(raw)?;
        let number = |key: &str| raw.get(key).and_then(Value::as_f64);
        let rank = raw.get("r").and_then(Value::as_u64).filter(|rank| (1..=1 << 16).contains(rank));
        let lora = LoraConfig {
            rank: rank.ok_or("`r` must be a number above 0")? as usize,
            alpha: number("lora_alpha").ok_or("`lora_alpha` is missing or no number")?,
            dropout: number("lora_dropout").unwrap_or(0.0),
            use_rslora: raw.get("use_rslora").and_then(Value::as_bool).unwrap_or(false),
            targets: targets(raw.get("target_modules"))?,
        };
        if let Some(problem) = lora.problems("lora").into_iter().next() {
            return Err(problem);
        }
        let base = raw.get("base_model_name_or_path").and_then(Value::as_str);
        Ok(Self {
            base_model_name_or_path: base.map(str::to_owned),
            lora,
            has_score: has_score(raw.get("modules_to_save"))?,
        })
    }

    /// The file's content for an adapter of a model of this shape.
    pub(crate) fn to_json(&self, model: &ModelConfig) -> Value {
        let LoraConfig { rank, alpha, dropout, use_rslora, .. } = self.lora;
        let alpha = if alpha.fract() == 0.0 { json!(alpha as i64) } else { json!(alpha) };
        let task = if self.has_score { "SEQ_CLS" } else { "CAUSAL_LM" };
        json!({
            "alpha_pattern": {},
            "auto_mapping": null,
            "base_model_name_or_path": self.base_model_name_or_path,
            "bias": "none",
            "fan_in_fan_out": model.family == Family::Gpt2,
            "inference_mode": true,
            "init_lora_weights": true,
            "layer_replication": null,
            "layers_pattern": null,
            "layers_to_transform": null,
            "lora_alpha": alpha,
            "lora_dropout": dropout,
            "modules_to_save": self.has_score.then_some(["score"]),
            "peft_type": "LORA",
            "r": rank,
            "rank_pattern": {},
            "revision": null,
            "target_modules": self.target_modules(model),
            "task_type": task,
            "use_dora": false,
            "use_rslora": use_rslora,
        })
    }

    fn target_modules(&self, model: &ModelConfig) -> Vec<String> {
        match &self.lora.targets {
            Targets::Modules(names) => names.clone(),
            Targets::AllLinear => {
                let places = linear_places(model);
                let mut names: Vec<String> =
                    places.iter().map(|place| place.short_name().to_owned()).collect();
                names.sort_unstable();
                names.dedup();
                names
            }
        }
    }
}

/// A key that we don't know, or know to change the numbers, must be off.
fn refuse_unknown(raw: &Map<String, Value>) -> Result<(), String> {
    let is_off = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(items) => items.is_empty(),
        Value::String(text) => text == "none",
        _ => false,
    };
    let strange =
        raw.iter().find(|(key, value)| !HARMLESS.contains(&key.as_str()) && !is_off(value));
    if let Some((key, value)) = strange {
        return Err(format!("`{key}` is {value}, which isn't supported"));
    }
    match raw.get("init_lora_weights") {
        None | Some(Value::Null | Value::Bool(_)) => Ok(()),
        Some(Value::String(name)) if PLAIN_BEGINNINGS.contains(&name.as_str()) => Ok(()),
        Some(other) => Err(format!(
            "`init_lora_weights` is {other}: such an adapter belongs to a changed base model; save it \
             with PEFT's `path_initial_model_for_weight_conversion`"
        )),
    }
}

fn targets(value: Option<&Value>) -> Result<Targets, String> {
    let names = || {
        let names = value?.as_array()?.iter().map(|name| Some(name.as_str()?.to_owned()));
        names.collect::<Option<Vec<_>>>().filter(|names| !names.is_empty())
    };
    match value.and_then(Value::as_str) {
        Some("all-linear") => Ok(Targets::AllLinear),
        Some(pattern) => {
            Err(format!("`target_modules` is the pattern `{pattern}`; list the layers"))
        }
        None => names().map(Targets::Modules).ok_or("`target_modules` names no layers".to_owned()),
    }
}

fn has_score(value: Option<&Value>) -> Result<bool, String> {
    let saved = value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    // PEFT lists both of the names that classifiers' heads have.
    match saved.iter().find(|name| !matches!(name.as_str(), Some("score" | "classifier"))) {
        Some(name) => Err(format!("`modules_to_save` holds {name}; only score is supported")),
        None => Ok(!saved.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(change: Value) -> Result<AdapterConfig, String> {
        let Value::Object(mut raw) = json!({
            "peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"],
            "bias": "none", "rank_pattern": {}, "use_dora": false, "corda_config": null,
        }) else {
            unreachable!()
        };
        raw.extend(change.as_object().expect("an object").clone());
        AdapterConfig::parse(&raw)
    }

    #[test]
    fn what_changes_the_numbers_is_refused_by_name() {
        assert!(parse(json!({})).is_ok());
        for (key, value) in [
            ("bias", json!("all")),
            ("use_dora", json!(true)),
            ("rank_pattern", json!({ "q_proj": 2 })),
            ("layer_replication", json!([[0, 4]])),
            ("trainable_token_indices", json!([3])),
            ("init_lora_weights", json!("pissa")),
            ("modules_to_save", json!(["lm_head"])),
            ("target_modules", json!(".*q_proj")),
            ("target_modules", json!([])),
            ("peft_type", json!("IA3")),
            ("r", json!(0)),
            ("lora_alpha", json!("8")),
        ] {
            let error = parse(json!({ key: value })).expect_err(key);
            assert!(error.contains(&format!("`{key}`")), "{error}");
        }
    }

    #[test]
    fn the_scale_follows_the_rank_or_its_root() {
        let scale = |rslora: bool| parse(json!({ "use_rslora": rslora })).map(|it| it.lora.scale());
        assert_eq!([scale(false), scale(true)], [Ok(2.0), Ok(4.0)]);
    }
}
