//! Encoded demonstrations: in memory while they are few, else in files of the run's folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use rein_data::DataError;
use rein_data::checkpoint::write_atomically;
use rein_data::encoder::{EncodedRows, Encoder};
use rein_data::encoding::{Tally, TokenRow};
use rein_data::store::{TokenStore, TokenStoreWriter};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Files;
use crate::config::{Config, ModelSource};

/// Rows that take more go to a file.
const MEMORY_BYTES: usize = 48 << 20;
/// Says what the files of a folder were made from.
const ORIGIN: &str = "origin.json";
const NAMES: [&str; 2] = ["train.rows", "heldout.rows"];

/// Where rows lie that don't fit into memory: `rows` in the run's folder. Until there is one, a folder
/// beside it, which is removed unless it becomes that of a run.
#[derive(Clone, Debug)]
pub(crate) struct RowsFolder(Arc<Place>);

#[derive(Debug)]
struct Place {
    path: PathBuf,
    is_scratch: bool,
}

/// Encoded rows to train on and to measure with.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) train: TokenStore,
    pub(crate) heldout: TokenStore,
    pub(crate) tallies: [Tally; 2],
}

/// What files of rows were made from, and what became of it.
#[derive(Serialize, Deserialize)]
struct Origin {
    fingerprint: String,
    tallies: [Tally; 2],
}

impl RowsFolder {
    /// The folder for the rows of the run in `root`, which may not be there yet.
    pub(crate) fn of(root: &Path) -> Self {
        let is_scratch = !root.join("config.toml").exists();
        let path = match is_scratch {
            true => PathBuf::from(format!("{}.rows", root.display())),
            false => root.join("rows"),
        };
        Self(Arc::new(Place { path, is_scratch }))
    }

    /// Moves what lies there into the folder of a run that was just made.
    pub(crate) fn move_to(&self, root: &Path) -> Result<(), DataError> {
        let Place { path, is_scratch } = &*self.0;
        if *is_scratch && path.exists() {
            let refuse = |source| DataError::Io { path: path.clone(), source };
            fs::rename(path, root.join("rows")).map_err(refuse)?;
        }
        Ok(())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path.join(name)
    }

    /// Makes the folder, without what a run that was killed may have left there.
    fn make(&self) -> Result<(), DataError> {
        let path = &self.0.path;
        let refuse = |source| DataError::Io { path: path.clone(), source };
        fs::create_dir_all(path).map_err(refuse)?;
        for entry in fs::read_dir(path).map_err(refuse)? {
            let entry = entry.map_err(refuse)?;
            if entry.file_name().to_string_lossy().contains(".tmp-") {
                fs::remove_file(entry.path()).map_err(refuse)?;
            }
        }
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_scratch && self.path.exists() {
            let _ = NAMES
                .iter()
                .chain([&ORIGIN])
                .map(|name| self.path.join(name))
                .try_for_each(fs::remove_file);
            let _ = fs::remove_dir(&self.path);
        }
    }
}

/// Encodes all demonstrations, or opens what a run encoded before from the same files.
pub(crate) fn encode(
    files: &Files,
    encoder: &Encoder,
    config: &Config,
    folder: &RowsFolder,
) -> Result<Stored> {
    encode_within(files, encoder, config, folder, MEMORY_BYTES)
}

/// Keeps up to `most` bytes of rows in memory.
fn encode_within(
    files: &Files,
    encoder: &Encoder,
    config: &Config,
    folder: &RowsFolder,
    most: usize,
) -> Result<Stored> {
    let fingerprint = fingerprint(files, config);
    if let Some(stored) = reopen(folder, &fingerprint) {
        return Ok(stored);
    }
    let max_tokens = config.sft.max_tokens;
    let mut rows = EncodedRows::new(encoder, files.train()?, max_tokens);
    let train = keep(&mut rows, folder, NAMES[0], most)?;
    let is_in_file = folder.file(NAMES[0]).exists();
    let tally = rows.finish()?;
    let mut rows = EncodedRows::new(encoder, files.heldout()?, max_tokens);
    let bound = if is_in_file { 0 } else { most };
    let heldout = keep(&mut rows, folder, NAMES[1], bound)?;
    let tallies = [tally, rows.finish()?];
    if is_in_file {
        let origin = serde_json::to_vec_pretty(&Origin { fingerprint, tallies })?;
        write_atomically(&folder.file(ORIGIN), &origin)?;
    }
    Ok(Stored { train, heldout, tallies })
}

