//! The tensors of a checkpoint: found and checked at once, read one at a time.
//!
//! Files are read at the places where their tensors lie, into a block that stays in the processor's
//! cache, and not mapped into memory. A map's pages count as the process's own memory as soon as they
//! are touched, and a file that is cut off meanwhile ends the process with a signal; a read ends with
//! an error.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use rein_data::{DataError, model_folder};

use super::float::{FloatType, all_finite};
use super::header::{Header, MAX_TENSORS, TensorInfo};
use super::json::shown;
use super::layout::Unpacked;
use super::shards::{INDEX, SINGLE, ShardIndex};
use super::slots::{Slot, is_buffer, is_head};
use crate::ModelError;

/// Values that are read at once, and rows of a matrix.
const BLOCK_VALUES: usize = 1 << 16;
const BLOCK_ROWS: usize = 16;

/// The tensors of a checkpoint's files.
pub(super) struct StoredTensors {
    files: Vec<(PathBuf, File)>,
    /// The tensors by name, each with the file that holds it.
    tensors: BTreeMap<String, (usize, TensorInfo)>,
    /// The file that says what there is: the only one, or the index of shards.
    listing: PathBuf,
}

impl StoredTensors {
    /// Opens the files of the model in `folder` and reads their headers; no value is read yet.
    pub(super) fn open(folder: &Path) -> Result<Self, ModelError> {
        let index = ShardIndex::read(folder)?;
        let listing = folder.join(if index.is_some() { INDEX } else { SINGLE });
        let mut stored = Self { files: Vec::new(), tensors: BTreeMap::new(), listing };
        let Some(index) = index else {
            stored.add(folder, SINGLE)?;
            return Ok(stored);
        };
        for shard in index.shards() {
            if !folder.join(shard).exists() {
                let reason = format!("names the shard `{shard}`, which is missing");
                return Err(ModelError::checkpoint(stored.listing, reason));
            }
            stored.add(folder, shard)?;
        }
        stored.agree_with(&index, folder)?;
        Ok(stored)
    }

    /// Opens one file of `folder`, which is no checkpoint by itself.
    pub(super) fn open_file(folder: &Path, name: &str) -> Result<Self, ModelError> {
        let listing = folder.join(name);
        let mut stored = Self { files: Vec::new(), tensors: BTreeMap::new(), listing };
        stored.add(folder, name)?;
        Ok(stored)
    }

    fn add(&mut self, folder: &Path, name: &str) -> Result<(), ModelError> {
        let path = folder.join(name);
        let file = model_folder::open(folder, name)?;
        let n_bytes = file.metadata().map_err(io(&path))?.len();
        let header = Header::read(&path, &file, n_bytes)?;
        for (tensor, info) in header.tensors {
            if let Some((other, _)) = self.tensors.insert(tensor.clone(), (self.files.len(), info))
            {
                let (tensor, other) = (shown(&tensor), self.files[other].0.display());
                let reason = format!("`{tensor}` stands in this shard and in {other}");
                return Err(ModelError::checkpoint(&path, reason));
            }
        }
        if self.tensors.len() > MAX_TENSORS {
            let reason = format!("its shards hold more than {MAX_TENSORS} tensors");
            return Err(ModelError::checkpoint(&self.listing, reason));
        }
        self.files.push((path, file));
        Ok(())
    }

    /// Each tensor lies where the index says, and the index knows each.
    fn agree_with(&self, index: &ShardIndex, folder: &Path) -> Result<(), ModelError> {
        let lies_in = |tensor: &str, shard: &str| {
            let file = self.tensors.get(tensor).map(|(file, _)| &self.files[*file].0);
            file.is_some_and(|path| *path == folder.join(shard))
        };
        if let Some((tensor, shard)) = index.tensors().find(|(name, shard)| !lies_in(name, shard)) {
            let reason = format!("`{}` does not lie in `{shard}`, as it says", shown(tensor));
            return Err(ModelError::checkpoint(&self.listing, reason));
        }
        let is_unknown = |name: &str| index.shard_of(name).is_none() && !is_buffer(name);
        let unknown = self.tensors.iter().find(|(name, _)| is_unknown(name));
        unknown.map_or(Ok(()), |(name, (file, _))| {
            let reason = format!("holds `{}`, which {INDEX} does not name", shown(name));
            Err(ModelError::checkpoint(&self.files[*file].0, reason))
        })
    }

