//! Checkpoint folders that are whole or absent.
//!
//! A checkpoint is written into `step-000100.tmp-<process>`, each file is synced, a manifest with
//! sizes and hashes is added, and the folder is renamed to `step-000100`. A kill at any moment
//! leaves the checkpoints before it as they were. Reading verifies the manifest; a damaged folder
//! is set aside as `step-000100.corrupt` and the one before it is used.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::DataError;

const MANIFEST: &str = "manifest.json";

/// What a checkpoint holds, written last.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    /// Version of this layout.
    schema: u32,
    step: usize,
    files: BTreeMap<String, FileEntry>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct FileEntry {
    bytes: u64,
    sha256: String,
}

/// The checkpoints of one stage.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    folder: PathBuf,
}

impl Checkpoints {
    /// Those in `folder`, which need not exist yet.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The folder of a step's checkpoint.
    pub fn path(&self, step: usize) -> PathBuf {
        self.folder.join(format!("step-{step:06}"))
    }

    /// Lets `fill` write the files of a checkpoint, then makes it appear at once.
    pub fn write<E: From<DataError>>(
        &self,
        step: usize,
        fill: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        let target = self.path(step);
        let scratch = self.folder.join(format!("step-{step:06}.tmp-{}", std::process::id()));
        let written = create_empty(&scratch)
            .map_err(E::from)
            .and_then(|()| fill(&scratch))
            .and_then(|()| seal(&scratch, step).map_err(E::from))
            .and_then(|()| publish(&scratch, &target).map_err(E::from));
        if written.is_err() {
            // The failure itself is what the caller must hear of; what is left is swept next time.
            let _ = fs::remove_dir_all(&scratch);
        }
        written.map(|()| target)
    }

    /// The newest checkpoint that is whole, and its step. Damaged ones that are newer are set
    /// aside, and each is told to `warn`.
    pub fn latest(
        &self,
        mut warn: impl FnMut(String),
    ) -> Result<Option<(usize, PathBuf)>, DataError> {
        self.sweep()?;
        for step in self.steps()?.into_iter().rev() {
            let path = self.path(step);
            match verify(&path) {
                Ok(()) => return Ok(Some((step, path))),
                Err(reason) => {
                    let aside = path.with_extension("corrupt");
                    let _ = fs::remove_dir_all(&aside);
                    fs::rename(&path, &aside).map_err(DataError::io(&path))?;
                    warn(format!("{}: {reason}; kept as {}", path.display(), aside.display()));
                }
            }
        }
        Ok(None)
    }

    /// The steps that have a checkpoint, ascending.
    pub fn steps(&self) -> Result<Vec<usize>, DataError> {
        let mut steps: Vec<usize> = self
            .names()?
            .iter()
            .filter_map(|name| name.strip_prefix("step-")?.parse().ok())
            .collect();
        steps.sort_unstable();
        Ok(steps)
    }

    /// Removes all but the newest `keep_last` checkpoints and those of the steps in `keep`.
    pub fn prune(&self, keep_last: usize, keep: &[usize]) -> Result<(), DataError> {
        let steps = self.steps()?;
        let n_old = steps.len().saturating_sub(keep_last.max(1));
        for step in steps[..n_old].iter().filter(|step| !keep.contains(step)) {
            let path = self.path(*step);
            // Only what has our manifest is ours to delete.
            if path.join(MANIFEST).exists() {
                fs::remove_dir_all(&path).map_err(DataError::io(&path))?;
            }
        }
        Ok(())
    }

    /// Removes what a killed process left half-written.
    fn sweep(&self) -> Result<(), DataError> {
        for name in self.names()?.iter().filter(|name| name.contains(".tmp-")) {
            let path = self.folder.join(name);
            fs::remove_dir_all(&path).map_err(DataError::io(&path))?;
        }
        Ok(())
    }

    fn names(&self) -> Result<Vec<String>, DataError> {
        match fs::read_dir(&self.folder) {
            Ok(entries) => Ok(entries
                .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
                .filter(|name| name.starts_with("step-"))
                .collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(DataError::io(&self.folder)(error)),
        }
    }
}

/// Writes a small file so that it is either the old or the new one, whatever happens.
pub fn write_atomically(path: &Path, content: &[u8]) -> Result<(), DataError> {
    let scratch = path.with_extension(format!("tmp-{}", std::process::id()));
    fs::write(&scratch, content).map_err(DataError::io(&scratch))?;
    sync(&scratch)?;
    publish(&scratch, path)
}

fn create_empty(folder: &Path) -> Result<(), DataError> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(DataError::io(folder))?;
    }
    fs::create_dir_all(folder).map_err(DataError::io(folder))
}

fn seal(folder: &Path, step: usize) -> Result<(), DataError> {
    let mut files = BTreeMap::new();
    for path in files_below(folder)? {
        sync(&path)?;
        files.insert(relative_name(folder, &path), describe(&path)?);
    }
    let manifest = serde_json::to_vec_pretty(&Manifest { schema: 1, step, files });
    let path = folder.join(MANIFEST);
    fs::write(&path, manifest.expect("a manifest is plain JSON")).map_err(DataError::io(&path))?;
    sync(&path)?;
    sync(folder)
}

