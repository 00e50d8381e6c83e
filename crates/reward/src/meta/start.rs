//! A start for everybody's head, by Reptile or first-order MAML.

use rein_data::batches::{RowOrder, permutation};
use rein_data::seed::Seed;

use super::config::{Method, PersonalConfig};
use super::descent::{Descent, fomaml, outer_step, reptile};
use crate::cholesky::{add, dot};
use crate::logistic::sigmoid;

/// Where heads begin, and how they go on from there.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Start {
    /// By which it was found.
    pub(super) method: Method,
    /// `[features]`
    pub(super) head: Vec<f64>,
    pub(super) inner: Descent,
    /// What an answer counts: so many count in full, and of more the mean as much as these.
    pub(super) labels: usize,
}

impl Start {
    /// Learns from the differences of each person, beginning at the head `shared`.
    pub(super) fn fit(
        people: &[Vec<Vec<f64>>],
        shared: &[f64],
        config: &PersonalConfig,
        seed: Seed,
    ) -> Self {
        let (mut head, inner, labels) = (shared.to_vec(), config.inner(), config.labels);
        let mut order = RowOrder::new(people.len(), seed.child("people"));
        for step in 0..config.outer_steps {
            let draws = seed.child("labels").index(step as u64);
            let direction = |person: usize| {
                let answers = &people[person];
                let order = permutation(answers.len(), draws.index(person as u64));
                let (seen, rest) = order.split_at(labels.min(answers.len()));
                let gradient =
                    |theta: &[f64]| slope(seen.iter().map(|it| &answers[*it]), theta, labels);
                let asked = |theta: &[f64]| {
                    // Who gave no more answers is asked for the same ones.
                    let rest = if rest.is_empty() { seen } else { rest };
                    slope(rest.iter().map(|it| &answers[*it]), theta, 1)
                };
                match config.method {
                    Method::Fomaml => fomaml(&head, &inner, gradient, asked),
                    Method::Reptile | Method::Basis => reptile(&head, &inner, gradient),
                }
            };
            let batch = order.batch(step, config.people.min(people.len()));
            let directions: Vec<_> = batch.into_iter().map(direction).collect();
            outer_step(&mut head, &directions, config.outer_learning_rate);
        }
        Self { method: config.method, head, inner, labels }
    }

    /// A person's head. Without answers it is the start.
    pub(super) fn adapt(&self, answers: &[Vec<f64>]) -> Vec<f64> {
        if answers.is_empty() {
            return self.head.clone();
        }
        self.inner.from(&self.head, |theta| slope(answers.iter(), theta, self.labels))
    }
}

/// The gradient of the loss of answers, of which at most `labels` count in full: `−c Σ σ(−xᵀθ) x` with
/// `c = min(1, labels / k)`.
fn slope<'a>(
    answers: impl ExactSizeIterator<Item = &'a Vec<f64>>,
    theta: &[f64],
    labels: usize,
) -> Vec<f64> {
    let share = (labels as f64 / answers.len() as f64).min(1.0);
    let mut slope = vec![0.0; theta.len()];
    answers.for_each(|x| add(&mut slope, -share * sigmoid(-dot(x, theta)), x));
    slope
}
