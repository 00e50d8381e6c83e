//! Rewards for one person, from a few of their answers.
//!
//! People differ, and a reward model that is fitted to all of them at once pleases their mean, which may be
//! nobody. A [`Personal`] reward learns beforehand, from many people's answers, in which directions people
//! differ; of a new [`Person`] it then needs a few answers, and some microseconds, to say what they like:
//!
//! ```text
//! many people's answers ─fit─▶ Personal ─adapt (k answers of one person)─▶ Person ─head─▶ scores, and how sure
//! ```
//!
//! The reward of a prompt `x` and a completion `y` for a person `u` is `φ(x, y)ᵀ θ_u`, where `φ` is the hidden
//! state that the reward model's head reads. How `θ_u` is found is the [`Method`]:
//!
//! - [`Basis`](Method::Basis): `θ_u = w + B z_u` with few coordinates `z_u ~ N(μ, Σ)` and the model's own head `w`;
//!   the family of PAL (Chen et al., 2024) and VPL (Poddar et al., 2024). It is the one that also copes with
//!   people who want opposite things.
//! - [`Reptile`](Method::Reptile) and [`Fomaml`](Method::Fomaml): a start for all heads, from which a few steps of
//!   gradient descent suit each.
//!
//! Everything here is arithmetic on features; [`features`](fn@features) asks the model for them once.

mod basis;
mod config;
mod descent;
mod features;
mod file;
mod joint;
mod logistic;
mod person;
mod personal;
mod reward;
mod start;

use crate::encoding::Pair;
use crate::evaluate::{Share, pair_accuracy};

pub(crate) use file::{NUMBERS, TENSORS};
pub(crate) use logistic::ridge_head;

pub use config::{Method, PersonalConfig};
pub use descent::{Descent, fomaml, outer_step, reptile};
pub use features::{differences, features};
pub use joint::JointTraining;
pub use person::{Person, Taste};
pub use personal::Personal;
pub use reward::{PersonalReward, PersonalScore};

/// A pair and who judged it.
#[derive(Clone, Debug, PartialEq)]
pub struct Annotated {
    /// The number of the person, counted from 0.
    pub person: usize,
    /// What was judged.
    pub pair: Pair,
}

/// What an answer says: the features of what was preferred less those of what was not.
pub type Difference = Vec<f64>;

/// How often a head `θ` holds what was preferred for the better one: the share of differences `x` with
/// `θᵀ x > 0`, those with `θᵀ x = 0` as half.
pub fn told_right(head: &[f64], answers: &[Difference]) -> Share {
    let score = |x: &Difference| x.iter().zip(head).map(|(x, w)| x * w).sum::<f64>() as f32;
    let scores: Vec<f32> = answers.iter().map(score).collect();
    pair_accuracy(&scores, &vec![0.0; scores.len()])
}

/// The head that some answers give by themselves: ridge logistic regression around 0, where a coordinate of
/// the differences has the deviation 1. What is learned without other people's help.
pub fn from_scratch(answers: &[Difference], ridge: f64) -> Vec<f64> {
    let n_features = answers.first().map_or(0, Vec::len);
    logistic::ridge_head(answers, &vec![0.0; n_features], ridge)
}

/// The head that some answers give by themselves, and the covariance of what isn't known of it (Laplace), with
/// the prior `N(0, I / ridge)`: where a reward is uncertain, answers teach most ([`active`](crate::active)).
pub fn posterior_head(answers: &[Difference], ridge: f64) -> (Vec<f64>, Vec<Vec<f64>>) {
    let n_features = answers.first().map_or(0, Vec::len);
    let seen: Vec<_> = answers.iter().map(|x| (0.0, x.clone())).collect();
    let prior = logistic::Normal::around_zero(n_features, 1.0 / ridge);
    let logistic::Normal { mean, covariance } = logistic::posterior(&seen, &prior);
    (mean, covariance)
}
