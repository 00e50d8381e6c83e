//! How much length counts.

use nalgebra::{DMatrix, DVector};
use serde::Serialize;

use super::reading::{Reading, digest};
use crate::optimize::{Local, ln_sigmoid, newton, pseudo_inverse, sigmoid};

/// Which text of a pair stands first is drawn from its texts and this.
const SEED: &str = "rein length 0";
/// Of separable pairs the coefficient grows without end, and its standard error faster: beyond this it is none.
const MAX_STANDARD_ERROR: f64 = 1e3;

/// How much longer responses are preferred.
///
/// Of each pair, one response is drawn to stand first. With `x = (n₁ − n₂) / (n₁ + n₂)` for lengths `n` in characters,
/// z-scored over all pairs, `P(first is preferred) = σ(c + b x)` is fitted by maximum likelihood. Chiang et al. (2024)
/// control for style by this feature. Ties are left out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LengthBias {
    /// Pairs that count.
    pub n_pairs: usize,
    /// `b`: log-odds that one standard deviation of `x` adds.
    pub coefficient: f64,
    /// The standard error of `b`, from the inverse of the observed information.
    pub standard_error: f64,
    /// The share of pairs of different lengths in which the longer response is preferred.
    pub longer_wins: f64,
}

/// A pair as length sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sides {
    /// `(n₁ − n₂) / (n₁ + n₂)`
    pub(super) difference: f64,
    pub(super) first_is_better: bool,
}

/// The sides of a pair of which one is better.
pub(super) fn sides(reading: &Reading<'_>) -> Option<Sides> {
    let [better, worse] = reading.better_and_worse()?;
    let [n_better, n_worse] = [better, worse].map(|it| it.text.chars().count() as f64);
    let n = n_better + n_worse;
    let (low, high) =
        (better.folded.as_str().min(&worse.folded), better.folded.as_str().max(&worse.folded));
    let low_is_first = digest([SEED, &reading.folded_prompt, low, high])[0] & 1 == 0;
    let first_is_better = low_is_first == (better.folded == low);
    let difference = (n_better - n_worse) / n * if first_is_better { 1.0 } else { -1.0 };
    (n > 0.0).then_some(Sides { difference, first_is_better })
}

impl LengthBias {
    /// None where nothing can be said: all differences are the same, or one side always wins.
    pub(super) fn measure(sides: &[Sides]) -> Option<Self> {
        let scores = z_scores(sides.iter().map(|it| it.difference).collect())?;
        let (top, curvature) = newton(vec![0.0; 2], |at| local(sides, &scores, at));
        let covariance = pseudo_inverse(&curvature);
        let gradient = local(sides, &scores, &top.at).gradient;
        // How far off the top is, in standard errors, squared.
        let is_top = gradient.dot(&(&covariance * &gradient)) < 1e-12;
        let standard_error = covariance[(1, 1)].sqrt();
        let is_known = is_top && standard_error > 0.0 && standard_error < MAX_STANDARD_ERROR;
        is_known.then(|| Self {
            n_pairs: sides.len(),
            coefficient: top.at[1],
            standard_error,
            longer_wins: longer_wins(sides),
        })
    }
}

/// Numbers less their mean, divided by their standard deviation.
fn z_scores(mut numbers: Vec<f64>) -> Option<Vec<f64>> {
    let n = numbers.len() as f64;
    let mean = numbers.iter().sum::<f64>() / n;
    let variance = numbers.iter().map(|it| (it - mean).powi(2)).sum::<f64>() / n;
    numbers.iter_mut().for_each(|it| *it = (*it - mean) / variance.sqrt());
    (variance > 1e-12).then_some(numbers)
}

