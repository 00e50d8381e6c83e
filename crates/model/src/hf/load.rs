//! Reads checkpoints: `config.json` and safetensors, in one file or in shards.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value};

use super::slots::{Layout, Slot, backbone_prefix, decoder_slots, head_name};
use crate::ModelError;
use crate::backend::LmBackend;
use crate::causal_lm::{CausalLm, HEAD};
use crate::config::ModelConfig;
use crate::mmap::map;
use crate::scalar_model::ScalarModel;
use crate::weights::{SCORE, WeightSource};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Larger JSON files are refused.
const MAX_JSON_BYTES: u64 = 16 << 20;

/// Loads the language model in `folder`.
pub fn load_causal_lm<B: LmBackend>(
    folder: &Path,
    device: &B::Device,
) -> Result<CausalLm<B>, ModelError> {
    let config = read_config(folder)?;
    let mut weights = StoredWeights::open(folder, &config)?;
    CausalLm::new(&config, &mut weights, device)
}

/// Loads the sequence-classification model with one label, or the value model, in `folder`.
pub fn load_scalar_model<B: LmBackend>(
    folder: &Path,
    device: &B::Device,
) -> Result<ScalarModel<B>, ModelError> {
    let config = read_config(folder)?;
    let mut weights = StoredWeights::open(folder, &config)?;
    ScalarModel::new(&config, &mut weights, device)
}

/// Reads the config of the model in `folder`.
pub fn read_config(folder: &Path) -> Result<ModelConfig, ModelError> {
    let path = folder.join("config.json");
    let refuse = |reason: String| ModelError::checkpoint(&path, reason);
    let raw: Map<String, Value> = read_json(&path)?;
    let config = super::parse_config(raw).map_err(|error| match error {
        ModelError::Config(reason) => refuse(reason),
        other => other,
    })?;
    Ok(ModelConfig { origin: Some(folder.to_path_buf()), ..config })
}

/// Whether `folder` holds weights that can be loaded.
pub fn has_weights(folder: &Path) -> bool {
    folder.join(SINGLE).exists() || folder.join(INDEX).exists()
}

/// The tokens that end a completion of the model in `folder`: what its `generation_config.json` says,
/// else its `config.json`; none if neither does.
pub fn generation_ends(folder: &Path) -> Result<Vec<u32>, ModelError> {
    for name in ["generation_config.json", "config.json"] {
        let path = folder.join(name);
        if !path.exists() {
            continue;
        }
        let config: Map<String, Value> = read_json(&path)?;
        let ends = match config.get("eos_token_id") {
            None | Some(Value::Null) => continue,
            Some(Value::Array(ids)) => ids.iter().map(token_id).collect(),
            Some(id) => token_id(id).map(|id| vec![id]),
        };
        return ends.ok_or_else(|| {
            ModelError::checkpoint(&path, "`eos_token_id` is neither a token nor a list of them")
        });
    }
    Ok(Vec::new())
}

fn token_id(value: &Value) -> Option<u32> {
    value.as_u64()?.try_into().ok()
}

/// The tensors of a checkpoint, mapped into memory and converted one at a time.
struct StoredWeights {
    files: Vec<(PathBuf, Mmap)>,
    /// Which file holds a tensor.
    file_of: HashMap<String, usize>,
    /// Where a tensor of the decoder lies: a slot and its part in it.
    slot_of: HashMap<String, (Slot, usize)>,
    head: &'static str,
    /// What the backbone's names begin with in this checkpoint; nothing in old Hub files.
    prefix: &'static str,
}

impl StoredWeights {
    fn open(folder: &Path, config: &ModelConfig) -> Result<Self, ModelError> {
        let mut files = Vec::new();
        let mut file_of = HashMap::new();
        for path in weight_files(folder)? {
            let mapped = map(&path)?;
            let names = tensors_of(&path, &mapped)?
                .names()
                .into_iter()
                .map(str::to_owned)
                .collect::<Vec<_>>();
            for name in names {
                if file_of.insert(name.clone(), files.len()).is_some() {
                    return Err(ModelError::checkpoint(
                        &path,
                        format!("`{name}` stands in two shards"),
                    ));
                }
            }
            files.push((path, mapped));
        }
        let usual = backbone_prefix(config.family);
        let has_prefix = file_of.keys().any(|name| name.starts_with(usual));
        let mut slot_of = HashMap::new();
        for slot in decoder_slots(config) {
            for (part, name) in slot.parts.iter().enumerate() {
                slot_of.insert(name.clone(), (slot.clone(), part));
            }
        }
        let prefix = if has_prefix { usual } else { "" };
        let weights = Self { files, file_of, slot_of, head: head_name(config.family), prefix };
        weights.refuse_strangers(folder)?;
        Ok(weights)
    }

