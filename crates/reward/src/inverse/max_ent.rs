//! Weights of features under which observed behaviour is most probable, and other fits that are linear in
//! features.
//!
//! Features of a completion are a sparse vector; [`features`](super::features) counts them. Everything is
//! computed in double precision on one thread: the same input gives the same bits.

use super::lbfgs::{Limits, minimize};
use crate::logistic::{log_loss, sigmoid};

/// A completion's features: the number of each and how much of it there is, each number once.
pub type Sparse = Vec<(usize, f64)>;

/// Completions, each with what it counts for; weights are at least 0.
pub type Weighted = Vec<(f64, Sparse)>;

/// What was chosen at one prompt, and what could have been.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// What the expert showed; each demonstration weighs 1, if nothing else is known.
    pub demonstrated: Weighted,
    /// Completions that the partition function is estimated from: weights are proportional to
    /// `p_ref / q` where `q` sampled, so samples of the reference weigh the same each. All completions
    /// there are, with the reference's probabilities, make it exact.
    pub sampled: Weighted,
}

/// How weights are fitted.
#[derive(Clone, Copy, Debug)]
pub struct Fit {
    /// How many features there are.
    pub n_features: usize,
    /// The price of large weights: `l2/2 · Σ θ²`.
    pub l2: f64,
    /// Steps of L-BFGS at most.
    pub n_steps: usize,
}

const GRADIENT: f64 = 1e-9;

/// Maximum-entropy inverse reinforcement learning (Ziebart et al., 2008) of whole completions, relative to a
/// reference (Boularias et al., 2011), with its partition function estimated from samples: the `θ` that
/// minimise
///
/// `−mean_demonstrations(θ·f(x,y) − log Ẑ(x)) + l2/2 · Σ θ²`, with
/// `Ẑ(x) = Σ_samples w exp(θ·f(x,y)) / Σ w`.
///
/// The reward is then `r(x,y) = β (θ·f(x,y))`, up to a constant of the prompt. It is convex; without `l2`, the
/// features that the fitted expert is to be expected to have are those that were demonstrated.
///
/// Prompts without demonstrations, or without samples, say nothing.
pub fn max_ent(choices: &[Choice], fit: &Fit) -> Vec<f64> {
    let heard = |it: &&Choice| total(&it.demonstrated) > 0.0 && total(&it.sampled) > 0.0;
    let choices: Vec<&Choice> = choices.iter().filter(heard).collect();
    let n_all: f64 = choices.iter().map(|it| total(&it.demonstrated)).sum();
    fitted(fit, |theta, slope| {
        let of_one = |choice: &&Choice| loss_of_choice(choice, theta, n_all, slope);
        choices.iter().map(of_one).sum()
    })
}

fn loss_of_choice(choice: &Choice, theta: &[f64], n_all: f64, slope: &mut [f64]) -> f64 {
    let shown: f64 = choice.demonstrated.iter().map(|(weight, it)| weight * dot(it, theta)).sum();
    for (weight, features) in &choice.demonstrated {
        add(slope, features, -weight / n_all);
    }
    let scores: Vec<f64> = choice.sampled.iter().map(|(_, it)| dot(it, theta)).collect();
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let parts = choice.sampled.iter().zip(&scores);
    let parts: Vec<f64> = parts.map(|((w, _), score)| w * (score - largest).exp()).collect();
    let sum: f64 = parts.iter().sum();
    let here = total(&choice.demonstrated);
    for ((_, features), part) in choice.sampled.iter().zip(&parts) {
        add(slope, features, here / n_all * part / sum);
    }
    let log_partition = largest + (sum / total(&choice.sampled)).ln();
    (here * log_partition - shown) / n_all
}

