use serde::{Deserialize, Serialize};

use crate::cholesky::Matrix;

/// What is known of one person, in terms of the [`Personal`](super::Personal) reward that was adapted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    /// Answers that it is known from.
    pub answers: usize,
    /// What the person likes.
    pub taste: Taste,
    /// The hash of the personal reward that was adapted; it means nothing to another one.
    pub personal: String,
}

/// What a person likes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "snake_case", deny_unknown_fields)]
pub enum Taste {
    /// Coordinates `z ~ N(mean, covariance)` in a basis.
    Basis {
        /// `[rank]`
        mean: Vec<f64>,
        /// `[rank][rank]`
        covariance: Matrix,
    },
    /// A head of their own.
    Head {
        /// `[features]`
        head: Vec<f64>,
    },
}
