use rein_data::DataError;
use rein_model::ModelError;
use thiserror::Error;

/// What can be wrong with rewards and their training.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RewardError {
    /// Text, files or run directories.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The judgements can't be used.
    #[error("{0}")]
    Invalid(String),
}
