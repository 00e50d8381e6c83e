//! LoRA adapters in PEFT's layout: `adapter_config.json` and `adapter_model.safetensors`.

use std::fs;
use std::path::Path;

use burn::module::{Module, Param};
use burn::prelude::*;
use rein_data::DataError;

use super::adapter_config::AdapterConfig;
use super::float::FloatType;
use super::json::read_object;
use super::layout::Layout;
use super::places::Place;
use super::slots::Slot;
use super::stored::StoredTensors;
use super::write::{Planned, write_json, write_tensors};
use crate::backend::LmBackend;
use crate::config::ModelConfig;
use crate::decoder::Decoder;
use crate::lora::{Adapter, LoraConfig};
use crate::tokens::host;
use crate::weights::SCORE;
use crate::{CausalLm, ModelError, ScalarModel};

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
/// What PEFT puts before the names of the model that it wraps.
const WRAPPER: &str = "base_model.model.";

/// Whether `folder` holds an adapter.
pub fn has_adapter(folder: &Path) -> bool {
    folder.join(CONFIG).exists()
}

/// Reads what the adapter in `folder` says about itself.
pub fn read_adapter_config(folder: &Path) -> Result<AdapterConfig, ModelError> {
    let raw = read_object(folder, CONFIG)?;
    AdapterConfig::parse(&raw).map_err(|reason| ModelError::checkpoint(folder.join(CONFIG), reason))
}

/// Writes the adapters of a language model into `folder`, as PEFT would.
///
/// # Panics
/// If the model doesn't have the adapters that `config` speaks of.
pub fn save_adapter<B: LmBackend>(
    model: &CausalLm<B>,
    config: &AdapterConfig,
    folder: &Path,
) -> Result<(), ModelError> {
    save(&model.decoder, None, config, folder)
}

/// Writes the adapters of a scalar model and its score head into `folder`, as PEFT would.
///
/// # Panics
/// If the model doesn't have the adapters that `config` speaks of.
pub fn save_scalar_adapter<B: LmBackend>(
    model: &ScalarModel<B>,
    config: &AdapterConfig,
    folder: &Path,
) -> Result<(), ModelError> {
    save(&model.decoder, Some(&model.score.weight), config, folder)
}

impl<B: LmBackend> CausalLm<B> {
    /// The model, frozen, with the adapters in `folder`.
    ///
    /// # Errors
    /// A damaged adapter, one of another model or one that can't be represented.
    pub fn with_saved_lora(self, folder: &Path, device: &B::Device) -> Result<Self, ModelError> {
        let stored = SavedAdapter::open(folder, self.config())?;
        let decoder = self.decoder.with_adapters(stored.adapters(device)?.into_iter())?;
        Ok(Self { decoder, head: self.head.map(Module::no_grad), value_head: self.value_head })
    }
}

impl<B: LmBackend> ScalarModel<B> {
    /// The model with a frozen backbone and the adapters in `folder`, and with their score head if they
    /// bring one.
    ///
    /// # Errors
    /// A damaged adapter, one of another model or one that can't be represented.
    pub fn with_saved_lora(self, folder: &Path, device: &B::Device) -> Result<Self, ModelError> {
        let stored = SavedAdapter::open(folder, self.config())?;
        let score = match &stored.score {
            Some(slot) => self.score.with_weight(stored.tensors.unpack(slot, 0)?, device),
            None => self.score,
        };
        let decoder = self.decoder.with_adapters(stored.adapters(device)?.into_iter())?;
        Ok(Self { decoder, score, heads: self.heads })
    }
}

/// An adapter's folder that fits a model.
pub struct SavedAdapter {
    lora: LoraConfig,
    tensors: StoredTensors,
    /// The layers with their matrices.
    places: Vec<(Place, [Slot; 2])>,
    score: Option<Slot>,
}

impl SavedAdapter {
    /// Opens the adapter in `folder` and compares all names and shapes with the model's.
    ///
    /// # Errors
    /// A damaged adapter, one of another model or one that can't be represented.
    pub fn open(folder: &Path, model: &ModelConfig) -> Result<Self, ModelError> {
        let AdapterConfig { lora, has_score, .. } = read_adapter_config(folder)?;
        let places = lora.places(model).map_err(|error| {
            // The file has another name for our `targets`.
            let reason = error.to_string().replacen("`targets`", "`target_modules`", 1);
            ModelError::checkpoint(folder.join(CONFIG), reason)
        })?;
        let slots = |place: Place| {
            let slots = matrices(&place, &lora);
            (place, slots)
        };
        let places: Vec<_> = places.into_iter().map(slots).collect();
        let score = has_score.then(|| score_slot(model));
        let tensors = StoredTensors::open_file(folder, WEIGHTS)?;
        let expected = places.iter().flat_map(|(_, slots)| slots).chain(&score);
        tensors.check(&expected.cloned().collect::<Vec<_>>())?;
        Ok(Self { lora, tensors, places, score })
    }

    fn adapters<B: LmBackend>(
        &self,
        device: &B::Device,
    ) -> Result<Vec<(Adapter<B>, Place)>, ModelError> {
        let adapter = |(place, [a, b]): &(Place, [Slot; 2])| {
            let a = self.tensors.unpack(a, 0)?;
            let parts = 0..b.parts.len();
            let b = parts.map(|part| self.tensors.unpack(b, part)).collect::<Result<_, _>>()?;
            let values = [a, side_by_side(b, self.lora.rank)];
            let adapter = Adapter::with_values(&self.lora, place.shape, values, device);
            Ok((adapter, place.clone()))
        };
        self.places.iter().map(adapter).collect()
    }

