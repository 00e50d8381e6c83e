use std::collections::BTreeMap;

use nalgebra::DMatrix;

use super::comparisons::{Comparison, Comparisons, Outcome};
use super::log_linear::{Choice, Terms, loglik, penalized};
use crate::error::FeedbackError;
use crate::optimize::{newton, pseudo_inverse};

/// The curvature of so many unknowns takes 32 MiB, and inverting it a minute.
const MAX_UNKNOWNS: usize = 2000;

/// Scores by the model of Bradley and Terry (1952), `logit P(left) = s_left − s_right + b`: the maximum of
/// `LL − ½ λ Σ s² − ½ λ_b Σ b²` by Newton's method. It is concave, so there is no other.
///
/// Items that nothing connects with others, or that won or lost every comparison, have no finite scores by
/// likelihood alone; the ridge `λ` gives them some.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BradleyTerry {
    /// `λ`, the scores' prior precision, which also draws Davidson's `ln ν` to 0. 0.1; 0 is maximum likelihood.
    pub ridge: f64,
    /// What ties are.
    pub ties: Ties,
    /// Whether people like one side, `b`.
    pub bias: PositionBias,
}

impl Default for BradleyTerry {
    fn default() -> Self {
        Self { ridge: 0.1, ties: Ties::HalfWins, bias: PositionBias::None }
    }
}

/// What ties are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ties {
    /// Half a win for each.
    HalfWins,
    /// An outcome of its own (Davidson, 1970): `P(tie) ∝ ν exp((η_left + η_right) / 2)` beside `exp(η_left)` and
    /// `exp(η_right)`, with `η_left = s_left + b` and `η_right = s_right`.
    Davidson,
}

/// How much people like the left side, in nats, with the prior precision `ridge` (`λ_b`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PositionBias {
    /// Not at all.
    None,
    /// All of them alike.
    Shared {
        /// `λ_b`
        ridge: f64,
    },
    /// Each as they do.
    PerWorker {
        /// `λ_b`
        ridge: f64,
    },
}

/// What [`BradleyTerry`] finds.
#[derive(Clone, Debug, PartialEq)]
pub struct BradleyTerryFit {
    /// `s` of each item, in nats, with mean 0.
    pub scores: Vec<f64>,
    /// Standard errors of `scores`: roots of the diagonal of the (pseudo-)inverse of the curvature at the maximum, in
    /// the space of scores of mean 0. Without a ridge, what tells items of unconnected groups apart isn't in them.
    pub std_errors: Vec<f64>,
    /// `b`: none, one, or one for each worker.
    pub bias: Vec<f64>,
    /// Davidson's `ν`.
    pub nu: Option<f64>,
    /// Log-likelihood in nats.
    pub loglik: f64,
    /// What was maximised: the log-likelihood less what the ridges cost.
    pub objective: f64,
    /// Whether the maximum was reached. It isn't where there is none, as without a ridge for an item that won always.
    pub converged: bool,
}

impl BradleyTerry {
    /// The likeliest scores.
    ///
    /// # Errors
    /// Above 2000 unknowns: items, and workers where each has a bias.
    pub fn fit(&self, comparisons: &Comparisons) -> Result<BradleyTerryFit, FeedbackError> {
        let layout = Layout::of(self, comparisons);
        check_size(layout.n_unknowns())?;
        let choices = layout.choices(comparisons);
        let ridge = layout.ridge(self);
        let start = vec![0.0; layout.n_unknowns()];
        let (top, curvature) = newton(start, |at| penalized(&choices, &ridge, at));
        let (scores, rest) = top.at.split_at(layout.n_items);
        let (bias, ln_nu) = rest.split_at(layout.n_biases);
        Ok(BradleyTerryFit {
            scores: centred(scores),
            std_errors: std_errors(&curvature, layout.n_items),
            bias: bias.to_vec(),
            nu: ln_nu.first().map(|it| it.exp()),
            loglik: loglik(&choices, &top.at),
            objective: top.value,
            converged: top.converged,
        })
    }
}

