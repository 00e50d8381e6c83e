//! LoRA adapters in PEFT's layout: `adapter_config.json` and `adapter_model.safetensors`.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value};

use super::adapter_config::AdapterConfig;
use super::load::{read_json, tensors_of, to_f32};
use super::places::Place;
use super::save::{io_error, write_json};
use super::slots::{Layout, Slot, transpose};
use crate::backend::LmBackend;
use crate::config::ModelConfig;
use crate::decoder::Decoder;
use crate::lora::{Adapter, LoraConfig};
use crate::mmap::map;
use crate::named::FlatTensor;
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
    let path = folder.join(CONFIG);
    let raw: Map<String, Value> = read_json(&path)?;
    AdapterConfig::parse(&raw).map_err(|reason| ModelError::checkpoint(&path, reason))
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
    save(&model.decoder, BTreeMap::new(), config, folder)
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
    let width = model.config().hidden_size;
    let score = Stored {
        shape: [1, width],
        values: FlatTensor(model.score.weight.val().reshape([width])).to_values(),
    };
    save(&model.decoder, BTreeMap::from([(format!("{WRAPPER}{SCORE}"), score)]), config, folder)
}

impl<B: LmBackend> CausalLm<B> {
    /// The model, frozen, with the adapters in `folder`.
    ///
    /// # Errors
    /// A damaged adapter, one of another model or one that can't be represented.
    pub fn with_saved_lora(self, folder: &Path, device: &B::Device) -> Result<Self, ModelError> {
        let file = AdapterFile::open(folder, self.config())?;
        let decoder = self.decoder.with_adapters(file.adapters(device)?)?;
        Ok(Self { decoder, head: self.head.map(burn::module::Module::no_grad) })
    }
}

impl<B: LmBackend> ScalarModel<B> {
    /// The model with a frozen backbone and the adapters in `folder`, and with their score head if they
    /// bring one.
    ///
    /// # Errors
    /// A damaged adapter, one of another model or one that can't be represented.
    pub fn with_saved_lora(
        mut self,
        folder: &Path,
        device: &B::Device,
    ) -> Result<Self, ModelError> {
        let file = AdapterFile::open(folder, self.config())?;
        if file.config.has_score {
            let width = self.config().hidden_size;
            self.score = self.score.with_weight(file.read(SCORE, [1, width])?, device);
        }
        self.decoder = self.decoder.with_adapters(file.adapters(device)?)?;
        Ok(self)
    }
}

/// An adapter's folder that fits a model.
struct AdapterFile {
    path: std::path::PathBuf,
    mapped: memmap2::Mmap,
    config: AdapterConfig,
    places: Vec<Place>,
}

impl AdapterFile {
    fn open(folder: &Path, model: &ModelConfig) -> Result<Self, ModelError> {
        let config = read_adapter_config(folder)?;
        let places = config
            .lora
            .places(model)
            .map_err(|error| ModelError::checkpoint(folder.join(CONFIG), error.to_string()))?;
        let path = folder.join(WEIGHTS);
        let mapped = map(&path)?;
        let file = Self { path, mapped, config, places };
        file.refuse_strangers()?;
        Ok(file)
    }

    fn refuse_strangers(&self) -> Result<(), ModelError> {
        let sides = |place: &Place| ["A", "B"].map(|side| name(place, side));
        let mut known: Vec<String> = self.places.iter().flat_map(sides).collect();
        known.extend(self.config.has_score.then(|| format!("{WRAPPER}{SCORE}")));
        let tensors = tensors_of(&self.path, &self.mapped)?;
        let stranger = tensors.names().into_iter().find(|name| !known.iter().any(|it| it == name));
        stranger.map_or(Ok(()), |name| {
            let reason = format!("holds `{name}`, which `target_modules` doesn't name");
            Err(ModelError::checkpoint(&self.path, reason))
        })
    }

    fn adapters<B: LmBackend>(
        &self,
        device: &B::Device,
    ) -> Result<impl Iterator<Item = (Adapter<B>, Place)>, ModelError> {
        let lora = &self.config.lora;
        let mut adapters = Vec::new();
        for place in &self.places {
            let [d_in, d_out] = place.shape;
            let read = |side, shape| self.read(&name(place, side), shape);
            let a = transpose(&read("A", [lora.rank, d_in])?, lora.rank, d_in);
            let b = columns(place, lora, &read("B", [d_out, lora.rank])?);
            adapters.push((Adapter::with_values(lora, place.shape, [a, b], device), place.clone()));
        }
        Ok(adapters.into_iter())
    }

