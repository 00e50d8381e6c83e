//! Scores for completions.
//!
//! A [`Reward`] says how good completions are; reinforcement learning asks it and knows nothing else
//! about it. [`LearnedReward`] asks a reward model, which [`train`] fits to what people preferred
//! ([`loss::bradley_terry`], [`ties`], [`rankings`]), labelled ([`loss::binary`]) or graded ([`grades`]); [`rules`]
//! need no model. [`evaluate`] measures how often it agrees with judgements it hasn't seen, beside the
//! [`bag_of_words`] judge that any reward model should beat; [`report`] how far it can be trusted, and [`swaps`]
//! what it makes of other names and groups. A [`Mixture`] weighs several rewards against each other.
//! [`meta`] finds the reward of one person from a few answers, and [`active`] says which pairs to ask people about.
//!
//! This crate doesn't know who trains a policy, and a reward never sees a policy's logits.

pub mod active;
pub mod adversarial;
pub mod bag_of_words;
pub mod best_of;
pub mod encoding;
pub mod ensemble;
pub mod evaluate;
pub mod grades;
pub mod inverse;
pub mod loss;
pub mod meta;
pub mod objective;
pub mod overoptimization;
pub mod rankings;
pub mod report;
pub mod rules;
pub mod swaps;
pub mod ties;
pub mod train;

mod cholesky;
mod config;
mod error;
mod gold;
mod judgements;
mod learned;
mod logistic;
mod mixture;
mod online;
mod pass;
mod sources;
mod uncertainty;
mod verdict;

use rein_data::example::Completion;

pub use error::RewardError;
pub use gold::Gold;
pub use learned::{LearnedReward, Normalization};
pub use mixture::{Failure, Mixture, Scores, Weighted, scores};
pub use online::{OnlineReward, RIDGE};
pub use sources::{ErrorPolicy, RewardKind, RewardSource, RuleSource, name_problem};
pub use verdict::Verdict;

/// What may lie beside a reward model's own files: heads of an ensemble, and what is known of people.
pub const BESIDE_MODEL: [&str; 3] = [ensemble::ENSEMBLE, meta::TENSORS, meta::NUMBERS];

/// Says how good completions are. The one open set of this crate, hence its one trait.
pub trait Reward {
    /// What the reward is called in metrics: `rewards/<name>/mean`.
    fn name(&self) -> &str;

    /// One score for each completion, in their order; higher is better.
    fn score(&self, completions: &[Completion]) -> Result<Vec<f32>, RewardError>;

    /// The scores, with what else the reward can say: why, and which completions it couldn't judge.
    fn verdicts(&self, completions: &[Completion]) -> Result<Vec<Verdict>, RewardError> {
        Ok(self.score(completions)?.into_iter().map(Verdict::from).collect())
    }

    /// Whether it follows from a [rule](rules): metrics then tell how often that fired, and how often it
    /// couldn't judge.
    fn is_rule(&self) -> bool {
        false
    }

    /// What it mixes, if it is a [`Mixture`]: metrics tell of each part by its name.
    fn parts(&self) -> &[Weighted] {
        &[]
    }
}
