//! Which pairs are asked about next, by what is known of a linear head on the reward model's features.

use clap::ValueEnum;
use rand::{Rng, RngExt};
use rein_data::seed::Seed;
use rein_reward::active::{bald, d_optimal_after, explore};
use rein_reward::meta::{Difference, posterior_head};

/// Precision of the head's prior, where features have deviation 1.
const RIDGE: f64 = 1.0;
/// Heads that are drawn from what is known, to disagree.
const DRAWS: usize = 16;
/// What is always asked at random.
pub(super) const RANDOM_SHARE: f64 = 0.1;
/// D-optimal batches are chosen among the pairs that tell most by themselves, so many times as many.
const AMONG: usize = 4;

/// How a batch is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Query {
    /// At random
    Random,
    /// Where the reward is least certain
    Bald,
    /// Where answers tell most of the whole
    DOptimal,
}

impl Query {
    pub(super) const ALL: [Self; 3] = [Self::Random, Self::Bald, Self::DOptimal];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Bald => "bald",
            Self::DOptimal => "d_optimal",
        }
    }

    /// The places of `count` of the pairs, given what was said of others. Both are differences of features.
    pub(super) fn choose(
        self,
        pairs: &[Difference],
        said: &[Difference],
        count: usize,
        seed: Seed,
    ) -> Vec<usize> {
        let at_random = |count| explore(&vec![0.0; pairs.len()], count, 1.0, seed);
        if self == Self::Random || said.is_empty() {
            return at_random(count);
        }
        let scales = deviations(said);
        let scaled = |rows: &[Difference]| -> Vec<Difference> {
            rows.iter().map(|row| row.iter().zip(&scales).map(|(x, s)| x / s).collect()).collect()
        };
        let (pairs, said) = (scaled(pairs), scaled(said));
        let (head, covariance) = posterior_head(&said, RIDGE);
        if self == Self::Bald {
            let draws = drawn(&head, &covariance, &mut seed.child("heads").rng());
            let score = |x: &Difference| {
                bald(&draws.iter().map(|draw| sigmoid(dot(draw, x))).collect::<Vec<_>>())
            };
            let scores: Vec<f64> = pairs.iter().map(score).collect();
            return explore(&scores, count, RANDOM_SHARE, seed);
        }
        let n_random = (count as f64 * RANDOM_SHARE).ceil() as usize;
        let mut places = d_optimal(&pairs, &head, covariance, count - n_random);
        let others = at_random(pairs.len()).into_iter().filter(|it| !places.contains(it));
        let others: Vec<usize> = others.take(n_random).collect();
        places.extend(others);
        places
    }
}

fn d_optimal(
    pairs: &[Difference],
    head: &[f64],
    covariance: Vec<Vec<f64>>,
    count: usize,
) -> Vec<usize> {
    let weight = |x: &Difference| {
        let p = sigmoid(dot(head, x));
        p * (1.0 - p)
    };
    let gain = |x: &Difference| {
        let along: Vec<f64> = covariance.iter().map(|row| dot(row, x)).collect();
        weight(x) * dot(x, &along)
    };
    let gains: Vec<f64> = pairs.iter().map(gain).collect();
    let mut among: Vec<usize> = (0..pairs.len()).collect();
    among.sort_by(|a, b| gains[*b].total_cmp(&gains[*a]));
    among.truncate(AMONG * count);
    let rows: Vec<Difference> = among.iter().map(|place| pairs[*place].clone()).collect();
    let weights: Vec<f64> = rows.iter().map(weight).collect();
    let design = d_optimal_after(&rows, &weights, covariance, count);
    design.places.into_iter().map(|place| among[place]).collect()
}

/// The deviation of each feature over these differences, whose mean is 0 by their nature.
fn deviations(rows: &[Difference]) -> Vec<f64> {
    let square = |place: usize| rows.iter().map(|row| row[place].powi(2)).sum::<f64>();
    (0..rows[0].len()).map(|it| (square(it) / rows.len() as f64).sqrt().max(1e-6)).collect()
}

/// Heads drawn from `N(head, covariance)`, by the lower triangle of its square root.
fn drawn(head: &[f64], covariance: &[Vec<f64>], rng: &mut impl Rng) -> Vec<Vec<f64>> {
    let mut lower: Vec<Vec<f64>> = Vec::new();
    for (i, row) in covariance.iter().enumerate() {
        let mut next: Vec<f64> = Vec::new();
        for j in 0..i {
            next.push((row[j] - dot(&next[..j], &lower[j][..j])) / lower[j][j]);
        }
        next.push((row[i] - dot(&next, &next)).max(1e-12).sqrt());
        lower.push(next);
    }
    let mut one = || {
        let noise: Vec<f64> = (0..head.len()).map(|_| normal(rng)).collect();
        lower.iter().zip(head).map(|(row, mean)| mean + dot(row, &noise)).collect()
    };
    (0..DRAWS).map(|_| one()).collect()
}

/// Box and Muller (1958).
fn normal(rng: &mut impl Rng) -> f64 {
    let (u, v): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

/// Of differences of unequal length, the common part; all here have one length.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}