    /// A tensor's values, row-major.
    fn read(&self, name: &str, shape: [usize; 2]) -> Result<Vec<f32>, ModelError> {
        let refuse = |reason: String| ModelError::checkpoint(&self.path, reason);
        let name = if name == SCORE { format!("{WRAPPER}{SCORE}") } else { name.to_owned() };
        let tensors: SafeTensors<'_> = tensors_of(&self.path, &self.mapped)?;
        let view = tensors.tensor(&name).map_err(|_| refuse(format!("`{name}` is missing")))?;
        if view.shape() != shape {
            let found = view.shape();
            return Err(refuse(format!(
                "`{name}` has the shape {found:?}; {shape:?} is asked for"
            )));
        }
        to_f32(&view).ok_or_else(|| {
            let dtype = view.dtype();
            refuse(format!("`{name}` is {dtype:?}; f32, f16 and bf16 are supported"))
        })
    }
}

/// What PEFT calls one side of an adapter.
fn name(place: &Place, side: &str) -> String {
    format!("{WRAPPER}{}.lora_{side}.weight", place.file)
}

/// `B` as `[rank, out]`, from the file's `[out, rank]`; outputs of queries, keys and values side by
/// side.
fn columns(place: &Place, lora: &LoraConfig, stored: &[f32]) -> Vec<f32> {
    let Layout::PerHead { .. } = place.layout else {
        return transpose(stored, place.shape[1], lora.rank);
    };
    let slot = interleaved(place, lora);
    let parts = [0, 1, 2].map(|part| slot.unpack(part, stored));
    let width = place.shape[1] / 3;
    let row = |row: usize| parts.iter().flat_map(move |part| &part[row * width..][..width]);
    (0..lora.rank).flat_map(row).copied().collect()
}

/// The file's `[out, rank]`, from `B` as `[rank, out]`.
fn rows(place: &Place, lora: &LoraConfig, own: &[f32]) -> Vec<f32> {
    let d_out = place.shape[1];
    let Layout::PerHead { .. } = place.layout else {
        return transpose(own, lora.rank, d_out);
    };
    let width = d_out / 3;
    let part = |part: usize| {
        let rows = own.chunks_exact(d_out).flat_map(move |row| &row[part * width..][..width]);
        rows.copied().collect()
    };
    interleaved(place, lora).pack(&[part(0), part(1), part(2)])
}

fn interleaved(place: &Place, lora: &LoraConfig) -> Slot {
    Slot {
        name: place.file.clone(),
        shape: vec![place.shape[1], lora.rank],
        parts: ["query", "key", "value"].map(String::from).to_vec(),
        layout: place.layout,
    }
}

/// A tensor to be written.
struct Stored {
    shape: [usize; 2],
    values: Vec<f32>,
}

fn save<B: LmBackend>(
    decoder: &Decoder<B>,
    mut tensors: BTreeMap<String, Stored>,
    config: &AdapterConfig,
    folder: &Path,
) -> Result<(), ModelError> {
    fs::create_dir_all(folder).map_err(|error| io_error(folder, error))?;
    let (lora, model) = (&config.lora, decoder.config());
    for place in lora.places(model)? {
        let adapter = decoder.blocks[place.layer].adapter(place.part);
        let Adapter { a, b, .. } = adapter.expect("a model has the adapters that it was given");
        let [d_in, d_out] = place.shape;
        let values =
            |matrix: &burn::module::Param<burn::Tensor<B, 2>>| crate::tokens::host(matrix.val());
        let a = Stored { shape: [lora.rank, d_in], values: transpose(&values(a), d_in, lora.rank) };
        let b = Stored { shape: [d_out, lora.rank], values: rows(&place, lora, &values(b)) };
        tensors.insert(name(&place, "A"), a);
        tensors.insert(name(&place, "B"), b);
    }
    write_json(&folder.join(CONFIG), &config.to_json(model))?;
    write_tensors(&tensors, &folder.join(WEIGHTS))
}

fn write_tensors(tensors: &BTreeMap<String, Stored>, path: &Path) -> Result<(), ModelError> {
    let bytes = |stored: &Stored| stored.values.iter().flat_map(|it| it.to_le_bytes()).collect();
    let bytes: Vec<(&String, [usize; 2], Vec<u8>)> =
        tensors.iter().map(|(name, stored)| (name, stored.shape, bytes(stored))).collect();
    let views = bytes.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.to_vec(), bytes);
        (name, view.expect("the values fill the shape"))
    });
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize_to_file(views, Some(metadata), path).map_err(|error| match error {
        safetensors::SafeTensorError::IoError(error) => io_error(path, error),
        other => ModelError::checkpoint(path, other.to_string()),
    })
}
