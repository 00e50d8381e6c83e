use rein_data::DataError;
use rein_model::ModelError;
use rein_reward::RewardError;
use thiserror::Error;

/// What can be wrong with policy optimisation.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PpoError {
    /// Text, files or run directories.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The reward.
    #[error(transparent)]
    Reward(#[from] RewardError),
    /// A setting or combination of settings can't be used.
    #[error("{0}")]
    Invalid(String),
    /// A reward that isn't a number was given to a completion.
    #[error("step {step}: the reward `{reward}` gave {score} to a completion")]
    BadScore {
        /// The step, counted from 1.
        step: usize,
        /// The reward's name.
        reward: String,
        /// What it gave.
        score: f32,
    },
    /// Before the first update, sampling and training must agree on what is how probable.
    #[error(
        "step {step}: before the first update the probability ratio is off by {error}; sampling and \
         training disagree"
    )]
    RatioNotOne {
        /// The step, counted from 1.
        step: usize,
        /// The largest `|ratio − 1|`.
        error: f64,
    },
}
