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
    /// Rewards that aren't numbers were given again and again.
    #[error(
        "step {step}: the reward `{reward}` gave {score} to a completion, and not for the first time; \
         rewards must be numbers"
    )]
    BadScore {
        /// The step, counted from 1.
        step: usize,
        /// The reward's name.
        reward: String,
        /// What it gave.
        score: f32,
    },
    /// Updates can't be used, however small the learning rate.
    #[error(
        "step {step}: training falls apart: {n_skipped} updates were left out because of numbers that \
         aren't finite or of a policy that went astray, and {n_rollbacks} times the run went back to its last \
         checkpoint; lower `rl.optimizer.learning_rate`"
    )]
    Diverged {
        /// The step, counted from 1.
        step: usize,
        /// Updates that were left out.
        n_skipped: u64,
        /// How often the run went back.
        n_rollbacks: u32,
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