    /// Refuses files that hold other tensors than these, or in other shapes: the model isn't what its
    /// config says. Heads that aren't asked for and constants of old checkpoints are passed over.
    pub(super) fn check(&self, expected: &[Slot]) -> Result<(), ModelError> {
        let missing: Vec<&str> = expected
            .iter()
            .map(|slot| slot.name.as_str())
            .filter(|name| !self.tensors.contains_key(*name))
            .collect();
        match missing[..] {
            [] => {}
            [name] => return Err(self.refuse(format!("`{name}` is missing"))),
            [name, ref more @ ..] => {
                let n_more = more.len();
                return Err(self.refuse(format!("`{name}` and {n_more} other tensors are missing")));
            }
        }
        expected.iter().try_for_each(|slot| self.check_tensor(slot))?;
        let known: std::collections::HashSet<&str> =
            expected.iter().map(|slot| slot.name.as_str()).collect();
        let is_known = |name: &str| known.contains(name) || is_head(name) || is_buffer(name);
        let stranger = self.tensors.iter().find(|(name, _)| !is_known(name));
        stranger.map_or(Ok(()), |(name, (file, _))| {
            let name = shown(name);
            let reason =
                format!("holds `{name}`, which the model of its config.json does not have");
            Err(ModelError::checkpoint(&self.files[*file].0, reason))
        })
    }

    fn check_tensor(&self, slot: &Slot) -> Result<(), ModelError> {
        let Slot { name, shape: asked, .. } = slot;
        let (path, TensorInfo { shape, dtype, .. }) = self.find(name);
        if shape != asked {
            let reason =
                format!("`{name}` has the shape {shape:?}, but config.json asks for {asked:?}");
            return Err(ModelError::checkpoint(path, reason));
        }
        if FloatType::of(*dtype).is_none() {
            let reason = format!("`{name}` is {dtype:?}; f32, f16 and bf16 are supported");
            return Err(ModelError::checkpoint(path, reason));
        }
        Ok(())
    }

    /// The tensors, in the order of their names.
    pub(super) fn tensors(&self) -> impl Iterator<Item = (&str, &TensorInfo)> {
        self.tensors.iter().map(|(name, (_, info))| (name.as_str(), info))
    }

    /// The tensor of this name, if there is one.
    pub(super) fn get(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(name).map(|(_, info)| info)
    }

    /// An error about a tensor that is there.
    pub(super) fn refuse_tensor(&self, name: &str, reason: &str) -> ModelError {
        ModelError::checkpoint(self.find(name).0, format!("`{}` {reason}", shown(name)))
    }

    /// Reads the values in these ranges of a checked tensor as f32, block by block; a block holds whole
    /// rows of `n_columns` values if all ranges do.
    ///
    /// # Errors
    /// A value that isn't finite.
    pub(super) fn read(
        &self,
        name: &str,
        runs: impl Iterator<Item = Range<usize>>,
        n_columns: usize,
        mut take: impl FnMut(&[f32]),
    ) -> Result<(), ModelError> {
        let (file, info) = &self.tensors[name];
        let (path, mut file) = (&self.files[*file].0, &self.files[*file].1);
        let float = FloatType::of(info.dtype).ok_or_else(|| {
            let reason = format!("is {:?}; f32, f16 and bf16 are supported", info.dtype);
            self.refuse_tensor(name, &reason)
        })?;
        let block = block_rows(n_columns) * n_columns;
        let (mut bytes, mut values) = (Vec::new(), Vec::new());
        for run in runs {
            let begin = info.bytes.start + (run.start * float.size()) as u64;
            file.seek(SeekFrom::Start(begin)).map_err(io(path))?;
            for begin in run.clone().step_by(block) {
                bytes.resize(block.min(run.end - begin) * float.size(), 0);
                file.read_exact(&mut bytes).map_err(io(path))?;
                values.clear();
                float.decode(&bytes, &mut values);
                if !all_finite(&values) {
                    return Err(self.refuse_tensor(name, "holds values that are not finite"));
                }
                take(&values);
            }
        }
        Ok(())
    }

    /// A part of a checked tensor, as the decoder has it.
    pub(super) fn unpack(&self, slot: &Slot, part: usize) -> Result<Vec<f32>, ModelError> {
        let mut unpacked = Unpacked::new(slot);
        let n_columns = slot.stored_matrix().map_or(1, |[_, n_columns]| n_columns);
        self.read(&slot.name, slot.runs(part), n_columns, |it| unpacked.take(it))?;
        Ok(unpacked.into_values())
    }

    fn find(&self, name: &str) -> (&Path, &TensorInfo) {
        let (file, info) = &self.tensors[name];
        (&self.files[*file].0, info)
    }

    fn refuse(&self, reason: String) -> ModelError {
        ModelError::checkpoint(&self.listing, reason)
    }
}

/// How many rows are read at once.
fn block_rows(n_columns: usize) -> usize {
    (BLOCK_VALUES / n_columns / BLOCK_ROWS).max(1) * BLOCK_ROWS
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> ModelError {
    let path = path.to_owned();
    move |source| DataError::Io { path, source }.into()
}
