//! Which pairs to ask people about: scores of how much an answer would teach, and choices by them.
//!
//! An ensemble, or draws from a posterior, gives several probabilities of one answer. [`entropy`] is high where
//! the answer is uncertain for whatever reason; [`bald`] only where the members disagree, so that a pair that
//! everybody holds for a toss-up teaches nothing. [`d_optimal`] asks for differences of features that lie in
//! directions not seen yet. [`double_thompson`] picks which two of many completions to compare.

use rein_data::batches::permutation;
use rein_data::seed::Seed;

use crate::cholesky::{Cholesky, Matrix, add_square, diagonal, dot, times};

/// The entropy of an answer with probability `p`, in nats: `−p ln p − (1 − p) ln (1 − p)`.
pub fn entropy(p: f64) -> f64 {
    let part = |p: f64| if p > 0.0 { -p * p.ln() } else { 0.0 };
    part(p) + part(1.0 - p)
}

/// The entropy of the members' mean, in nats: all uncertainty of the answer.
pub fn predictive_entropy(members: &[f64]) -> f64 {
    entropy(mean(members))
}

/// What the answer would tell of the members, in nats: `H(mean p) − mean H(p)` (Houlsby et al., 2011). It is 0
/// where all agree, however uncertain they are.
pub fn bald(members: &[f64]) -> f64 {
    let each: Vec<f64> = members.iter().map(|p| entropy(*p)).collect();
    (predictive_entropy(members) - mean(&each)).max(0.0)
}

