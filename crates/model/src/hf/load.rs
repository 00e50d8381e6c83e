//! Reads checkpoints: `config.json` and safetensors, in one file or in shards.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;

use super::json::read_object;
use super::slots::{Head, Slot, backbone_prefix, decoder_slots, model_slots};
use super::stored::StoredTensors;
use crate::ModelError;
use crate::backend::LmBackend;
use crate::causal_lm::CausalLm;
use crate::config::ModelConfig;
use crate::scalar_model::ScalarModel;
use crate::weights::WeightSource;

pub(super) const CONFIG: &str = "config.json";
pub(super) const GENERATION: &str = "generation_config.json";

/// Loads the language model in `folder`.
pub fn load_causal_lm<B: LmBackend>(
    folder: &Path,
    device: &B::Device,
) -> Result<CausalLm<B>, ModelError> {
    let config = read_config(folder)?;
    let mut weights = StoredWeights::open(folder, &config, Head::Vocabulary)?;
    CausalLm::new(&config, &mut weights, device)
}

/// Loads the sequence-classification model with one label, or the value model, in `folder`.
pub fn load_scalar_model<B: LmBackend>(
    folder: &Path,
    device: &B::Device,
) -> Result<ScalarModel<B>, ModelError> {
    let config = read_config(folder)?;
    let mut weights = StoredWeights::open(folder, &config, Head::Score)?;
    ScalarModel::new(&config, &mut weights, device)
}

/// Refuses a folder whose files hold no language model: their names and shapes are looked at, and no value is read.
///
/// # Errors
/// Those of [`load_causal_lm`], but for values.
pub fn check_causal_lm(folder: &Path) -> Result<(), ModelError> {
    StoredWeights::open(folder, &read_config(folder)?, Head::Vocabulary).map(drop)
}

/// The same for the models that [`load_scalar_model`] loads.
///
/// # Errors
/// Those of [`load_scalar_model`], but for values.
pub fn check_scalar_model(folder: &Path) -> Result<(), ModelError> {
    StoredWeights::open(folder, &read_config(folder)?, Head::Score).map(drop)
}

/// Reads the config of the model in `folder`, with its `generation_config.json` if it has one.
pub fn read_config(folder: &Path) -> Result<ModelConfig, ModelError> {
    let raw = read_object(folder, CONFIG)?;
    let config = super::parse_config(raw).map_err(|error| match error {
        ModelError::Config(reason) => ModelError::checkpoint(folder.join(CONFIG), reason),
        other => other,
    })?;
    let has_generation = folder.join(GENERATION).exists();
    let generation = has_generation.then(|| read_object(folder, GENERATION)).transpose()?;
    Ok(ModelConfig { generation, origin: Some(folder.to_path_buf()), ..config })
}

/// The tokens that end a completion of the model in `folder`: what its `generation_config.json` says,
/// else its `config.json`; none if neither does.
pub fn generation_ends(folder: &Path) -> Result<Vec<u32>, ModelError> {
    for name in [GENERATION, CONFIG] {
        if !folder.join(name).exists() {
            continue;
        }
        let config = read_object(folder, name)?;
        let ends = match config.get("eos_token_id") {
            None | Some(Value::Null) => continue,
            Some(Value::Array(ids)) => ids.iter().map(token_id).collect(),
            Some(id) => token_id(id).map(|id| vec![id]),
        };
        return ends.ok_or_else(|| {
            let reason = "`eos_token_id` is neither a token nor a list of them";
            ModelError::checkpoint(folder.join(name), reason)
        });
    }
    Ok(Vec::new())
}

fn token_id(value: &Value) -> Option<u32> {
    value.as_u64()?.try_into().ok()
}

/// What the backbone's names begin with in this checkpoint; nothing in old Hub files.
pub(super) fn stored_prefix(stored: &StoredTensors, config: &ModelConfig) -> &'static str {
    let embedding = &decoder_slots(config)[0].name;
    if stored.get(embedding).is_some() { "" } else { backbone_prefix(config.family) }
}

/// A checkpoint as a source of the decoder's tensors.
struct StoredWeights {
    stored: StoredTensors,
    slots: Vec<Slot>,
    /// Where a tensor of the decoder lies: a slot and its part in it.
    place_of: HashMap<String, (usize, usize)>,
}

impl StoredWeights {
    /// Opens the files and compares all names and shapes with the config's, before a value is read.
    fn open(folder: &Path, config: &ModelConfig, head: Head) -> Result<Self, ModelError> {
        let stored = StoredTensors::open(folder)?;
        let slots = model_slots(config, head, stored_prefix(&stored, config));
        stored.check(&slots)?;
        let mut place_of = HashMap::new();
        for (number, slot) in slots.iter().enumerate() {
            let parts = slot.parts.iter().enumerate();
            place_of.extend(parts.map(|(part, name)| (name.clone(), (number, part))));
        }
        Ok(Self { stored, slots, place_of })
    }
}

impl WeightSource for StoredWeights {
    fn values(&mut self, name: &str, _: &[usize]) -> Result<Vec<f32>, ModelError> {
        let (slot, part) = self.place_of[name];
        self.stored.unpack(&self.slots[slot], part)
    }
}
