//! Writes safetensors files, a tensor at a time: one file, or shards and their index.

use std::fs::{self, File};
use std::io::Write;
use std::ops::Range;
use std::path::Path;

use rein_data::DataError;
use serde_json::{Map, Value, json};

use super::float::FloatType;
use super::shards::{INDEX, SINGLE, shard_name};
use crate::ModelError;

/// Values that are converted at once.
const BLOCK_VALUES: usize = 1 << 16;

/// How weights are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SaveOptions {
    /// The type of the values; those that don't fit are refused.
    pub float: FloatType,
    /// Checkpoints with more bytes of weights are split into files of at most so many, unless a single
    /// tensor has more.
    pub max_shard_bytes: u64,
}

/// f32, in files of up to 5 GB.
impl Default for SaveOptions {
    fn default() -> Self {
        Self { float: FloatType::F32, max_shard_bytes: 5_000_000_000 }
    }
}

/// A tensor that is to be written.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) float: FloatType,
}

impl Planned {
    fn n_values(&self) -> usize {
        self.shape.iter().product()
    }

    fn n_bytes(&self) -> u64 {
        (self.n_values() * self.float.size()) as u64
    }
}

/// Writes the tensors into `folder`, in place of the weights that are there. `values` gives each of
/// them, by its place in the list, when it is its turn.
pub(super) fn write_weights(
    folder: &Path,
    tensors: &[Planned],
    max_shard_bytes: u64,
    mut values: impl FnMut(usize) -> Result<Vec<f32>, ModelError>,
) -> Result<(), ModelError> {
    remove_weights(folder)?;
    let shards = split(tensors, max_shard_bytes);
    if shards.len() == 1 {
        return write_file(&folder.join(SINGLE), tensors, 0, &mut values);
    }
    let mut weight_map = Map::new();
    for (shard, number) in shards.iter().zip(1..) {
        let name = shard_name(number, shards.len());
        let tensors = &tensors[shard.clone()];
        write_file(&folder.join(&name), tensors, shard.start, &mut values)?;
        weight_map.extend(tensors.iter().map(|it| (it.name.clone(), name.clone().into())));
    }
    // Written last: without it, the shards are no checkpoint.
    write_index(folder, tensors, weight_map)
}

/// Which tensors share a file: as many as fit, in their order.
fn split(tensors: &[Planned], max_shard_bytes: u64) -> Vec<Range<usize>> {
    let mut shards = Vec::new();
    let (mut begin, mut n_bytes) = (0, 0);
    for (number, tensor) in tensors.iter().enumerate() {
        if number > begin && n_bytes + tensor.n_bytes() > max_shard_bytes {
            shards.push(begin..number);
            (begin, n_bytes) = (number, 0);
        }
        n_bytes += tensor.n_bytes();
    }
    shards.push(begin..tensors.len());
    shards
}

/// Writes one file that is no checkpoint by itself.
pub(super) fn write_tensors(
    path: &Path,
    tensors: &[Planned],
    mut values: impl FnMut(usize) -> Result<Vec<f32>, ModelError>,
) -> Result<(), ModelError> {
    write_file(path, tensors, 0, &mut values)
}

/// `8 bytes of length | JSON | values`; `first` is the place of the first tensor in the whole list.
fn write_file(
    path: &Path,
    tensors: &[Planned],
    first: usize,
    values: &mut impl FnMut(usize) -> Result<Vec<f32>, ModelError>,
) -> Result<(), ModelError> {
    let mut file = File::create(path).map_err(io(path))?;
    file.write_all(&header(tensors)).map_err(io(path))?;
    let mut bytes = Vec::new();
    for (tensor, number) in tensors.iter().zip(first..) {
        let values = values(number)?;
        assert_eq!(values.len(), tensor.n_values(), "`{}` has the shape planned", tensor.name);
        for block in values.chunks(BLOCK_VALUES) {
            bytes.clear();
            tensor.float.encode(block, &mut bytes).map_err(|value| {
                let Planned { name, float, .. } = tensor;
                let reason = format!(
                    "`{name}` holds {value}, which {} has no room for; choose a wider type",
                    float.name()
                );
                ModelError::checkpoint(path, reason)
            })?;
            file.write_all(&bytes).map_err(io(path))?;
        }
    }
    Ok(())
}