/// The deviation of the members around their mean: of probabilities, or of differences of rewards.
pub fn deviation(members: &[f64]) -> f64 {
    let center = mean(members);
    let squares: Vec<f64> = members.iter().map(|it| (it - center).powi(2)).collect();
    mean(&squares).sqrt()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// A greedy choice and what it is worth.
#[derive(Clone, Debug, PartialEq)]
pub struct Design {
    /// The places of the chosen ones, in their order.
    pub places: Vec<usize>,
    /// `ln det A` with all of them.
    pub ln_determinant: f64,
}

/// The differences that tell most of a linear reward, one after the other: each has the largest
/// `weight · xᵀ A⁻¹ x`, with `A = ridge · I + Σ weight · x xᵀ` of those before it. A weight is the variance
/// `p (1 − p)` of the answer, or 1 where nothing is known of it. `A⁻¹` follows by Sherman and Morrison.
///
/// # Panics
/// Other than one weight for each difference, or a ridge that isn't positive.
pub fn d_optimal(differences: &[Vec<f64>], weights: &[f64], ridge: f64, count: usize) -> Design {
    assert!(ridge > 0.0, "without a ridge nothing is known in most directions");
    let size = differences.first().map_or(0, Vec::len);
    d_optimal_after(differences, weights, diagonal(size, 1.0 / ridge), count)
}

/// [`d_optimal`] that goes on from `A⁻¹`, the covariance of what is known.
///
/// # Panics
/// Other than one weight for each difference, or a covariance that isn't positive definite.
pub fn d_optimal_after(
    differences: &[Vec<f64>],
    weights: &[f64],
    mut covariance: Vec<Vec<f64>>,
    count: usize,
) -> Design {
    assert_eq!(differences.len(), weights.len(), "one weight for each difference");
    let known = Cholesky::of(&covariance).expect("a covariance is positive definite");
    let mut ln_determinant = -known.ln_determinant();
    let mut places = Vec::new();
    for _ in 0..count.min(differences.len()) {
        let gain = |place: usize| {
            let x = &differences[place];
            weights[place] * dot(x, &times(&covariance, x))
        };
        let rest = (0..differences.len()).filter(|place| !places.contains(place));
        let gains = rest.map(|place| (place, gain(place)));
        // Of equal ones, the first.
        let best = gains.reduce(|best, next| if next.1 > best.1 { next } else { best });
        let Some((place, gain)) = best else { break };
        places.push(place);
        ln_determinant += gain.ln_1p();
        shrink(&mut covariance, weights[place], &differences[place]);
    }
    Design { places, ln_determinant }
}

/// `(A + c x xᵀ)⁻¹ = A⁻¹ − c A⁻¹x (A⁻¹x)ᵀ / (1 + c xᵀA⁻¹x)` (Sherman and Morrison, 1950).
fn shrink(covariance: &mut Matrix, weight: f64, x: &[f64]) {
    let along = times(covariance, x);
    let share = weight / (1.0 + weight * dot(x, &along));
    add_square(covariance, -share, &along);
}

/// Two completions to compare: the best by one draw of rewards, and the best by the next draw that prefers another
/// (Dwaracherla et al., 2024). `draws` are rewards of the same completions by members of an ensemble in a random
/// order, `[draws][completions]`; `None` where all prefer the same one, and any other will do.
pub fn double_thompson(draws: &[Vec<f64>]) -> Option<(usize, usize)> {
    let mut favourites = draws.iter().filter_map(|rewards| favourite(rewards));
    let first = favourites.next()?;
    favourites.find(|other| *other != first).map(|other| (first, other))
}

/// Of equal ones, the first.
fn favourite(rewards: &[f64]) -> Option<usize> {
    let each = rewards.iter().copied().enumerate();
    each.reduce(|best, next| if next.1 > best.1 { next } else { best }).map(|(place, _)| place)
}

/// Pairs chosen as BAL-PM does (Melo et al., 2024): one after the other, the largest
/// `BALD + β ln distance`, where the distance is that of the prompt's features to the `neighbours`-th nearest prompt
/// that was acquired or chosen before. So a batch doesn't ask about one prompt over and over.
///
/// # Panics
/// Other than one score for each prompt.
pub fn bal_pm(
    scores: &[f64],
    prompts: &[Vec<f64>],
    acquired: &[Vec<f64>],
    beta: f64,
    neighbours: usize,
    count: usize,
) -> Vec<usize> {
    assert_eq!(scores.len(), prompts.len(), "one score for each prompt");
    let mut known: Vec<&[f64]> = acquired.iter().map(Vec::as_slice).collect();
    let mut places = Vec::new();
    for _ in 0..count.min(prompts.len()) {
        let value =
            |place: usize| scores[place] + beta * ln_distance(&prompts[place], &known, neighbours);
        let rest = (0..prompts.len()).filter(|place| !places.contains(place));
        let values = rest.map(|place| (place, value(place)));
        let best = values.reduce(|best, next| if next.1 > best.1 { next } else { best });
        let Some((place, _)) = best else { break };
        places.push(place);
        known.push(&prompts[place]);
    }
    places
}

/// The logarithm of the distance to the `neighbours`-th nearest of the points, or to the farthest of fewer; 0 where
/// there is none.
fn ln_distance(point: &[f64], points: &[&[f64]], neighbours: usize) -> f64 {
    let square = |it: &&[f64]| point.iter().zip(*it).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
    let mut squares: Vec<f64> = points.iter().map(square).collect();
    squares.sort_by(f64::total_cmp);
    let nearest = squares.get(neighbours.max(1).min(squares.len()).wrapping_sub(1));
    // The same prompt twice lies at a distance, too, though a small one.
    nearest.map_or(0.0, |square| 0.5 * (square + 1e-12).ln())
}

/// The places with the highest scores, but for a share that is drawn at random from the rest: what is asked at
/// random says without bias how good the model is.
pub fn explore(scores: &[f64], count: usize, random_share: f64, seed: Seed) -> Vec<usize> {
    let count = count.min(scores.len());
    let n_random = ((count as f64 * random_share.clamp(0.0, 1.0)).ceil() as usize).min(count);
    let mut places: Vec<usize> = (0..scores.len()).collect();
    places.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    let rest = places.split_off(count - n_random);
    let drawn = permutation(rest.len(), seed).into_iter().take(n_random);
    places.extend(drawn.map(|place| rest[place]));
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_hold_for_a_toss_up_teaches_nothing() {
        let toss_up = [0.5; 4];
        assert_eq!(bald(&toss_up), 0.0);
        assert_eq!(predictive_entropy(&toss_up), 2.0_f64.ln());
        // Members that are sure of opposite answers: all of the entropy is theirs.
        assert_eq!(bald(&[0.0, 1.0]), 2.0_f64.ln());
        assert_eq!(entropy(0.0), 0.0);
    }

    #[test]
    fn the_inverse_that_shrinks_is_the_inverse() {
        let rows = [vec![1.0, 2.0], vec![-0.5, 0.3], vec![0.1, 0.9]];
        let design = d_optimal(&rows, &[0.25, 0.2, 0.1], 0.5, 3);
        let mut matrix = diagonal(2, 0.5);
        rows.iter().zip([0.25, 0.2, 0.1]).for_each(|(x, w)| add_square(&mut matrix, w, x));
        let want = Cholesky::of(&matrix).expect("is positive definite").ln_determinant();
        assert!((design.ln_determinant - want).abs() < 1e-12);
        assert_eq!(design.places[0], 0);
    }

    #[test]
    fn thompson_compares_two_favourites() {
        let draws = [vec![1.0, 3.0, 2.0], vec![0.0, 1.0, 0.5], vec![2.0, 0.0, 3.0]];
        assert_eq!(double_thompson(&draws), Some((1, 2)));
        assert_eq!(double_thompson(&draws[..2]), None);
        assert_eq!(double_thompson(&[]), None);
    }

    #[test]
    fn a_batch_leaves_prompts_that_were_asked() {
        let prompts = [vec![0.0], vec![0.1], vec![5.0]];
        // The second prompt has the next score, but lies beside the first.
        assert_eq!(bal_pm(&[1.0, 0.9, 0.5], &prompts, &[], 1.0, 1, 2), [0, 2]);
        assert_eq!(bal_pm(&[1.0, 0.9, 0.5], &prompts, &[], 0.0, 1, 2), [0, 1]);
        assert_eq!(bal_pm(&[0.0, 0.0, 0.1], &prompts, &[vec![5.0]], 1.0, 1, 1), [0]);
    }

    #[test]
    fn a_tenth_is_asked_at_random_and_nothing_twice() {
        let scores: Vec<f64> = (0..100).map(f64::from).collect();
        let places = explore(&scores, 20, 0.1, Seed::new(1));
        assert_eq!(places.len(), 20);
        assert!(places[..18].iter().all(|place| *place >= 82));
        let mut sorted = places.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), 20);
        assert_ne!(places[18..], explore(&scores, 20, 0.1, Seed::new(2))[18..]);
        assert_eq!(explore(&scores[..3], 20, 1.0, Seed::new(1)).len(), 3);
    }
}