    /// Adds `sign · s · A B` to a tensor of the model's files, if it is the weight of an adapted layer,
    /// or puts the adapter's score head in place of the model's. `values` are those of the file's
    /// tensor `name`, row-major; those of other tensors stay as they are.
    ///
    /// # Errors
    /// An adapter that can't be read.
    pub fn add_to(&self, name: &str, values: &mut [f32], sign: f32) -> Result<(), ModelError> {
        if let (SCORE, Some(score)) = (name, &self.score) {
            values.copy_from_slice(&self.tensors.unpack(score, 0)?);
            return Ok(());
        }
        let is_here = |(place, _): &&(Place, [Slot; 2])| {
            name.strip_suffix(".weight").is_some_and(|layer| place.is_stored_as(layer))
        };
        let Some((place, [a, b])) = self.places.iter().find(is_here) else { return Ok(()) };
        // In the order of the file: A is `[rank, in]` and B is `[out, rank]`.
        let [a, b] = [self.raw(a)?, self.raw(b)?];
        let scale = sign * self.lora.scale() as f32;
        let [d_in, d_out] = place.shape;
        let is_in_out = matches!(place.layout, Layout::Plain | Layout::SideBySide);
        for (row, b) in b.chunks_exact(self.lora.rank).enumerate() {
            for (weight, a) in b.iter().zip(a.chunks_exact(d_in)) {
                for (column, a) in a.iter().enumerate() {
                    let cell = if is_in_out { column * d_out + row } else { row * d_in + column };
                    values[cell] += scale * weight * a;
                }
            }
        }
        Ok(())
    }

    /// A tensor's values as they lie in the file.
    fn raw(&self, slot: &Slot) -> Result<Vec<f32>, ModelError> {
        let mut values = Vec::with_capacity(slot.n_values());
        let all = std::iter::once(0..slot.n_values());
        self.tensors.read(&slot.name, all, 1, |block| values.extend_from_slice(block))?;
        Ok(values)
    }
}

impl std::fmt::Debug for SavedAdapter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SavedAdapter").field("lora", &self.lora).finish_non_exhaustive()
    }
}

/// The tensors of a layer's `A` and `B`. `B`'s outputs lie as those of the layer do.
fn matrices(place: &Place, lora: &LoraConfig) -> [Slot; 2] {
    let [d_in, d_out] = place.shape;
    let a = Slot {
        name: format!("{WRAPPER}{}.lora_A.weight", place.file),
        shape: vec![lora.rank, d_in],
        parts: vec!["a".into()],
        layout: Layout::Transposed,
    };
    let (parts, layout) = match place.layout {
        layout @ Layout::PerHead { .. } => {
            (vec!["query".into(), "key".into(), "value".into()], layout)
        }
        _ => (vec!["b".into()], Layout::Transposed),
    };
    let name = format!("{WRAPPER}{}.lora_B.weight", place.file);
    [a, Slot { name, shape: vec![d_out, lora.rank], parts, layout }]
}

fn score_slot(model: &ModelConfig) -> Slot {
    Slot {
        name: format!("{WRAPPER}{SCORE}"),
        shape: vec![1, model.hidden_size],
        parts: vec!["score".into()],
        layout: Layout::Transposed,
    }
}

/// Matrices of `n_rows` rows as one, side by side.
fn side_by_side(mut parts: Vec<Vec<f32>>, n_rows: usize) -> Vec<f32> {
    if parts.len() == 1 {
        return parts.remove(0);
    }
    let row = |row: usize| {
        parts.iter().flat_map(move |part| {
            let width = part.len() / n_rows;
            &part[row * width..][..width]
        })
    };
    (0..n_rows).flat_map(row).copied().collect()
}

/// What [`side_by_side`] was made of.
fn apart(whole: Vec<f32>, n_parts: usize, n_rows: usize) -> Vec<Vec<f32>> {
    if n_parts == 1 {
        return vec![whole];
    }
    let width = whole.len() / n_rows;
    let part = |part: usize| {
        let width_of_part = width / n_parts;
        let rows = whole.chunks_exact(width);
        rows.flat_map(|row| &row[part * width_of_part..][..width_of_part]).copied().collect()
    };
    (0..n_parts).map(part).collect()
}

fn save<B: LmBackend>(
    decoder: &Decoder<B>,
    score: Option<&Param<Tensor<B, 2>>>,
    config: &AdapterConfig,
    folder: &Path,
) -> Result<(), ModelError> {
    let io = |source| DataError::Io { path: folder.to_owned(), source };
    fs::create_dir_all(folder).map_err(io)?;
    let (lora, model) = (&config.lora, decoder.config());
    let mut tensors: Vec<(Slot, Tensor<B, 2>)> = Vec::new();
    for place in lora.places(model)? {
        let adapter = decoder.blocks[place.layer].adapter(place.part);
        let Adapter { a, b, .. } = adapter.expect("a model has the adapters that it was given");
        let [slot_a, slot_b] = matrices(&place, lora);
        tensors.extend([(slot_a, a.val()), (slot_b, b.val())]);
    }
    tensors.extend(score.map(|score| (score_slot(model), score.val())));
    let plan = |(slot, _): &(Slot, _)| Planned {
        name: slot.name.clone(),
        shape: slot.shape.clone(),
        float: FloatType::F32,
    };
    let planned: Vec<Planned> = tensors.iter().map(plan).collect();
    write_json(&folder.join(CONFIG), &config.to_json(model))?;
    write_tensors(&folder.join(WEIGHTS), &planned, |number| {
        let (slot, tensor) = &tensors[number];
        let n_rows = tensor.dims()[0];
        Ok(slot.pack(apart(host(tensor.clone()), slot.parts.len(), n_rows)))
    })
}
