//! Writes checkpoints that transformers and its kin read.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::float::FloatType;
use super::load::{CONFIG, GENERATION};
use super::slots::{Head, backbone_prefix, model_slots};
use super::write::{Planned, SaveOptions, write_json, write_weights};
use crate::ModelError;
use crate::backend::LmBackend;
use crate::causal_lm::CausalLm;
use crate::config::{Family, ModelConfig};
use crate::named::named_tensors;
use crate::scalar_model::ScalarModel;

/// Writes a language model into `folder`: weights as f32, `config.json` and `generation_config.json`.
/// Adapters are merged into what is written.
pub fn save_causal_lm<B: LmBackend>(model: &CausalLm<B>, folder: &Path) -> Result<(), ModelError> {
    save_causal_lm_as(model, &SaveOptions::default(), folder)
}

/// [`save_causal_lm`] in another type or in smaller files.
pub fn save_causal_lm_as<B: LmBackend>(
    model: &CausalLm<B>,
    options: &SaveOptions,
    folder: &Path,
) -> Result<(), ModelError> {
    if model.decoder.has_lora() {
        return save_causal_lm_as(&model.clone().merged(), options, folder);
    }
    let config = model.config();
    let mut raw = config.raw.clone();
    let architecture = format!("{}{}", class_name(config.family), head_class(config.family));
    raw.insert("architectures".into(), json!([architecture]));
    write_config(raw, options.float, folder)?;
    write_generation_config(config, folder)?;
    write_module(model, config, Head::Vocabulary, options, folder)
}

/// Writes a scalar model as a sequence classifier with one label. `extra` goes into `config.json`;
/// adapters are merged into what is written.
pub fn save_scalar_model<B: LmBackend>(
    model: &ScalarModel<B>,
    extra: &Map<String, Value>,
    folder: &Path,
) -> Result<(), ModelError> {
    if model.decoder.has_lora() {
        return save_scalar_model(&model.clone().merged(), extra, folder);
    }
    let (config, options) = (model.config(), SaveOptions::default());
    let mut raw = config.raw.clone();
    let architecture = format!("{}ForSequenceClassification", class_name(config.family));
    raw.insert("architectures".into(), json!([architecture]));
    raw.insert("id2label".into(), json!({ "0": "LABEL_0" }));
    raw.insert("label2id".into(), json!({ "LABEL_0": 0 }));
    raw.extend(extra.clone());
    write_config(raw, options.float, folder)?;
    write_module(model, config, Head::Score, &options, folder)
}

fn class_name(family: Family) -> &'static str {
    match family {
        Family::Gpt2 => "GPT2",
        Family::Llama => "Llama",
        Family::Mistral => "Mistral",
        Family::Qwen2 => "Qwen2",
        Family::Qwen3 => "Qwen3",
        Family::GptNeox => "GPTNeoX",
    }
}

fn head_class(family: Family) -> &'static str {
    if family == Family::Gpt2 { "LMHeadModel" } else { "ForCausalLM" }
}

/// Writes `config.json` with the type of the weights: transformers 4 calls it `torch_dtype`, 5 calls
/// it `dtype`. A file that knows neither is told where it isn't f32.
pub(super) fn write_config(
    mut raw: Map<String, Value>,
    float: FloatType,
    folder: &Path,
) -> Result<(), ModelError> {
    let keys = ["dtype", "torch_dtype"];
    if float != FloatType::F32 && !keys.iter().any(|key| raw.contains_key(*key)) {
        raw.insert("torch_dtype".into(), Value::Null);
    }
    for key in keys {
        if let Some(value) = raw.get_mut(key) {
            *value = float.config_name().into();
        }
    }
    write_json(&folder.join(CONFIG), &Value::Object(raw))
}

/// Writes the `generation_config.json` that the model came with, else one with its special tokens.
fn write_generation_config(config: &ModelConfig, folder: &Path) -> Result<(), ModelError> {
    let made = || {
        let ids = ["bos_token_id", "eos_token_id", "pad_token_id"].into_iter();
        ids.filter_map(|key| Some((key.to_owned(), config.raw.get(key)?.clone()))).collect()
    };
    let generation = config.generation.clone().unwrap_or_else(made);
    write_json(&folder.join(GENERATION), &Value::Object(generation))
}

/// Writes a module's tensors, each packed when it is its turn: only one is held at a time.
fn write_module<B: LmBackend, M: burn::module::Module<B>>(
    module: &M,
    config: &ModelConfig,
    head: Head,
    options: &SaveOptions,
    folder: &Path,
) -> Result<(), ModelError> {
    let tensors = named_tensors(module);
    let slots = model_slots(config, head, backbone_prefix(config.family));
    let plan = |slot: &super::slots::Slot| Planned {
        name: slot.name.clone(),
        shape: slot.shape.clone(),
        float: options.float,
    };
    let planned: Vec<Planned> = slots.iter().map(plan).collect();
    write_weights(folder, &planned, options.max_shard_bytes, |number| {
        let slot = &slots[number];
        Ok(slot.pack(slot.parts.iter().map(|part| tensors[part].to_values()).collect()))
    })
}
