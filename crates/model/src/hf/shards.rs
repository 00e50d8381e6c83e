//! Which files a checkpoint's tensors lie in: one, or the shards that an index names.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use rein_data::model_folder;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use super::header::MAX_TENSORS;
use super::json::{reason, shown, twice};
use crate::ModelError;

/// The weights of a checkpoint in one file.
pub(super) const SINGLE: &str = "model.safetensors";
/// Which shard holds which tensor.
pub(super) const INDEX: &str = "model.safetensors.index.json";

const MAX_INDEX_BYTES: u64 = 16 << 20;
const MAX_SHARDS: usize = 512;

/// Refuses a folder without weights.
///
/// # Errors
/// Neither `model.safetensors` nor an index of shards.
pub fn require_weights(folder: &Path) -> Result<(), ModelError> {
    if folder.join(SINGLE).exists() || folder.join(INDEX).exists() {
        return Ok(());
    }
    let reason = "holds no model.safetensors (nor an index of shards); name a folder in the Hugging \
                  Face layout";
    Err(ModelError::checkpoint(folder, reason))
}

/// The name of a shard, counted from 1.
pub(super) fn shard_name(number: usize, n_shards: usize) -> String {
    format!("model-{number:05}-of-{n_shards:05}.safetensors")
}

/// The shard of each tensor.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an object with a `weight_map`")]
pub(super) struct ShardIndex {
    weight_map: ShardOf,
}

#[derive(Debug)]
struct ShardOf(BTreeMap<String, String>);

impl ShardIndex {
    /// The index in `folder`, where there is no single file, as transformers chooses.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>, ModelError> {
        require_weights(folder)?;
        if folder.join(SINGLE).exists() {
            return Ok(None);
        }
        let refuse = |reason: String| ModelError::checkpoint(folder.join(INDEX), reason);
        let bytes = model_folder::read(folder, INDEX, MAX_INDEX_BYTES)?;
        let index: Self = serde_json::from_slice(&bytes).map_err(|error| refuse(reason(error)))?;
        index.check().map_err(refuse)?;
        Ok(Some(index))
    }

    /// The names of the shards, each once.
    pub(super) fn shards(&self) -> BTreeSet<&str> {
        self.weight_map.0.values().map(String::as_str).collect()
    }

    /// The tensors, each with the name of its shard.
    pub(super) fn tensors(&self) -> impl Iterator<Item = (&str, &str)> {
        self.weight_map.0.iter().map(|(tensor, shard)| (tensor.as_str(), shard.as_str()))
    }

    pub(super) fn shard_of(&self, tensor: &str) -> Option<&str> {
        self.weight_map.0.get(tensor).map(String::as_str)
    }

    fn check(&self) -> Result<(), String> {
        let shards = self.shards();
        if shards.is_empty() {
            return Err("names no shards".into());
        }
        if shards.len() > MAX_SHARDS {
            return Err(format!("names {} shards; at most {MAX_SHARDS} are read", shards.len()));
        }
        match shards.into_iter().find(|name| !is_plain_name(name)) {
            Some(name) => Err(format!(
                "shard `{}` is not the name of a safetensors file in this folder",
                shown(name)
            )),
            None => Ok(()),
        }
    }
}

/// Whether a name leads to a file of the folder itself, on every system.
fn is_plain_name(name: &str) -> bool {
    name.len() <= 255
        && name.ends_with(".safetensors")
        && !name.starts_with('.')
        && !name.contains(['/', '\\', ':'])
        && !name.contains(char::is_control)
}

impl<'de> Deserialize<'de> for ShardOf {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ShardOfVisitor)
    }
}

struct ShardOfVisitor;

impl<'de> Visitor<'de> for ShardOfVisitor {
    type Value = ShardOf;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object with the shard of each tensor")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ShardOf, A::Error> {
        let mut shards = BTreeMap::new();
        while let Some((tensor, shard)) = map.next_entry::<String, String>()? {
            if shards.len() == MAX_TENSORS {
                return Err(A::Error::custom(format!("more than {MAX_TENSORS} tensors")));
            }
            match shards.entry(tensor) {
                Entry::Occupied(entry) => return Err(twice(entry.key())),
                Entry::Vacant(entry) => entry.insert(shard),
            };
        }
        Ok(ShardOf(shards))
    }
}