/// Rows in memory or, if they take more than `most` bytes there, in a file.
fn keep(
    rows: impl Iterator<Item = Result<TokenRow, DataError>>,
    folder: &RowsFolder,
    name: &str,
    most: usize,
) -> Result<TokenStore, DataError> {
    let mut few = Vec::new();
    let mut n_bytes = 0;
    let mut rows = rows.into_iter();
    for row in rows.by_ref() {
        let row = row?;
        n_bytes += size_of::<TokenRow>() + 5 * row.tokens.len();
        few.push(row);
        if n_bytes > most {
            break;
        }
    }
    if n_bytes <= most && most > 0 {
        return Ok(TokenStore::in_memory(few));
    }
    folder.make()?;
    let mut writer = TokenStoreWriter::create(folder.file(name))?;
    for row in few {
        writer.push(&row)?;
    }
    for row in rows {
        writer.push(&row?)?;
    }
    writer.finish()
}

fn reopen(folder: &RowsFolder, fingerprint: &str) -> Option<Stored> {
    let origin = fs::read(folder.file(ORIGIN)).ok()?;
    let origin: Origin = serde_json::from_slice(&origin).ok()?;
    let [train, heldout] = NAMES.map(|name| TokenStore::open(folder.file(name)).ok());
    let stored = Stored { train: train?, heldout: heldout?, tallies: origin.tallies };
    (origin.fingerprint == fingerprint).then_some(stored)
}

/// Changes with whatever the encoded rows follow from: settings, and sizes and times of files.
fn fingerprint(files: &Files, config: &Config) -> String {
    let mut hash = Sha256::new();
    let settings = (&config.seed, &config.data, &config.model, config.sft.max_tokens);
    hash.update(serde_json::to_vec(&settings).unwrap_or_default());
    let sets = files.config.sets().into_iter().map(|set| set.path);
    let mut paths: Vec<PathBuf> = sets.chain(files.config.heldout.clone()).collect();
    if let ModelSource::Pretrained { path } = &config.model {
        let parts = ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"];
        paths.extend(parts.map(|name| path.join(name)));
    }
    paths.extend(files.config.chat_template.as_ref().map(PathBuf::from));
    for path in paths {
        let state = fs::metadata(&path).ok().map(|it| (it.len(), it.modified().ok()));
        hash.update(format!("{}: {state:?}\n", path.display()));
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use rein_data::seed::Seed;
    use rein_data::tokenizer::Tokenizer;

    use super::*;
    use crate::config::{DataConfig, FilesConfig};

    fn encode(data: &Path, root: &Path, most: usize) -> (Stored, RowsFolder) {
        let files = FilesConfig {
            demonstrations: Some(data.to_owned()),
            heldout_share: 0.3,
            ..FilesConfig::default()
        };
        let config = Config { data: DataConfig::Files(files.clone()), ..Config::default() };
        let tokenizer = Tokenizer::train_bpe(["a"], 259).expect("trains");
        let encoder = Encoder::new(tokenizer, None, None);
        let folder = RowsFolder::of(root);
        let files = Files::new(files, Seed::new(1));
        let stored = encode_within(&files, &encoder, &config, &folder, most).expect("encodes");
        (stored, folder)
    }

    fn rows(store: &TokenStore) -> Vec<TokenRow> {
        (0..store.len()).map(|row| store.row(row).expect("reads")).collect()
    }

    #[test]
    fn rows_go_to_a_file_that_the_run_keeps_and_reads_again() {
        let place = tempfile::tempdir().expect("a temporary folder");
        let (data, root) = (place.path().join("rows.jsonl"), place.path().join("run"));
        let lines =
            |n: usize| (0..n).map(|n| format!("{{\"text\":\"row {n}\"}}\n")).collect::<String>();
        fs::write(&data, lines(40)).expect("writes");
        let (small, folder) = encode(&data, &root, usize::MAX);
        assert!(!folder.0.path.exists());
        fs::create_dir(place.path().join("run.rows")).expect("makes a folder");
        fs::write(place.path().join("run.rows/train.tmp-1"), "").expect("writes");
        let (large, folder) = encode(&data, &root, 1);
        assert_eq!(rows(&large.train), rows(&small.train));
        assert!(!place.path().join("run.rows/train.tmp-1").exists(), "of a run that was killed");
        assert_eq!(rows(&large.heldout), rows(&small.heldout));
        assert_eq!(large.train.len() + large.heldout.len(), 40);
        assert_eq!(large.tallies, small.tallies);
        drop(folder);
        assert!(!place.path().join("run.rows").exists(), "what no run keeps is removed");

        let (_, folder) = encode(&data, &root, 1);
        fs::create_dir(&root).expect("makes the run's folder");
        folder.move_to(&root).expect("moves");
        drop(folder);
        fs::write(root.join("config.toml"), "").expect("writes");
        let written = || fs::metadata(root.join("rows/train.rows")).and_then(|it| it.modified());
        let before = written().expect("is there");
        let (again, _) = encode(&data, &root, 1);
        assert_eq!(rows(&again.train), rows(&small.train));
        assert_eq!(written().expect("is there"), before);
        // Other rows in the file: the old ones are no use.
        fs::write(&data, lines(50)).expect("writes");
        let (more, _) = encode(&data, &root, 1);
        assert_eq!(more.train.len() + more.heldout.len(), 50);
    }
}
