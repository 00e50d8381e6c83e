//! Two ways to find a start from which a few steps of gradient descent suit everybody: Reptile (Nichol et al.,
//! 2018) and first-order MAML (Finn et al., 2017). Neither needs a second derivative.

use serde::{Deserialize, Serialize};

use crate::cholesky::add;

/// Steps of gradient descent that suit a start to one person.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Descent {
    /// Step size.
    pub learning_rate: f64,
    /// Steps.
    pub steps: usize,
}

impl Descent {
    /// `θ ← θ − η ∇L(θ)`, as often as there are steps.
    pub fn from(&self, start: &[f64], gradient: impl Fn(&[f64]) -> Vec<f64>) -> Vec<f64> {
        let mut theta = start.to_vec();
        for _ in 0..self.steps {
            let slope = gradient(&theta);
            add(&mut theta, -self.learning_rate, &slope);
        }
        theta
    }
}

/// Reptile's direction for one person, against which the start is moved: `θ − θₖ`.
pub fn reptile(start: &[f64], inner: &Descent, gradient: impl Fn(&[f64]) -> Vec<f64>) -> Vec<f64> {
    let end = inner.from(start, gradient);
    start.iter().zip(end).map(|(start, end)| start - end).collect()
}

/// First-order MAML's direction for one person: the gradient of what is asked afterwards, `∇Q(θₖ)`, where the
/// steps ended.
pub fn fomaml(
    start: &[f64],
    inner: &Descent,
    gradient: impl Fn(&[f64]) -> Vec<f64>,
    asked: impl Fn(&[f64]) -> Vec<f64>,
) -> Vec<f64> {
    asked(&inner.from(start, gradient))
}

/// Moves the start against the mean of these directions.
pub fn outer_step(start: &mut [f64], directions: &[Vec<f64>], learning_rate: f64) {
    let share = learning_rate / directions.len().max(1) as f64;
    directions.iter().for_each(|direction| add(start, -share, direction));
}