    /// A tensor that no part of the model asks for means that the model isn't what we think.
    fn refuse_strangers(&self, folder: &Path) -> Result<(), ModelError> {
        let known: Vec<String> = self
            .slot_of
            .values()
            .map(|(slot, _)| format!("{}{}", self.prefix, slot.name))
            .collect();
        let known: std::collections::HashSet<&str> = known.iter().map(String::as_str).collect();
        let stranger = self.file_of.keys().find(|name| {
            !known.contains(name.as_str())
                && *name != self.head
                && *name != SCORE
                && !is_buffer(name)
        });
        stranger.map_or(Ok(()), |name| {
            let reason =
                format!("holds `{name}`, which the model of its config.json does not have");
            Err(ModelError::checkpoint(folder, reason))
        })
    }

    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        let Some(file) = self.file_of.get(name) else {
            let (path, _) = &self.files[0];
            return Err(ModelError::checkpoint(path, format!("`{name}` is missing")));
        };
        let (path, mapped) = &self.files[*file];
        let tensors = tensors_of(path, mapped)?;
        let view = tensors
            .tensor(name)
            .map_err(|error| ModelError::checkpoint(path, error.to_string()))?;
        if view.shape() != shape {
            let found = view.shape();
            let reason =
                format!("`{name}` has the shape {found:?}, but config.json asks for {shape:?}");
            return Err(ModelError::checkpoint(path, reason));
        }
        to_f32(&view).ok_or_else(|| {
            let reason = format!("`{name}` is {:?}; f32, f16 and bf16 are supported", view.dtype());
            ModelError::checkpoint(path, reason)
        })
    }
}

impl WeightSource for StoredWeights {
    fn values(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        match name {
            // Heads are stored as `[out, in]`.
            HEAD | SCORE => {
                let [d_in, d_out] = [shape[0], shape[1]];
                let stored = if name == HEAD { self.head } else { SCORE };
                let values = self.read(stored, &[d_out, d_in])?;
                let slot = Slot {
                    name: stored.to_owned(),
                    shape: vec![d_out, d_in],
                    parts: vec![name.to_owned()],
                    layout: Layout::Transposed,
                };
                Ok(slot.unpack(0, &values))
            }
            _ => {
                let (slot, part) = &self.slot_of[name];
                let file = self.read(&format!("{}{}", self.prefix, slot.name), &slot.shape)?;
                Ok(slot.unpack(*part, &file))
            }
        }
    }
}

/// Constants that old checkpoints store beside the weights.
fn is_buffer(name: &str) -> bool {
    let buffers = [".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias"];
    buffers.iter().any(|buffer| name.ends_with(buffer)) || name.ends_with("rotary_emb.inv_freq")
}

/// The one file, or the shards that the index names.
fn weight_files(folder: &Path) -> Result<Vec<PathBuf>, ModelError> {
    let single = folder.join(SINGLE);
    if single.exists() {
        return Ok(vec![single]);
    }
    let path = folder.join(INDEX);
    if !path.exists() {
        return Err(ModelError::checkpoint(folder, format!("holds neither {SINGLE} nor {INDEX}")));
    }
    let index: Map<String, Value> = read_json(&path)?;
    let shards = index.get("weight_map").and_then(Value::as_object);
    let mut names: Vec<&str> =
        shards.into_iter().flat_map(Map::values).filter_map(Value::as_str).collect();
    names.sort_unstable();
    names.dedup();
    if let Some(name) = names.iter().find(|name| name.contains(['/', '\\']) || **name == "..") {
        return Err(ModelError::checkpoint(
            &path,
            format!("shard `{name}` lies outside the folder"),
        ));
    }
    if names.is_empty() {
        return Err(ModelError::checkpoint(&path, "names no shards"));
    }
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

pub(super) fn tensors_of<'a>(path: &Path, mapped: &'a Mmap) -> Result<SafeTensors<'a>, ModelError> {
    SafeTensors::deserialize(mapped).map_err(|error| {
        ModelError::checkpoint(path, format!("not a whole safetensors file: {error}"))
    })
}

pub(super) fn to_f32(view: &TensorView<'_>) -> Option<Vec<f32>> {
    let bytes = view.data();
    let two = |bytes: &[u8]| [bytes[0], bytes[1]];
    match view.dtype() {
        Dtype::F32 => {
            let value = |bytes: &[u8]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            Some(bytes.chunks_exact(4).map(value).collect())
        }
        Dtype::BF16 => {
            Some(bytes.chunks_exact(2).map(|b| bf16::from_le_bytes(two(b)).to_f32()).collect())
        }
        Dtype::F16 => {
            Some(bytes.chunks_exact(2).map(|b| f16::from_le_bytes(two(b)).to_f32()).collect())
        }
        _ => None,
    }
}

pub(super) fn read_json(path: &Path) -> Result<Map<String, Value>, ModelError> {
    let refuse = |reason: String| ModelError::checkpoint(path, reason);
    let bytes = fs::metadata(path).map_err(|error| refuse(error.to_string()))?.len();
    if bytes > MAX_JSON_BYTES {
        return Err(refuse(format!("{bytes} bytes; at most {MAX_JSON_BYTES} are read")));
    }
    let text = fs::read(path).map_err(|error| refuse(error.to_string()))?;
    serde_json::from_slice(&text).map_err(|error| refuse(error.to_string()))
}
