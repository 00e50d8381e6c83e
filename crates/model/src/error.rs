use std::path::{Path, PathBuf};

use rein_data::DataError;
use thiserror::Error;

/// What can be wrong with models and their training.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ModelError {
    /// Text, files or run directories.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A checkpoint can't be read as it is.
    #[error("{}: {reason}", path.display())]
    Checkpoint {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A model config asks for something that can't be represented faithfully.
    #[error("model config: {0}")]
    Config(String),
    /// A setting or combination of settings can't be used.
    #[error("{0}")]
    Invalid(String),
    /// A row of tokens can't be given to the model.
    #[error("row {} {reason}", row + 1)]
    Row {
        /// The row, counted from 0.
        row: usize,
        /// What it has that it shouldn't.
        reason: String,
    },
    /// Training met a number that isn't finite.
    #[error("step {step}: {what} is not finite; lower the learning rate")]
    NotFinite {
        /// The step, counted from 1.
        step: usize,
        /// The loss or the gradient.
        what: &'static str,
    },
}

impl ModelError {
    pub(crate) fn checkpoint(path: impl AsRef<Path>, reason: impl Into<String>) -> Self {
        Self::Checkpoint { path: path.as_ref().to_path_buf(), reason: reason.into() }
    }
}
