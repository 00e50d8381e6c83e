use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// What can be wrong with text, tables, tokenizers and run directories.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DataError {
    /// The operating system refused to read or write.
    #[error("{}: {source}{}", path.display(), io_hint(source))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// One line of a file cannot be used.
    #[error("{}:{line}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it and what would be right.
        reason: String,
    },
    /// One row of a file in which lines mean nothing cannot be used.
    #[error("{}, row {row}: {reason}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// The row, counted from 1.
        row: usize,
        /// What is wrong with it and what would be right.
        reason: String,
    },
    /// A file as a whole cannot be used.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it and what would be right.
        reason: String,
    },
    /// Workers that train one model no longer have the same.
    #[error(
        "step {step}: worker {worker} of {count} has other weights than the first; checkpoints from before are \
         intact. Give all workers the same build, config and files, and go on from there"
    )]
    Diverged {
        /// The last step that was done, counted from 1.
        step: usize,
        /// The first worker that differs, counted from 1.
        worker: usize,
        /// How many there are.
        count: usize,
    },
    /// A setting or value cannot be used.
    #[error("{0}")]
    Invalid(String),
}

impl DataError {
    pub(crate) fn io(path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io { path, source }
    }

    pub(crate) fn line(path: &Path, line: usize, reason: impl Into<String>) -> Self {
        Self::Line { path: path.to_path_buf(), line, reason: reason.into() }
    }

    pub(crate) fn file(path: impl AsRef<Path>, reason: impl Into<String>) -> Self {
        Self::File { path: path.as_ref().to_path_buf(), reason: reason.into() }
    }

    /// Whether the run failed, rather than its input: the disk ran full or workers went apart.
    pub fn is_failure(&self) -> bool {
        self.is_disk_full() || matches!(self, Self::Diverged { .. })
    }

    /// Whether the disk ran full, so that freeing space and resuming is the way out.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull)
    }
}

/// A word on the way out for the failures that people meet most.
fn io_hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull => {
            "; free some space, the checkpoints already written are intact"
        }
        io::ErrorKind::NotFound => "; paths begin at the current folder",
        io::ErrorKind::PermissionDenied => "; check the permissions of the folder",
        _ => "",
    }
}
