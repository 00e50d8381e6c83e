//! Which pairs are asked next: those whose answers tell most, given what the rest of the batch will tell.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use rein_data::batches::permutation;
use rein_data::seed::Seed;

use super::{Candidate, Posterior, ReadablePairs, inner, told};
use crate::inverse::max_ent::dot;
use crate::logistic::sigmoid;

/// Pairs among which a batch is chosen, unless it is a large one.
const AMONG: usize = 2048;
/// A weight that isn't found to count may still be as large as this.
pub(super) const FAINT: f64 = 0.02;
/// Prior variance of features that no answer was about, as a share of what it is before any answer.
pub(super) const UNASKED: f64 = 0.25;

impl Posterior<'_> {
    /// `count` of the pairs `among`, in the order in which they tell most, each given that those before it are answered;
    /// and as a last part a share of them that is drawn at random, so that what is asked stays honest.
    pub fn ask(&self, among: &[usize], count: usize, random_share: f64, seed: Seed) -> Vec<usize> {
        let count = count.min(among.len());
        let n_random = ((count as f64 * random_share.clamp(0.0, 1.0)).ceil() as usize).min(count);
        let mut chosen = self.most_telling(among, count - n_random);
        let rest: Vec<usize> = among.iter().copied().filter(|it| !chosen.contains(it)).collect();
        let others = permutation(rest.len(), seed).into_iter().take(count - chosen.len());
        chosen.extend(others.map(|place| rest[place]));
        chosen
    }

    /// As [`ask`](Self::ask), for small batches: what they tell is reckoned by another posterior, which expects most of the features
    /// that have been found to count: of thousands of features most don't, and nobody needs to know by how little. Of more than
    /// 2,048 pairs (or eight times as many as are asked) so many are drawn first, since what seems to tell most among all is
    /// what is odd.
    pub fn ask_focused(
        &self,
        among: &[usize],
        count: usize,
        random_share: f64,
        seed: Seed,
    ) -> Vec<usize> {
        let pairs = self.pairs.focused(&self.theta, &self.asked().collect::<Vec<_>>());
        let focused = Posterior::of(&pairs, &self.said, self.ridge);
        focused.ask(
            &drawn(among, AMONG.max(count.saturating_mul(8)), seed),
            count,
            random_share,
            seed,
        )
    }

    /// What is chosen can only make others tell less, so only those that seemed to tell most are looked at again (Minoux, 1978).
    pub(super) fn most_telling(&self, among: &[usize], count: usize) -> Vec<usize> {
        let mut candidates: Vec<Candidate> = among.iter().map(|it| self.looked_at(*it)).collect();
        let mut queue: BinaryHeap<Queued> =
            candidates.iter().enumerate().map(|(place, it)| Queued::new(place, it)).collect();
        let mut taken: Vec<Taken> = Vec::with_capacity(count);
        while taken.len() < count {
            let Some(Queued { place, .. }) = queue.pop() else { break };
            if candidates[place].shrunk.len() < taken.len() {
                self.catch_up(&taken, &mut candidates[place]);
                queue.push(Queued::new(place, &candidates[place]));
                continue;
            }
            taken.push(self.taken(&mut candidates[place]));
        }
        taken.iter().map(|it| it.pair).collect()
    }

    fn taken(&self, candidate: &mut Candidate) -> Taken {
        let p = sigmoid(candidate.gap);
        let weight = p * (1.0 - p);
        Taken {
            pair: candidate.pair,
            row: self.dense(candidate.pair),
            half: std::mem::take(&mut candidate.half),
            shrunk: std::mem::take(&mut candidate.shrunk),
            scale: (weight / (1.0 + weight * candidate.variance)).sqrt(),
        }
    }

    /// What a candidate tells once those that were taken meanwhile are answered (Sherman and Morrison, 1950).
    fn catch_up(&self, taken: &[Taken], candidate: &mut Candidate) {
        for of in &taken[candidate.shrunk.len()..] {
            let product = dot(&self.pairs.differences[candidate.pair], &of.row);
            let before = self.covariance(product, &of.half, &candidate.half);
            let covariance = before - inner(&of.shrunk, &candidate.shrunk);
            let shrunk = of.scale * covariance;
            candidate.shrunk.push(shrunk);
            candidate.variance = (candidate.variance - shrunk * shrunk).max(0.0);
        }
    }
}

impl ReadablePairs {
    /// The same pairs, each feature `j` multiplied by `√s_j`, `s_j ∝ (|θ_j| + ε)²`, so that a posterior of them expects most
    /// where the answers so far have found something that counts, as sparse Bayesian learning does (Wipf and Nagarajan, 2010,
    /// "Iterative reweighted ℓ1 and ℓ2 methods"). The answered pairs' mean square stays. Of what no answer was about, a quarter
    /// of the variance is left: most of it won't count, but somebody should ask.
    pub(super) fn focused(&self, theta: &[f64], asked: &[usize]) -> Self {
        if asked.is_empty() {
            return self.clone();
        }
        // The squares of what was asked, by feature.
        let mut squares = vec![0.0; theta.len()];
        for (feature, value) in asked.iter().flat_map(|pair| &self.differences[*pair]) {
            squares[*feature] += value * value;
        }
        let found: Vec<f64> = theta.iter().map(|weight| (weight.abs() + FAINT).powi(2)).collect();
        let scale = squares.iter().sum::<f64>() / inner(&squares, &found);
        let scale_of = |feature: usize| match squares[feature] {
            0.0 => UNASKED.sqrt(),
            _ => (scale * found[feature]).sqrt(),
        };
        let scales: Vec<f64> = (0..theta.len()).map(scale_of).collect();
        let mut differences = self.differences.clone();
        for (feature, value) in differences.iter_mut().flatten() {
            *value *= scales[*feature];
        }
        Self { config: self.config, names: self.names.clone(), differences }
    }
}

/// A pair that will be asked.
struct Taken {
    pair: usize,
    /// Its difference, with all features.
    row: Vec<f64>,
    half: Vec<f64>,
    shrunk: Vec<f64>,
    /// What a covariance with it is multiplied by.
    scale: f64,
}

/// What a candidate told when it was last looked at.
#[derive(PartialEq)]
struct Queued {
    information: f64,
    place: usize,
}

impl Queued {
    fn new(place: usize, candidate: &Candidate) -> Self {
        Self { information: told(candidate.gap, candidate.variance), place }
    }
}

impl Eq for Queued {}

impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Queued {
    /// Of equal ones, the first is the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        self.information.total_cmp(&other.information).then(other.place.cmp(&self.place))
    }
}

/// So many of the pairs, in their order.
fn drawn(pairs: &[usize], count: usize, seed: Seed) -> Vec<usize> {
    let mut places = permutation(pairs.len(), seed.child("among"));
    places.truncate(count);
    places.sort_unstable();
    places.into_iter().map(|place| pairs[place]).collect()
}
