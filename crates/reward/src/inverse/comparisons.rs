//! What is known of a reward of readable features after some comparisons, and what to ask next.

mod asking;

use std::cell::OnceCell;

use rein_data::example::Completion;

use super::feature_reward::FeatureReward;
use super::features::{FeaturesConfig, Vocabulary};
use super::max_ent::{Fit, Sparse, dot, fitted};
use crate::active::entropy;
use crate::cholesky::{Cholesky, Matrix, diagonal};
use crate::logistic::{log_loss, sigmoid};

/// Pairs of completions as the differences of their [features](FeaturesConfig).
#[derive(Clone, Debug)]
pub struct ReadablePairs {
    config: FeaturesConfig,
    names: Vec<String>,
    /// Of the first completion's features, less the second's.
    differences: Vec<Sparse>,
}

impl ReadablePairs {
    /// The features that enough of these completions have.
    pub fn of(pairs: &[[Completion; 2]], config: &FeaturesConfig) -> Self {
        let counts: Vec<_> = pairs.iter().flatten().map(|it| config.count(it)).collect();
        let vocabulary = Vocabulary::of(counts.iter(), config);
        let sides: Vec<Sparse> = counts.iter().map(|it| vocabulary.sparse(it)).collect();
        let differences = sides.chunks_exact(2).map(|it| difference(&it[0], &it[1])).collect();
        Self { config: *config, names: vocabulary.names, differences }
    }

    /// How many pairs there are.
    pub fn len(&self) -> usize {
        self.differences.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.differences.is_empty()
    }
}

/// `a − b`, by feature.
fn difference(a: &Sparse, b: &Sparse) -> Sparse {
    let turned = b.iter().map(|(feature, count)| (*feature, -count));
    let mut all: Sparse = a.iter().copied().chain(turned).collect();
    all.sort_by_key(|(feature, _)| *feature);
    let mut sums = Sparse::new();
    for (feature, count) in all {
        match sums.last_mut() {
            Some(last) if last.0 == feature => last.1 += count,
            _ => sums.push((feature, count)),
        }
    }
    sums.retain(|(_, count)| *count != 0.0);
    sums
}

/// What was said of a pair.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Said {
    /// Its place among [`ReadablePairs`].
    pub pair: usize,
    /// How probably the first is better: 1 if somebody said so, the share of votes of several.
    pub first: f64,
}

/// What is known of the weights `θ` of a reward `θ·f` after answers, of which each follows Bradley and Terry (1952): the
/// normal distribution around the likeliest weights that Laplace's method gives, with `θ ~ N(0, 1/ridge)` beforehand.
///
/// Its covariance `(ridge · I + Σ p (1 − p) x xᵀ)⁻¹` is never made. As long as there are fewer answers than features,
/// Woodbury's identity needs a matrix of as many rows as there are answers alone. Of `n` answers or features, whichever are
/// fewer, it takes time in proportion to `n³`, and `n²` for each pair that is looked at.
#[derive(Debug)]
pub struct Posterior<'a> {
    pairs: &'a ReadablePairs,
    ridge: f64,
    theta: Vec<f64>,
    /// What was said of pairs, …
    said: Vec<Said>,
    /// … each feature's values in them, for features that are anywhere, …
    columns: Vec<Vec<(usize, f64)>>,
    /// … and, once it is asked for, what the covariance follows from.
    factor: OnceCell<Factor>,
}

/// A factor of the smaller matrix.
#[derive(Debug)]
enum Factor {
    /// Nothing is known.
    Nothing,
    /// Of `K + ridge · diag(1/(p (1 − p)))`, where `K = X Xᵀ`: a row an answer.
    OfAnswers(Cholesky),
    /// Of the inverse of the covariance: a row a feature.
    OfFeatures(Cholesky),
}

/// Precision of each weight before anything is known, which suits counts of words.
pub const RIDGE: f64 = 10.0;

/// Steps of L-BFGS at most.
const N_STEPS: usize = 500;
/// An answer's variance counts as this much at least.
const LEAST: f64 = 1e-6;
/// Points of Gauss and Hermite's rule, and their weights (Abramowitz and Stegun, table 25.10, as of a standard normal
/// variable); those below zero mirror them.
const NODES: [(f64, f64); 8] = [
    (0.0, 0.318_259_518_259_518_15),
    (0.799_129_068_324_548, 0.232_462_293_609_732_25),
    (1.606_710_069_028_729_7, 0.089_417_795_399_844_37),
    (2.432_436_827_009_758, 0.017_365_774_492_137_616),
    (3.289_082_424_398_766_4, 0.001_567_357_503_549_956),
    (4.196_207_711_269_015_5, 5.642_146_405_189_029e-5),
    (5.190_093_591_304_781, 5.975_419_597_920_599e-7),
    (6.363_947_888_829_839, 8.589_649_899_633_252e-10),
];

impl<'a> Posterior<'a> {
    /// What is known after these answers.
    ///
    /// # Panics
    /// A ridge that isn't positive, and pairs that aren't there.
    pub fn of(pairs: &'a ReadablePairs, said: &[Said], ridge: f64) -> Self {
        assert!(ridge > 0.0, "without a ridge nothing is known of most features");
        let fit = Fit { n_features: pairs.names.len(), l2: ridge, n_steps: N_STEPS };
        let theta = fitted(&fit, |theta, slope| {
            said.iter().map(|it| loss(&pairs.differences[it.pair], it.first, theta, slope)).sum()
        });
        let mut columns = vec![Vec::new(); pairs.names.len()];
        for (row, answer) in said.iter().enumerate() {
            for (feature, value) in &pairs.differences[answer.pair] {
                columns[*feature].push((row, *value));
            }
        }
        Self { pairs, ridge, theta, said: said.to_vec(), columns, factor: OnceCell::new() }
    }

