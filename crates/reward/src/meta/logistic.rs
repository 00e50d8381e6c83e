//! Logistic regression on differences, with a Gaussian prior: `min Σ ln(1 + e^−aᵢ) + ½ (z − m)ᵀ P (z − m)`,
//! where `aᵢ = oᵢ + xᵢᵀ z` and every difference is that of what was preferred to what was not.
//!
//! Newton's method: the objective is strictly convex, and what it finds is as exact as doubles are. The
//! inverse of its second derivative is the covariance of Laplace's approximation of the posterior.

use serde::{Deserialize, Serialize};

use crate::cholesky::{Cholesky, Matrix, add, add_square, diagonal, dot, quadratic, times};
use crate::logistic::{log_loss, sigmoid};

/// Newton's steps, of which a handful are needed.
const MAX_STEPS: usize = 100;
/// Halvings of one of them.
const MAX_HALVINGS: usize = 30;
/// A step shorter than this, relative to where it ends, is the last.
const TOLERANCE: f64 = 1e-10;

/// A normal distribution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Normal {
    /// `[size]`
    pub(crate) mean: Vec<f64>,
    /// `[size][size]`
    pub(crate) covariance: Matrix,
}

impl Normal {
    /// The distribution around 0 with this variance in each direction.
    pub(crate) fn around_zero(size: usize, variance: f64) -> Self {
        Self { mean: vec![0.0; size], covariance: diagonal(size, variance) }
    }
}

/// What is known of `z` after these answers, each an offset and a difference: the posterior's mode, and
/// Laplace's approximation of its covariance. Without answers it is the prior.
///
/// # Panics
/// A prior whose covariance isn't positive definite.
pub(crate) fn posterior(answers: &[(f64, Vec<f64>)], prior: &Normal) -> Normal {
    if answers.is_empty() {
        return prior.clone();
    }
    let precision = Cholesky::of(&prior.covariance).expect("a prior has a covariance").inverse();
    let objective = |z: &[f64]| {
        let from_prior: Vec<f64> = z.iter().zip(&prior.mean).map(|(z, m)| z - m).collect();
        let losses = answers.iter().map(|(offset, x)| log_loss(offset + dot(x, z)));
        losses.sum::<f64>() + 0.5 * quadratic(&precision, &from_prior)
    };
    let mut z = prior.mean.clone();
    let mut value = objective(&z);
    let mut curvature = precision.clone();
    for _ in 0..MAX_STEPS {
        let from_prior: Vec<f64> = z.iter().zip(&prior.mean).map(|(z, m)| z - m).collect();
        let mut gradient = times(&precision, &from_prior);
        curvature.clone_from(&precision);
        for (offset, x) in answers {
            let surprise = sigmoid(-offset - dot(x, &z));
            add(&mut gradient, -surprise, x);
            add_square(&mut curvature, surprise * (1.0 - surprise), x);
        }
        let factor = Cholesky::of(&curvature).expect("a convex objective");
        let step = factor.solve(&gradient);
        let Some((next, next_value)) = descend(&z, &step, value, objective) else { break };
        let length = dot(&step, &step).sqrt();
        (z, value) = (next, next_value);
        if length <= TOLERANCE * (1.0 + dot(&z, &z).sqrt()) {
            break;
        }
    }
    let covariance = Cholesky::of(&curvature).expect("a convex objective").inverse();
    Normal { mean: z, covariance }
}

/// The largest of the step and its halves that doesn't raise the objective; `None` where none is left.
fn descend(
    from: &[f64],
    step: &[f64],
    value: f64,
    objective: impl Fn(&[f64]) -> f64,
) -> Option<(Vec<f64>, f64)> {
    (0..MAX_HALVINGS).find_map(|halvings| {
        let mut next = from.to_vec();
        add(&mut next, -(0.5_f64.powi(halvings as i32)), step);
        let next_value = objective(&next);
        (next_value <= value).then_some((next, next_value))
    })
}

/// The head that ridge logistic regression finds around `start`, with `λ/2 ‖θ − start‖²`. It lies in the span
/// of the differences, `θ = start + Xᵀ α / λ`. `k` answers in `d` dimensions cost `O(min(k, d)³ + k² d)`, since
/// it is looked for in the smaller space.
pub(crate) fn ridge_head(differences: &[Vec<f64>], start: &[f64], ridge: f64) -> Vec<f64> {
    let mut head = start.to_vec();
    if differences.len() > start.len() {
        let seen = differences.iter().map(|x| (dot(x, start), x.clone()));
        let around = Normal::around_zero(start.len(), 1.0 / ridge);
        add(&mut head, 1.0, &posterior(&seen.collect::<Vec<_>>(), &around).mean);
        return head;
    }
    let offsets: Vec<f64> = differences.iter().map(|x| dot(x, start)).collect();
    let with_all = |x| differences.iter().map(|y| dot(x, y) / ridge).collect();
    let gram: Matrix = differences.iter().map(|x: &Vec<f64>| with_all(x)).collect();
    for (weight, x) in dual(&offsets, &gram).iter().zip(differences) {
        add(&mut head, weight / ridge, x);
    }
    head
}