/// Weights that tell demonstrations from samples, by logistic regression: `σ(θ·f + b)` is how probable it is
/// that a completion was demonstrated, and `θ·f` an estimate of `log p_E/p_ref = r/β − log Z`. Both sides weigh
/// the same all told. `b`, the last number, isn't held to be small.
pub fn discriminator(demonstrated: &Weighted, sampled: &Weighted, fit: &Fit) -> Vec<f64> {
    let sides = [(1.0, demonstrated), (-1.0, sampled)];
    let bias = fit.n_features;
    fitted(&Fit { n_features: bias + 1, ..*fit }, |theta, slope| {
        let mut loss = 0.0;
        for (sign, side) in sides {
            let all = total(side);
            for (weight, features) in side {
                let margin = sign * (dot(features, theta) + theta[bias]);
                let share = weight / all;
                loss += share * log_loss(margin);
                let push = -sign * share * sigmoid(-margin);
                add(slope, features, push);
                slope[bias] += push;
            }
        }
        loss
    })
}

/// The reward of a completion with these features.
pub fn dot(features: &[(usize, f64)], theta: &[f64]) -> f64 {
    features.iter().map(|(feature, count)| count * theta[*feature]).sum()
}

/// The minimum of a loss, which adds to the slope it is given, and of the price of large weights.
pub(super) fn fitted(fit: &Fit, loss: impl Fn(&[f64], &mut [f64]) -> f64) -> Vec<f64> {
    let limits = Limits { n_steps: fit.n_steps, gradient: GRADIENT };
    minimize(vec![0.0; fit.n_features], limits, |theta| {
        let mut slope: Vec<f64> = theta.iter().map(|it| fit.l2 * it).collect();
        let price = 0.5 * fit.l2 * theta.iter().map(|it| it * it).sum::<f64>();
        (loss(theta, &mut slope) + price, slope)
    })
}

fn total(completions: &Weighted) -> f64 {
    completions.iter().map(|(weight, _)| weight).sum()
}

fn add(slope: &mut [f64], features: &[(usize, f64)], factor: f64) {
    features.iter().for_each(|(feature, count)| slope[*feature] += factor * count);
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIT: Fit = Fit { n_features: 2, l2: 0.0, n_steps: 200 };

    #[test]
    fn a_choice_of_two_has_the_odds_that_were_shown() {
        // Alike under the reference, shown 3 : 1, so that θ = ln 3 for the feature that tells them apart.
        let [one, other] = [vec![(0, 1.0)], vec![]];
        let shown = vec![(3.0, one.clone()), (1.0, other.clone())];
        let choice = Choice {
            demonstrated: shown.clone(),
            sampled: vec![(1.0, one.clone()), (1.0, other.clone())],
        };
        let theta = max_ent(std::slice::from_ref(&choice), &FIT);
        assert!((theta[0] - 3.0_f64.ln()).abs() < 1e-8 && theta[1] == 0.0, "{theta:?}");
        // The same of a reference that prefers the first 2 : 1.
        let tilted = Choice { sampled: vec![(2.0, one), (1.0, other)], ..choice };
        let theta = max_ent(std::slice::from_ref(&tilted), &FIT);
        assert!((theta[0] - 1.5_f64.ln()).abs() < 1e-8, "{theta:?}");
        // Logistic regression: log-odds ln(3/4 : 2/3) with the feature and ln(1/4 : 1/3) without.
        let theta = discriminator(&shown, &tilted.sampled, &Fit { n_features: 1, ..FIT });
        assert!((theta[1] - 0.75_f64.ln()).abs() < 1e-7, "{theta:?}");
        assert!((theta[0] + theta[1] - 1.125_f64.ln()).abs() < 1e-7, "{theta:?}");
    }

    #[test]
    fn prompts_that_say_nothing_are_passed_over_and_large_weights_cost() {
        let silent = Choice { demonstrated: vec![(1.0, vec![(1, 1.0)])], sampled: vec![] };
        // Only ever the first: without a price, the weight would grow for ever.
        let choice = Choice {
            demonstrated: vec![(1.0, vec![(0, 1.0)])],
            sampled: vec![(1.0, vec![(0, 1.0)]), (1.0, vec![])],
        };
        let theta = max_ent(&[silent, choice], &Fit { l2: 0.1, ..FIT });
        // −σ(−θ) + 0.1 θ = 0
        let slope = 0.1 * theta[0] - 1.0 / (1.0 + theta[0].exp());
        assert!(slope.abs() < 1e-8 && theta[1] == 0.0, "{theta:?}");
        assert_eq!(max_ent(&[], &FIT), [0.0, 0.0]);
    }
}