fn header(tensors: &[Planned]) -> Vec<u8> {
    let mut entries = Map::from_iter([("__metadata__".to_owned(), json!({ "format": "pt" }))]);
    let mut begin = 0;
    for tensor in tensors {
        let end = begin + tensor.n_bytes();
        let Planned { name, shape, float } = tensor;
        let entry = json!({ "dtype": float.dtype(), "shape": shape, "data_offsets": [begin, end] });
        entries.insert(name.clone(), entry);
        begin = end;
    }
    let mut json = Value::Object(entries).to_string();
    // Blanks up to a multiple of 8, so that the values are aligned.
    json.push_str(&" ".repeat(json.len().next_multiple_of(8) - json.len()));
    [&(json.len() as u64).to_le_bytes(), json.as_bytes()].concat()
}

fn write_index(
    folder: &Path,
    tensors: &[Planned],
    mut weight_map: Map<String, Value>,
) -> Result<(), ModelError> {
    weight_map.sort_keys();
    let n_bytes: u64 = tensors.iter().map(Planned::n_bytes).sum();
    let n_params: usize = tensors.iter().map(Planned::n_values).sum();
    let metadata = json!({ "total_parameters": n_params, "total_size": n_bytes });
    let index = json!({ "metadata": metadata, "weight_map": weight_map });
    write_json(&folder.join(INDEX), &index)
}

pub(super) fn write_json(path: &Path, value: &Value) -> Result<(), ModelError> {
    fs::write(path, format!("{value:#}\n")).map_err(io(path))
}

/// Removes the weights in `folder` and their index: those of an earlier save would be mixed up with
/// the next.
pub fn remove_weights(folder: &Path) -> Result<(), ModelError> {
    for entry in fs::read_dir(folder).map_err(io(folder))? {
        let entry = entry.map_err(io(folder))?;
        if entry.file_name().to_str().is_some_and(is_weights) {
            fs::remove_file(entry.path()).map_err(io(&entry.path()))?;
        }
    }
    Ok(())
}

/// Whether a checkpoint's weights or their index are called so.
fn is_weights(name: &str) -> bool {
    let numbers =
        |it: &str| Some(it.strip_prefix("model-")?.strip_suffix(".safetensors")?.to_owned());
    let is_number = |it: &str| it.len() == 5 && it.bytes().all(|byte| byte.is_ascii_digit());
    let is_shard = numbers(name).is_some_and(|it| {
        it.split_once("-of-").is_some_and(|(number, all)| is_number(number) && is_number(all))
    });
    is_shard || [SINGLE, INDEX].contains(&name)
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> ModelError {
    let path = path.to_owned();
    move |source| DataError::Io { path, source }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_are_split_in_their_order_and_none_is_torn() {
        let tensor =
            |n_values| Planned { name: "x".into(), shape: vec![n_values], float: FloatType::F16 };
        let tensors = [3, 2, 9, 1, 1].map(tensor);
        assert_eq!(split(&tensors, 10), [0..2, 2..3, 3..5]);
        assert_eq!(split(&tensors, 32), vec![0..5]);
        assert_eq!(split(&tensors, 1).len(), 5);
    }

    #[test]
    fn only_weights_are_removed() {
        for name in ["model.safetensors", INDEX, "model-00001-of-00002.safetensors"] {
            assert!(is_weights(name), "{name}");
        }
        let others =
            ["adapter_model.safetensors", "model-1-of-2.safetensors", "optimizer.safetensors"];
        for name in others {
            assert!(!is_weights(name), "{name}");
        }
    }
}
