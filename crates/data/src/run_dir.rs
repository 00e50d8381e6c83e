//! The folder of a run.
//!
//! ```text
//! runs/helpdesk/
//!   config.toml        the resolved config: what `--resume` runs again
//!   metrics.jsonl      one line a step, TRL's metric names
//!   seconds.json       how long each stage took
//!   samples.jsonl      completions with their scores, every few steps
//!   tensorboard/       the same metrics as event files
//!   feedback.sqlite    who judged what
//!   checkpoints/<stage>/step-000100/   models in the Hugging Face layout, and what resuming needs
//!   checkpoints/<stage>/finished.json  which of them is the stage's result
//!   report.html
//! ```

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::DataError;
use crate::checkpoint::{Checkpoints, write_atomically};

/// A run's folder, locked against a second process as long as this value lives.
#[derive(Debug)]
pub struct RunDir {
    root: PathBuf,
    /// None where the first of several workers holds it.
    _lock: Option<File>,
}

/// How a stage ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finished {
    /// The step whose checkpoint is the stage's result.
    pub step: usize,
    /// Why it ended: all steps done, or stopped early.
    pub reason: String,
}

impl RunDir {
    /// Makes a folder for a new run. One that holds a run already is refused.
    pub fn create(root: &Path) -> Result<Self, DataError> {
        if root.join("config.toml").exists() {
            return Err(DataError::file(
                root,
                "holds a run already; resume it or name another folder",
            ));
        }
        fs::create_dir_all(root).map_err(DataError::io(root))?;
        Self::lock(root)
    }

    /// Opens the folder of a run to go on with it.
    pub fn open(root: &Path) -> Result<Self, DataError> {
        if !root.join("config.toml").exists() {
            return Err(DataError::file(root, "holds no run: there is no config.toml"));
        }
        Self::lock(root)
    }

    /// The folder of a run that another worker has opened. This one only reads.
    pub fn join(root: &Path) -> Self {
        Self { root: root.to_path_buf(), _lock: None }
    }

    /// The first of `base`, `base-2`, `base-3`, … that is free.
    pub fn free_name(base: &Path) -> PathBuf {
        let numbered = |number: usize| PathBuf::from(format!("{}-{number}", base.display()));
        let names = std::iter::once(base.to_path_buf()).chain((2..).map(numbered));
        names.into_iter().find(|path| !path.exists()).expect("numbers don't end")
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A file of the run.
    pub fn file(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The checkpoints of a stage.
    pub fn checkpoints(&self, stage: &str) -> Checkpoints {
        Checkpoints::new(self.stage_folder(stage))
    }

    /// Marks a stage as done.
    pub fn finish(&self, stage: &str, finished: &Finished) -> Result<(), DataError> {
        let folder = self.stage_folder(stage);
        fs::create_dir_all(&folder).map_err(DataError::io(&folder))?;
        let content = serde_json::to_vec_pretty(finished).expect("plain JSON");
        write_atomically(&folder.join("finished.json"), &content)
    }

    /// How a stage ended, if it has.
    pub fn finished(&self, stage: &str) -> Result<Option<Finished>, DataError> {
        let path = self.stage_folder(stage).join("finished.json");
        if !path.exists() {
            return Ok(None);
        }
        let bytes = fs::read(&path).map_err(DataError::io(&path))?;
        let finished = serde_json::from_slice(&bytes);
        finished.map(Some).map_err(|error| DataError::file(&path, error.to_string()))
    }

    fn stage_folder(&self, stage: &str) -> PathBuf {
        self.root.join("checkpoints").join(stage)
    }

    fn lock(root: &Path) -> Result<Self, DataError> {
        let path = root.join(".lock");
        let lock = File::create(&path).map_err(DataError::io(&path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { root: root.to_path_buf(), _lock: Some(lock) }),
            Err(TryLockError::WouldBlock) => {
                Err(DataError::file(root, "another process works on this run"))
            }
            Err(TryLockError::Error(error)) => Err(DataError::io(&path)(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_not_written_over_and_not_shared() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path().join("run");
        let run = RunDir::create(&root).expect("creates");
        fs::write(run.file("config.toml"), "").expect("writes");
        assert!(RunDir::create(&root).expect_err("is refused").to_string().contains("already"));
        assert!(
            RunDir::open(&root).expect_err("is refused").to_string().contains("another process")
        );
        drop(run);
        RunDir::open(&root).expect("opens");
        assert!(
            RunDir::open(folder.path()).expect_err("is refused").to_string().contains("no run")
        );
    }

    #[test]
    fn free_names_count_up() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let base = folder.path().join("a");
        assert_eq!(RunDir::free_name(&base), base);
        fs::create_dir(&base).expect("creates");
        assert_eq!(RunDir::free_name(&base), folder.path().join("a-2"));
    }
}