    fn asked(&self) -> impl Iterator<Item = usize> {
        self.said.iter().map(|it| it.pair)
    }

    fn factored(&self) -> Factor {
        let variance = |pair: usize| {
            let p = sigmoid(self.gap(pair));
            (p * (1.0 - p)).max(LEAST)
        };
        if self.said.len() > self.theta.len() {
            let mut precision = diagonal(self.theta.len(), self.ridge);
            for pair in self.asked() {
                let weight = variance(pair);
                let difference = &self.pairs.differences[pair];
                for (row, value) in difference {
                    for (column, other) in difference {
                        precision[*row][*column] += weight * value * other;
                    }
                }
            }
            return Cholesky::of(&precision).map_or(Factor::Nothing, Factor::OfFeatures);
        }
        let mut kernel: Matrix = self.asked().map(|pair| self.kernel(pair)).collect();
        for (row, pair) in self.asked().enumerate() {
            kernel[row][row] += self.ridge / variance(pair);
        }
        Cholesky::of(&kernel).map_or(Factor::Nothing, Factor::OfAnswers)
    }

    /// A pair's products with all that were answered.
    fn kernel(&self, pair: usize) -> Vec<f64> {
        let mut products = vec![0.0; self.said.len()];
        for (feature, value) in &self.pairs.differences[pair] {
            for (row, other) in &self.columns[*feature] {
                products[*row] += value * other;
            }
        }
        products
    }

    /// The likeliest difference of the pair's rewards.
    pub fn gap(&self, pair: usize) -> f64 {
        dot(&self.pairs.differences[pair], &self.theta)
    }

    /// The variance of that difference.
    pub fn variance(&self, pair: usize) -> f64 {
        self.looked_at(pair).variance
    }

    /// What an answer would tell of the weights, in nats: [`bald`](crate::active::bald) under the normal distribution of the difference.
    pub fn information(&self, pair: usize) -> f64 {
        told(self.gap(pair), self.variance(pair))
    }

    /// The reward with the likeliest weights.
    pub fn reward(&self) -> FeatureReward {
        let names = self.pairs.names.iter().cloned();
        FeatureReward::new(self.pairs.config, names.zip(self.theta.iter().copied()))
    }

    fn factor(&self) -> &Factor {
        self.factor.get_or_init(|| self.factored())
    }

    fn looked_at(&self, pair: usize) -> Candidate {
        let half = match self.factor() {
            Factor::OfAnswers(factor) => factor.half(&self.kernel(pair)),
            Factor::OfFeatures(factor) => factor.half(&self.dense(pair)),
            Factor::Nothing => Vec::new(),
        };
        let square = self.pairs.differences[pair].iter().map(|(_, value)| value * value).sum();
        let variance = self.covariance(square, &half, &half).max(0.0);
        Candidate { pair, gap: self.gap(pair), variance, half, shrunk: Vec::new() }
    }

    /// Of two differences with this product.
    fn covariance(&self, product: f64, half: &[f64], other: &[f64]) -> f64 {
        match self.factor() {
            Factor::OfFeatures(_) => inner(half, other),
            Factor::OfAnswers(_) | Factor::Nothing => (product - inner(half, other)) / self.ridge,
        }
    }

    fn dense(&self, pair: usize) -> Vec<f64> {
        let mut row = vec![0.0; self.theta.len()];
        for (feature, value) in &self.pairs.differences[pair] {
            row[*feature] = *value;
        }
        row
    }
}

/// A pair that could be asked.
struct Candidate {
    pair: usize,
    gap: f64,
    variance: f64,
    /// What the answers so far say of it, as a vector: `L⁻¹ X x` or `L⁻¹ x`.
    half: Vec<f64>,
    /// What those before it in its batch take off, as a vector.
    shrunk: Vec<f64>,
}

/// `H(E p) − E H(p)`, `p = σ(g)`, `g ~ N(gap, variance)`, to 5 % up to a deviation of 5.
fn told(gap: f64, variance: f64) -> f64 {
    let deviation = variance.sqrt();
    let (mut mean, mut each) = (0.0, 0.0);
    for (node, weight) in NODES {
        let signs: &[f64] = if node == 0.0 { &[0.0] } else { &[-1.0, 1.0] };
        for sign in signs {
            let p = sigmoid(gap + sign * node * deviation);
            mean += weight * p;
            each += weight * entropy(p);
        }
    }
    (entropy(mean) - each).max(0.0)
}

/// The cross-entropy of an answer, whose slope is added.
fn loss(difference: &Sparse, first: f64, theta: &[f64], slope: &mut [f64]) -> f64 {
    let gap = dot(difference, theta);
    let push = sigmoid(gap) - first;
    difference.iter().for_each(|(feature, value)| slope[*feature] += push * value);
    first * log_loss(gap) + (1.0 - first) * log_loss(-gap)
}

fn inner(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests;
