use std::path::PathBuf;

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
    /// A stored answer can't be read.
    #[error("annotation {id}: {reason}")]
    BadAnnotation {
        /// The annotation's row.
        id: i64,
        /// What is wrong with it.
        reason: String,
    },
    /// Something doesn't fit.
    #[error("{0}")]
    Invalid(String),
}

impl FeedbackError {
    /// Whether the disk ran full, so that freeing space and resuming is the way out.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Store { source, .. } if is_full(source))
    }
}

fn is_full(source: &rusqlite::Error) -> bool {
    source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
}

fn hint(source: &rusqlite::Error) -> &'static str {
    if is_full(source) { "; free some space, what was stored before is intact" } else { "" }
}