/// `Σ y ln σ(η) + (1 − y) ln σ(−η)` for `η = c + b x`, with derivatives.
fn local(sides: &[Sides], scores: &[f64], at: &[f64]) -> Local {
    let (mut value, mut lost) = (0.0, 0.0);
    let (mut gradient, mut curvature) = ([0.0; 2], [0.0; 4]);
    for (side, score) in sides.iter().zip(scores) {
        let eta = at[0] + at[1] * score;
        let sign = if side.first_is_better { 1.0 } else { -1.0 };
        // Kahan's sum: of so many terms, rounding would else be more than what steps near the top gain.
        let term = ln_sigmoid(sign * eta) - lost;
        (value, lost) = (value + term, ((value + term) - value) - term);
        let error = sign * sigmoid(-sign * eta);
        let spread = sigmoid(eta) * sigmoid(-eta);
        for (place, factor) in [1.0, *score].into_iter().enumerate() {
            gradient[place] += error * factor;
            curvature[2 * place] += spread * factor;
            curvature[2 * place + 1] += spread * factor * score;
        }
    }
    Local {
        value,
        gradient: DVector::from_row_slice(&gradient),
        curvature: DMatrix::from_row_slice(2, 2, &curvature),
    }
}

fn longer_wins(sides: &[Sides]) -> f64 {
    let differ = sides.iter().filter(|it| it.difference != 0.0);
    let wins = differ.clone().filter(|it| (it.difference > 0.0) == it.first_is_better);
    wins.count() as f64 / differ.count() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lengths of the first and of the second, and whether the first was preferred.
    const TABLE: [(f64, f64, u8); 16] = [
        (120., 80., 1),
        (45., 60., 0),
        (200., 150., 1),
        (30., 90., 1),
        (75., 70., 0),
        (10., 400., 0),
        (300., 310., 1),
        (88., 88., 1),
        (150., 40., 0),
        (64., 32., 1),
        (20., 25., 1),
        (500., 100., 1),
        (33., 66., 0),
        (90., 95., 0),
        (240., 120., 1),
        (70., 210., 0),
    ];

    fn table(n: usize, preferred: impl Fn(u8, f64) -> bool) -> Vec<Sides> {
        let sides = |(a, b, y): &(f64, f64, u8)| {
            let difference = (a - b) / (a + b);
            Sides { difference, first_is_better: preferred(*y, difference) }
        };
        TABLE[..n].iter().map(sides).collect()
    }

    #[test]
    fn the_coefficient_is_that_of_statsmodels() {
        // statsmodels 0.15.0: x = (a - b) / (a + b); z = (x - x.mean()) / x.std();
        // r = Logit(y, add_constant(z)).fit(tol=1e-14); r.params[1], r.bse[1].
        let bias = LengthBias::measure(&table(16, |y, _| y == 1)).expect("can be told");
        assert_eq!(bias.n_pairs, 16);
        assert!((bias.coefficient - 0.879_043_503_506_471_8).abs() < 1e-9, "{bias:?}");
        assert!((bias.standard_error - 0.628_548_124_014_189_8).abs() < 1e-9, "{bias:?}");
        assert!((bias.longer_wins - 10.0 / 15.0).abs() < 1e-15, "{bias:?}");
    }

    #[test]
    fn many_pairs_are_no_harder_than_few() {
        // Each pair so often that rounding is felt: the standard error shrinks by √n, the coefficient stays.
        const N: usize = 2000;
        let few = table(16, |y, _| y == 1);
        let many: Vec<Sides> = few.iter().copied().cycle().take(16 * N).collect();
        let value = |sides: &[Sides]| local(sides, &vec![0.3; sides.len()], &[0.1, 0.2]).value;
        let error = value(&many) / (N as f64 * value(&few)) - 1.0;
        assert!(error.abs() < 1e-15, "sums lose digits: {error}");
        let [few, many] = [&few, &many].map(|it| LengthBias::measure(it).expect("can be told"));
        assert!((few.coefficient - many.coefficient).abs() < 1e-9, "{few:?} {many:?}");
        let shrunk = few.standard_error / (N as f64).sqrt();
        assert!((shrunk - many.standard_error).abs() < 1e-9, "{few:?} {many:?}");
    }

    #[test]
    fn nothing_is_told_where_length_decides_or_never_differs() {
        assert_eq!(LengthBias::measure(&[]), None);
        assert_eq!(LengthBias::measure(&table(1, |y, _| y == 1)), None);
        assert_eq!(LengthBias::measure(&table(16, |_, x| x > 0.0)), None, "the longer always wins");
        assert_eq!(LengthBias::measure(&table(16, |_, _| true)), None, "the first always wins");
        let even = Sides { difference: 0.0, first_is_better: true };
        assert_eq!(LengthBias::measure(&[even, Sides { first_is_better: false, ..even }]), None);
    }
}