fn check_size(n_unknowns: usize) -> Result<(), FeedbackError> {
    if n_unknowns <= MAX_UNKNOWNS {
        return Ok(());
    }
    Err(FeedbackError::Invalid(format!(
        "{n_unknowns} items and biases are too many to score together; the limit is {MAX_UNKNOWNS}: \
         score items in groups, or let people share a bias"
    )))
}

/// Which unknown lies where: scores, then biases, then `ln ν`.
struct Layout {
    n_items: usize,
    n_biases: usize,
    has_nu: bool,
}

impl Layout {
    fn of(model: &BradleyTerry, comparisons: &Comparisons) -> Self {
        let n_biases = match model.bias {
            PositionBias::None => 0,
            PositionBias::Shared { .. } => 1,
            PositionBias::PerWorker { .. } => comparisons.n_workers(),
        };
        let has_nu = model.ties == Ties::Davidson;
        Self { n_items: comparisons.n_items(), n_biases, has_nu }
    }

    fn n_unknowns(&self) -> usize {
        self.n_items + self.n_biases + usize::from(self.has_nu)
    }

    fn ridge(&self, model: &BradleyTerry) -> Vec<f64> {
        let of_bias = match model.bias {
            PositionBias::None => 0.0,
            PositionBias::Shared { ridge } | PositionBias::PerWorker { ridge } => ridge,
        };
        let mut ridge = vec![model.ridge; self.n_unknowns()];
        ridge[self.n_items..][..self.n_biases].fill(of_bias);
        ridge
    }

    /// One choice for all comparisons of the same items with the same bias.
    fn choices(&self, comparisons: &Comparisons) -> Vec<Choice> {
        let mut choices: BTreeMap<(usize, usize, Option<usize>), Vec<f64>> = BTreeMap::new();
        for (comparison, count) in comparisons.counts() {
            let key = (comparison.left, comparison.right, self.bias_of(comparison));
            let counts =
                choices.entry(key).or_insert_with(|| vec![0.0; 2 + usize::from(self.has_nu)]);
            match comparison.outcome {
                Outcome::Left => counts[0] += count,
                Outcome::Right => counts[1] += count,
                Outcome::Tie if self.has_nu => counts[2] += count,
                Outcome::Tie => counts.iter_mut().for_each(|it| *it += 0.5 * count),
            }
        }
        let choice = |((left, right, bias), counts)| Choice {
            options: self.options(left, right, bias),
            counts,
        };
        choices.into_iter().map(choice).collect()
    }

    fn bias_of(&self, comparison: &Comparison) -> Option<usize> {
        match self.n_biases {
            0 => None,
            1 => Some(self.n_items),
            _ => Some(self.n_items + comparison.worker),
        }
    }

    fn options(&self, left: usize, right: usize, bias: Option<usize>) -> Vec<Terms> {
        let mut of_left = vec![(left, 1.0)];
        of_left.extend(bias.map(|it| (it, 1.0)));
        let of_right = vec![(right, 1.0)];
        if !self.has_nu {
            return vec![of_left, of_right];
        }
        let both = of_left.iter().chain(&of_right);
        let mut of_tie: Terms = both.map(|(unknown, factor)| (*unknown, 0.5 * factor)).collect();
        of_tie.push((self.n_items + self.n_biases, 1.0));
        vec![of_left, of_right, of_tie]
    }
}

fn centred(scores: &[f64]) -> Vec<f64> {
    let mean = scores.iter().sum::<f64>() / scores.len() as f64;
    scores.iter().map(|it| it - mean).collect()
}

/// Roots of the diagonal of `C V C`, with the scores' covariance `V` and `C = I − 1 1ᵀ / n`.
fn std_errors(curvature: &DMatrix<f64>, n_items: usize) -> Vec<f64> {
    let covariance = pseudo_inverse(curvature).view((0, 0), (n_items, n_items)).into_owned();
    let n = n_items as f64;
    let rows: Vec<f64> = covariance.row_iter().map(|row| row.sum() / n).collect();
    let all = rows.iter().sum::<f64>() / n;
    let variance = |item: usize| covariance[(item, item)] - 2.0 * rows[item] + all;
    (0..n_items).map(|item| variance(item).max(0.0).sqrt()).collect()
}