pub(crate) fn publish(scratch: &Path, target: &Path) -> Result<(), DataError> {
    if target.is_dir() {
        fs::remove_dir_all(target).map_err(DataError::io(target))?;
    }
    fs::rename(scratch, target).map_err(DataError::io(target))?;
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty());
    sync(folder.unwrap_or(Path::new(".")))
}

/// Says what is wrong with a checkpoint.
fn verify(folder: &Path) -> Result<(), String> {
    let bytes = fs::read(folder.join(MANIFEST)).map_err(|error| format!("{MANIFEST}: {error}"))?;
    let manifest: Manifest =
        serde_json::from_slice(&bytes).map_err(|error| format!("{MANIFEST}: {error}"))?;
    for (name, entry) in &manifest.files {
        let found = describe(&folder.join(name)).map_err(|error| error.to_string())?;
        if found != *entry {
            return Err(format!("`{name}` is damaged"));
        }
    }
    Ok(())
}

fn describe(path: &Path) -> Result<FileEntry, DataError> {
    let mut file = File::open(path).map_err(DataError::io(path))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut bytes = 0;
    loop {
        let n_read = file.read(&mut buffer).map_err(DataError::io(path))?;
        if n_read == 0 {
            let sha256 = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
            return Ok(FileEntry { bytes, sha256 });
        }
        hash.update(&buffer[..n_read]);
        bytes += n_read as u64;
    }
}

fn files_below(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(DataError::io(folder))? {
        let path = entry.map_err(DataError::io(folder))?.path();
        if path.is_dir() {
            files.extend(files_below(&path)?);
            sync(&path)?;
        } else {
            files.push(path);
        }
    }
    Ok(files)
}

fn relative_name(folder: &Path, path: &Path) -> String {
    let relative = path.strip_prefix(folder).expect("the file lies below the folder");
    relative
        .components()
        .map(|part| part.as_os_str().to_string_lossy())
        .collect::<Vec<_>>()
        .join("/")
}

fn sync(path: &Path) -> Result<(), DataError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(DataError::io(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(checkpoints: &Checkpoints, step: usize) -> PathBuf {
        checkpoints
            .write(step, |folder| {
                fs::create_dir(folder.join("model")).map_err(DataError::io(folder))?;
                for name in ["model/weights", "state"] {
                    let content = format!("{name} at {step}");
                    fs::write(folder.join(name), content).map_err(DataError::io(folder))?;
                }
                Ok::<_, DataError>(())
            })
            .expect("writes")
    }

    fn latest(checkpoints: &Checkpoints) -> Option<usize> {
        checkpoints.latest(|_| {}).expect("reads").map(|(step, _)| step)
    }

    #[test]
    fn a_flipped_byte_in_any_file_makes_the_one_before_the_latest() {
        for name in ["model/weights", "state", MANIFEST] {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let checkpoints = Checkpoints::new(folder.path());
            write(&checkpoints, 1);
            let newest = write(&checkpoints, 2).join(name);
            assert_eq!(latest(&checkpoints), Some(2));
            let mut bytes = fs::read(&newest).expect("reads");
            bytes[3] ^= 1;
            fs::write(&newest, bytes).expect("writes");
            let mut warnings = Vec::new();
            let found = checkpoints.latest(|warning| warnings.push(warning)).expect("reads");
            assert_eq!(found.map(|(step, _)| step), Some(1));
            assert_eq!(warnings.len(), 1);
            assert!(folder.path().join("step-000002.corrupt").exists());
        }
    }

    #[test]
    fn truncated_and_missing_files_are_damage() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let checkpoints = Checkpoints::new(folder.path());
        write(&checkpoints, 1);
        let second = write(&checkpoints, 2);
        let third = write(&checkpoints, 3);
        fs::write(second.join("state"), "sta").expect("writes");
        fs::remove_file(third.join("model/weights")).expect("removes");
        assert_eq!(latest(&checkpoints), Some(1));
    }

    #[test]
    fn a_failed_write_leaves_nothing_and_hurts_nothing() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let checkpoints = Checkpoints::new(folder.path());
        write(&checkpoints, 1);
        let failed = checkpoints.write(2, |folder| {
            fs::write(folder.join("state"), "half").map_err(DataError::io(folder))?;
            Err(DataError::Invalid("the disk is full".into()))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read_dir(folder.path()).expect("reads").count(), 1);
        assert_eq!(latest(&checkpoints), Some(1));
    }

    #[test]
    fn what_a_killed_process_left_is_swept() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let checkpoints = Checkpoints::new(folder.path());
        write(&checkpoints, 1);
        fs::create_dir(folder.path().join("step-000002.tmp-1")).expect("creates");
        assert_eq!(latest(&checkpoints), Some(1));
        assert!(!folder.path().join("step-000002.tmp-1").exists());
    }

    #[test]
    fn pruning_keeps_the_last_and_the_named() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let checkpoints = Checkpoints::new(folder.path());
        for step in 1..=6 {
            write(&checkpoints, step);
        }
        fs::create_dir(folder.path().join("step-000000")).expect("creates");
        checkpoints.prune(2, &[3]).expect("prunes");
        assert_eq!(
            checkpoints.steps().expect("reads"),
            [0, 3, 5, 6],
            "0 has no manifest: not ours"
        );
    }
}
