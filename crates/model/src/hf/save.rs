//! Writes checkpoints that transformers and its kin read.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use safetensors::{Dtype, View};
use serde_json::{Map, Value, json};

use super::slots::{Layout, Slot, backbone_prefix, decoder_slots, head_name};
use crate::ModelError;
use crate::backend::LmBackend;
use crate::causal_lm::{CausalLm, HEAD};
use crate::config::{Family, ModelConfig};
use crate::named::{FlatTensor, named_tensors};
use crate::scalar_model::ScalarModel;
use crate::weights::SCORE;

/// Writes `config.json` and `model.safetensors` of a language model into `folder`. Adapters are merged
/// into what is written.
pub fn save_causal_lm<B: LmBackend>(model: &CausalLm<B>, folder: &Path) -> Result<(), ModelError> {
    if model.decoder.has_lora() {
        return save_causal_lm(&model.clone().merged(), folder);
    }
    let config = model.config();
    let mut slots = decoder_slots(config);
    if !config.tied_head {
        slots.push(head_slot(
            head_name(config.family),
            HEAD,
            [config.hidden_size, config.vocab_size],
        ));
    }
    let mut raw = config.raw.clone();
    let architecture = format!("{}{}", class_name(config.family), head_class(config.family));
    raw.insert("architectures".into(), json!([architecture]));
    write_config(&raw, folder)?;
    write_generation_config(&raw, folder)?;
    write_weights(config, &slots, named_tensors(model), folder)
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
    let config = model.config();
    let mut slots = decoder_slots(config);
    slots.push(head_slot(SCORE, SCORE, [config.hidden_size, 1]));
    let mut raw = config.raw.clone();
    let architecture = format!("{}ForSequenceClassification", class_name(config.family));
    raw.insert("architectures".into(), json!([architecture]));
    raw.insert("id2label".into(), json!({ "0": "LABEL_0" }));
    raw.insert("label2id".into(), json!({ "LABEL_0": 0 }));
    raw.extend(extra.clone());
    write_config(&raw, folder)?;
    write_weights(config, &slots, named_tensors(model), folder)
}

fn head_slot(name: &str, own: &str, [d_in, d_out]: [usize; 2]) -> Slot {
    Slot {
        name: name.to_owned(),
        shape: vec![d_out, d_in],
        parts: vec![own.to_owned()],
        layout: Layout::Transposed,
    }
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

fn write_config(raw: &Map<String, Value>, folder: &Path) -> Result<(), ModelError> {
    let mut raw = raw.clone();
    // Weights are always written as f32.
    for key in ["dtype", "torch_dtype"] {
        if raw.contains_key(key) {
            raw.insert(key.into(), "float32".into());
        }
    }
    write_json(&folder.join("config.json"), &Value::Object(raw))
}

fn write_generation_config(raw: &Map<String, Value>, folder: &Path) -> Result<(), ModelError> {
    let ids = ["bos_token_id", "eos_token_id", "pad_token_id"];
    let known = ids.iter().filter_map(|key| Some(((*key).to_owned(), raw.get(*key)?.clone())));
    write_json(&folder.join("generation_config.json"), &Value::Object(known.collect()))
}

pub(super) fn write_json(path: &Path, value: &Value) -> Result<(), ModelError> {
    fs::write(path, format!("{value:#}\n")).map_err(|error| io_error(path, error))
}

fn write_weights<B: LmBackend>(
    config: &ModelConfig,
    slots: &[Slot],
    tensors: BTreeMap<String, FlatTensor<B>>,
    folder: &Path,
) -> Result<(), ModelError> {
    let prefix = backbone_prefix(config.family);
    let named = slots.iter().map(|slot| {
        let own = slot.name == head_name(config.family) || slot.name == SCORE;
        let name = if own { slot.name.clone() } else { format!("{prefix}{}", slot.name) };
        (name, PackedTensor { slot, tensors: &tensors })
    });
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let path = folder.join("model.safetensors");
    safetensors::serialize_to_file(named, Some(metadata), &path).map_err(|error| match error {
        safetensors::SafeTensorError::IoError(error) => io_error(&path, error),
        other => ModelError::checkpoint(&path, other.to_string()),
    })
}

pub(super) fn io_error(path: &Path, source: std::io::Error) -> ModelError {
    rein_data::DataError::Io { path: path.to_path_buf(), source }.into()
}

/// A tensor of the file, packed when it is written: only one is held at a time.
struct PackedTensor<'a, B: LmBackend> {
    slot: &'a Slot,
    tensors: &'a BTreeMap<String, FlatTensor<B>>,
}

impl<B: LmBackend> View for PackedTensor<'_, B> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.slot.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let parts: Vec<Vec<f32>> =
            self.slot.parts.iter().map(|part| self.tensors[part].to_values()).collect();
        Cow::Owned(self.slot.pack(&parts).into_iter().flat_map(f32::to_le_bytes).collect())
    }

    fn data_len(&self) -> usize {
        self.slot.shape.iter().product::<usize>() * size_of::<f32>()
    }
}
