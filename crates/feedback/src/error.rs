use std::path::{Path, PathBuf};

use rein_data::DataError;
use thiserror::Error;

/// What can be wrong with the store of feedback.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FeedbackError {
    /// SQLite refused.
    #[error("{}: {source}{}", path.display(), hint(source))]
    Store {
        /// The store's file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The file was written by a newer version.
    #[error("{}: its schema is version {found}; this program knows versions up to {known}", path.display())]
    TooNew {
        /// The store's file.
        path: PathBuf,
        /// Version of the file.
        found: i64,
        /// The newest version known.
        known: i64,
    },
    /// There is no file to read.
    #[error("{}: there is no such store", path.display())]
    NoStore {
        /// The store's file.
        path: PathBuf,
    },
    /// Something stored can't be read.
    #[error("{what} {id}: {reason}")]
    BadRow {
        /// What kind of row it is.
        what: &'static str,
        /// Its number.
        id: i64,
        /// What is wrong with it.
        reason: String,
    },
    /// A file can't be read; the error names its line or row.
    #[error(transparent)]
    Data(#[from] DataError),
    /// What somebody asked for can't be done.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Something doesn't fit.
    #[error("{0}")]
    Invalid(String),
}

/// Why something that somebody asked for can't be done.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The project isn't there.
    #[error("there is no project `{0}`")]
    NoProject(String),
    /// The task isn't there.
    #[error("there is no task {0}")]
    NoTask(i64),
    /// Nobody is known by this name.
    #[error("nobody is known as `{0}`")]
    NoAnnotator(String),
    /// Somebody may not answer any more.
    #[error("`{0}` is suspended")]
    Suspended(String),
    /// Somebody answers what wasn't asked.
    #[error("task {0} wasn't asked")]
    NotAsked(i64),
    /// Others took the place meanwhile.
    #[error("task {0} was answered by enough others meanwhile; this answer isn't stored")]
    Full(i64),
    /// The answer doesn't fit the question.
    #[error("{0}")]
    BadAnswer(String),
    /// A key stands for something else already.
    #[error("the key `{0}` belongs to another answer")]
    KeyTaken(String),
    /// There is nothing to take back.
    #[error("there is nothing to undo: only the last {0} answers can be changed")]
    NothingToUndo(usize),
    /// The project can't be made.
    #[error("project `{0}`: {1}")]
    BadProject(String, String),
    /// The task can't be added.
    #[error("task `{0}`: {1}")]
    BadTask(String, String),
}

impl Refusal {
    /// A name that programs can rely on.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoProject(_) => "no_project",
            Self::NoTask(_) => "no_task",
            Self::NoAnnotator(_) => "no_annotator",
            Self::Suspended(_) => "suspended",
            Self::NotAsked(_) => "not_asked",
            Self::Full(_) => "task_full",
            Self::BadAnswer(_) => "bad_answer",
            Self::KeyTaken(_) => "key_taken",
            Self::NothingToUndo(_) => "nothing_to_undo",
            Self::BadProject(..) => "bad_project",
            Self::BadTask(..) => "bad_task",
        }
    }
}

/// Which file it was is said later.
impl From<rusqlite::Error> for FeedbackError {
    fn from(source: rusqlite::Error) -> Self {
        Self::Store { path: PathBuf::new(), source }
    }
}

impl FeedbackError {
    /// Whether the disk ran full, so that freeing space and resuming is the way out.
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::Store { source, .. } => is_full(source),
            Self::Data(error) => error.is_disk_full(),
            _ => false,
        }
    }

    /// Says in which file it happened.
    pub(crate) fn at(self, file: &Path) -> Self {
        match self {
            Self::Store { path, source } if path.as_os_str().is_empty() => {
                Self::Store { path: file.to_path_buf(), source }
            }
            other => other,
        }
    }
}

fn is_full(source: &rusqlite::Error) -> bool {
    source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
}

fn hint(source: &rusqlite::Error) -> &'static str {
    if is_full(source) { "; free some space, what was stored before is intact" } else { "" }
}
