use rein_data::DataError;
use rein_model::ModelError;
use thiserror::Error;

use crate::rules::Fault;

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
    /// A rule can't judge a completion.
    #[error(
        "the rule `{rule}` can't judge completion {} (of the prompt {prompt:?}): {fault}; with `on_error = \
         \"skip\"` the run would go on", row + 1
    )]
    Rule {
        /// The rule's name.
        rule: String,
        /// Which of the completions that it was asked about, counted from 0.
        row: usize,
        /// The beginning of its prompt.
        prompt: String,
        /// Why not.
        fault: Fault,
    },
    /// The judgements can't be used.
    #[error("{0}")]
    Invalid(String),
}