/// `min_α Σ ln(1 + e^−(o + G α)ᵢ) + ½ αᵀ G α`. Its solution is `αᵢ = σ(−aᵢ)`; Newton's step on what is missing,
/// `r = α − σ(−a)`, is `−(I + W G)⁻¹ r`, with `W` the variances of the answers, by way of the symmetric
/// `I + W^½ G W^½` (Rasmussen and Williams, 2006, section 3.4).
fn dual(offsets: &[f64], gram: &Matrix) -> Vec<f64> {
    let logits = |alpha: &[f64]| -> Vec<f64> {
        times(gram, alpha).iter().zip(offsets).map(|(a, offset)| a + offset).collect()
    };
    let objective = |alpha: &[f64]| {
        logits(alpha).iter().map(|a| log_loss(*a)).sum::<f64>() + 0.5 * quadratic(gram, alpha)
    };
    let mut alpha = vec![0.0; offsets.len()];
    let mut value = objective(&alpha);
    for _ in 0..MAX_STEPS {
        let surprises: Vec<f64> = logits(&alpha).iter().map(|a| sigmoid(-*a)).collect();
        let missing: Vec<f64> = alpha.iter().zip(&surprises).map(|(a, s)| a - s).collect();
        let roots: Vec<f64> = surprises.iter().map(|s| (s * (1.0 - s)).sqrt()).collect();
        let scaled = |i: usize, j: usize| roots[i] * gram[i][j] * roots[j];
        let mut system: Matrix =
            (0..roots.len()).map(|i| (0..roots.len()).map(|j| scaled(i, j)).collect()).collect();
        (0..roots.len()).for_each(|i| system[i][i] += 1.0);
        let right: Vec<f64> =
            times(gram, &missing).iter().zip(&roots).map(|(it, root)| it * root).collect();
        let solved = Cholesky::of(&system).expect("at least the unit matrix").solve(&right);
        let step: Vec<f64> = (0..roots.len()).map(|i| missing[i] - roots[i] * solved[i]).collect();
        let Some((next, next_value)) = descend(&alpha, &step, value, objective) else { break };
        let length = dot(&step, &step).sqrt();
        (alpha, value) = (next, next_value);
        if length <= TOLERANCE {
            break;
        }
    }
    alpha
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: [[f64; 3]; 4] =
        [[1.0, 0.5, -0.2], [-0.3, 2.0, 0.1], [0.7, -1.0, 3.0], [-1.0, 0.0, 0.4]];

    fn rows() -> Vec<Vec<f64>> {
        ROWS.iter().map(|row| row.to_vec()).collect()
    }

    #[test]
    fn at_the_mode_the_gradient_is_zero() {
        let prior = Normal {
            mean: vec![0.3, -0.1, 0.0],
            covariance: vec![vec![2.0, 0.5, 0.0], vec![0.5, 1.0, 0.1], vec![0.0, 0.1, 0.5]],
        };
        let answers: Vec<(f64, Vec<f64>)> =
            rows().into_iter().zip([0.2, -1.0, 0.0, 5.0]).map(|(x, offset)| (offset, x)).collect();
        let Normal { mean, covariance } = posterior(&answers, &prior);
        // P (z − m) = Σ σ(−a) x, so z − m = S Σ σ(−a) x.
        let mut pull = vec![0.0; 3];
        let mut precision = Cholesky::of(&prior.covariance).expect("is one").inverse();
        for (offset, x) in &answers {
            let surprise = sigmoid(-offset - dot(x, &mean));
            add(&mut pull, surprise, x);
            add_square(&mut precision, surprise * (1.0 - surprise), x);
        }
        let want = times(&prior.covariance, &pull);
        for (place, want) in want.iter().enumerate() {
            assert!((mean[place] - prior.mean[place] - want).abs() < 1e-9);
        }
        let want = Cholesky::of(&precision).expect("is one").inverse();
        let near = |a: &f64, b: &f64| (a - b).abs() < 1e-9;
        assert!(covariance.concat().iter().zip(&want.concat()).all(|(a, b)| near(a, b)));
        assert_eq!(posterior(&[], &prior), prior);
    }

    #[test]
    fn the_head_in_the_span_is_the_head_in_full() {
        let start = [0.5, -0.5, 1.0];
        let got = ridge_head(&rows()[..3], &start, 0.7);
        let offsets = rows().into_iter().take(3).map(|x| (dot(&x, &start), x));
        let around = posterior(&offsets.collect::<Vec<_>>(), &Normal::around_zero(3, 1.0 / 0.7));
        for ((got, start), want) in got.iter().zip(start).zip(&around.mean) {
            assert!((got - start - want).abs() < 1e-8, "{got}");
        }
        assert_eq!(ridge_head(&[], &start, 1.0), start);
    }

    #[test]
    fn answers_that_contradict_each_other_or_never_end_stay_finite() {
        let one = vec![1e6, -1e6, 1e6];
        let other: Vec<f64> = one.iter().map(|x| -x).collect();
        for rows in [vec![one.clone(), other], vec![one; 5], vec![vec![0.0; 3]; 2]] {
            let head = ridge_head(&rows, &[0.0; 3], 1.0);
            assert!(head.iter().all(|it| it.is_finite()), "{head:?}");
            let answers: Vec<_> = rows.into_iter().map(|x| (0.0, x)).collect();
            let Normal { mean, covariance } = posterior(&answers, &Normal::around_zero(3, 1.0));
            assert!(mean.iter().chain(covariance.iter().flatten()).all(|it| it.is_finite()));
        }
    }
}
