//! From checkpoint to checkpoint, a tensor at a time: casts and splits without a device.

use std::cmp::Reverse;
use std::iter;
use std::path::Path;

use rein_data::{DataError, model_folder};

use super::float::FloatType;
use super::json::{MAX_CONFIG_BYTES, read_object, shown};
use super::load::{CONFIG, GENERATION, read_config, stored_prefix};
use super::save::write_config;
use super::slots::{Head, Slot, is_buffer, model_slots};
use super::stored::StoredTensors;
use super::write::{Planned, write_weights};
use crate::ModelError;
use crate::config::ModelConfig;

/// What becomes of a checkpoint's weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportOptions {
    /// The type to cast to; each tensor keeps its own if left out.
    pub float: Option<FloatType>,
    /// As for [`SaveOptions`](super::SaveOptions).
    pub max_shard_bytes: u64,
}

/// Writes the language model or sequence classifier in `from` into the folder `to`: its weights, under
/// their own names, `config.json` and `generation_config.json`. At most one tensor is in memory.
///
/// `edit` may change a tensor's values before they are written: it is given the name and the shape
/// that the tensor has in its file, and its values, row-major.
///
/// # Errors
/// A checkpoint that wouldn't be loaded, and values that the type has no room for. What is in `to` then
/// isn't a whole checkpoint.
pub fn export(
    from: &Path,
    to: &Path,
    options: &ExportOptions,
    mut edit: impl FnMut(&str, &[usize], &mut [f32]) -> Result<(), ModelError>,
) -> Result<(), ModelError> {
    let config = read_config(from)?;
    let stored = StoredTensors::open(from)?;
    stored.check(&slots(&config, &stored, from)?)?;
    let planned = plan(&stored, options)?;
    write_configs(from, to, options.float)?;
    write_weights(to, &planned, options.max_shard_bytes, |number| {
        let Planned { name, shape, .. } = &planned[number];
        let n_values = shape.iter().product();
        let mut values = Vec::with_capacity(n_values);
        stored.read(name, iter::once(0..n_values), 1, |block| values.extend_from_slice(block))?;
        edit(name, shape, &mut values)?;
        Ok(values)
    })
}

/// What the model has in its files. A classifier may have any number of labels.
fn slots(
    config: &ModelConfig,
    stored: &StoredTensors,
    folder: &Path,
) -> Result<Vec<Slot>, ModelError> {
    let head = head_of(config, folder)?;
    let mut slots = model_slots(config, head, stored_prefix(stored, config));
    if head == Head::Score {
        let score = slots.last_mut().expect("the head comes last");
        let n_labels = stored.get(&score.name).and_then(|info| info.shape.first().copied());
        score.shape[0] = n_labels.unwrap_or(1);
    }
    Ok(slots)
}

fn head_of(config: &ModelConfig, folder: &Path) -> Result<Head, ModelError> {
    let architecture = config.raw.get("architectures").and_then(|list| list.get(0)?.as_str());
    match architecture {
        Some(name) if name.ends_with("ForSequenceClassification") => Ok(Head::Score),
        Some(name) if name.ends_with("ForCausalLM") || name.ends_with("LMHeadModel") => {
            Ok(Head::Vocabulary)
        }
        None => Ok(Head::Vocabulary),
        Some(other) => {
            let reason = format!(
                "`architectures` names {}; language models and sequence classifiers are exported",
                shown(other)
            );
            Err(ModelError::checkpoint(folder.join(CONFIG), reason))
        }
    }
}

/// All tensors but the constants, the larger types first: so each is aligned to its own size.
fn plan(stored: &StoredTensors, options: &ExportOptions) -> Result<Vec<Planned>, ModelError> {
    let weights = stored.tensors().filter(|(name, _)| !is_buffer(name));
    let plan = |(name, info): (&str, &super::header::TensorInfo)| {
        let own = FloatType::of(info.dtype).ok_or_else(|| {
            let reason = format!("is {:?}; f32, f16 and bf16 are supported", info.dtype);
            stored.refuse_tensor(name, &reason)
        })?;
        let float = options.float.unwrap_or(own);
        Ok(Planned { name: name.to_owned(), shape: info.shape.clone(), float })
    };
    let mut planned = weights.map(plan).collect::<Result<Vec<_>, ModelError>>()?;
    planned.sort_by_key(|tensor| Reverse(tensor.float.size()));
    Ok(planned)
}

/// The configs as they are, but for the type of the weights where it changes.
fn write_configs(from: &Path, to: &Path, float: Option<FloatType>) -> Result<(), ModelError> {
    match float {
        Some(float) => write_config(read_object(from, CONFIG)?, float, to)?,
        None => copy(from, to, CONFIG)?,
    }
    if from.join(GENERATION).exists() { copy(from, to, GENERATION) } else { Ok(()) }
}

fn copy(from: &Path, to: &Path, name: &str) -> Result<(), ModelError> {
    let bytes = model_folder::read(from, name, MAX_CONFIG_BYTES)?;
    let path = to.join(name);
    std::fs::write(&path, bytes).map_err(|source| DataError::Io { path, source })?;
    Ok(())
}
