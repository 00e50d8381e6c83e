use rand::RngExt;
use rein_data::seed::Seed;

use super::em::{Consensus, Stop, climb, posterior};
use super::votes::Votes;

/// A later start has to beat the best one by this many nats: rounding doesn't choose.
const BETTER: f64 = 1e-9;

/// Workers know the answer or don't care (MACE: Hovy, Berg-Kirkpatrick, Vaswani and Hovy, 2013): worker `w` says the
/// true label with probability `κ_w` and otherwise draws from a habit `ξ_w`, whatever the task,
///
/// `P(l | k) = κ_w [l = k] + (1 − κ_w) ξ_w[l]`
///
/// with all labels equally likely beforehand. Expectation maximisation from several starts, of which the one of the
/// greatest likelihood counts; counts are smoothed by `a / K`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mace {
    /// `a`. 0.01.
    pub smoothing: f64,
    /// From how many points to start: from `κ = 1/2`, then from random ones. 10.
    pub n_starts: usize,
    /// Where the random starts are drawn from.
    pub seed: Seed,
    /// When to stop.
    pub stop: Stop,
}

impl Mace {
    /// The usual settings.
    pub fn new(seed: Seed) -> Self {
        Self { smoothing: 0.01, n_starts: 10, seed, stop: Stop::default() }
    }

    /// The likeliest labels and workers.
    pub fn fit(&self, votes: &Votes) -> MaceFit {
        let mut best = self.fit_from(votes, start(votes, |_| 0.5));
        for number in 1..self.n_starts {
            let mut rng = self.seed.index(number as u64).rng();
            let other = self.fit_from(votes, start(votes, |_| rng.random()));
            if other.consensus.loglik > best.consensus.loglik + BETTER {
                best = other;
            }
        }
        best
    }

    /// The likeliest labels and workers near a start, one [`MaceWorker`] for each worker of `votes`.
    pub fn fit_from(&self, votes: &Votes, start: Vec<MaceWorker>) -> MaceFit {
        assert_eq!(start.len(), votes.n_workers(), "a start has every worker");
        let (workers, consensus) = climb(
            start,
            self.stop,
            |workers| expect(votes, workers),
            |workers, posterior| self.update(votes, workers, posterior),
        );
        MaceFit { consensus, workers }
    }

    fn update(
        &self,
        votes: &Votes,
        workers: &[MaceWorker],
        posterior: &[Vec<f64>],
    ) -> Vec<MaceWorker> {
        let smoothing = self.smoothing / votes.n_labels() as f64;
        let mut counts = vec![(smoothing, vec![smoothing; votes.n_labels()]); workers.len()];
        for vote in votes.rows() {
            let (n_known, n_habit) = &mut counts[vote.worker];
            let right = posterior[vote.task][vote.label];
            let known = right * workers[vote.worker].known(vote.label);
            *n_known += known;
            n_habit[vote.label] += 1.0 - known;
        }
        counts.into_iter().map(|(n_known, n_habit)| fitted(n_known, n_habit, smoothing)).collect()
    }
}

/// What [`Mace`] finds.
#[derive(Clone, Debug, PartialEq)]
pub struct MaceFit {
    /// The tasks' labels.
    pub consensus: Consensus,
    /// The workers.
    pub workers: Vec<MaceWorker>,
}

/// How a worker answers.
#[derive(Clone, Debug, PartialEq)]
pub struct MaceWorker {
    /// `κ`, how often they know the label.
    pub know: f64,
    /// `ξ`, what they say otherwise.
    pub habit: Vec<f64>,
}

impl MaceWorker {
    /// How likely a right label was known, not said by chance.
    fn known(&self, label: usize) -> f64 {
        let total = self.know + (1.0 - self.know) * self.habit[label];
        if total > 0.0 { self.know / total } else { 0.0 }
    }

    fn ln_likelihood(&self, label: usize, truth: usize) -> f64 {
        let known = if label == truth { self.know } else { 0.0 };
        (known + (1.0 - self.know) * self.habit[label]).max(f64::MIN_POSITIVE).ln()
    }
}

/// Habits begin at what the workers say in all, so that labels may be renamed and nothing changes.
fn start(votes: &Votes, mut know: impl FnMut(usize) -> f64) -> Vec<MaceWorker> {
    let mut counts = vec![vec![1.0; votes.n_labels()]; votes.n_workers()];
    votes.rows().iter().for_each(|vote| counts[vote.worker][vote.label] += 1.0);
    let worker = |(number, counts): (usize, Vec<f64>)| MaceWorker {
        know: know(number),
        habit: shares(counts),
    };
    counts.into_iter().enumerate().map(worker).collect()
}

fn fitted(n_known: f64, n_habit: Vec<f64>, smoothing: f64) -> MaceWorker {
    let n_labels = n_habit.len() as f64;
    let n_spammed = n_habit.iter().sum::<f64>() - (n_labels - 1.0) * smoothing;
    MaceWorker { know: n_known / (n_known + n_spammed), habit: shares(n_habit) }
}

fn shares(counts: Vec<f64>) -> Vec<f64> {
    let sum: f64 = counts.iter().sum();
    if sum > 0.0 {
        counts.into_iter().map(|it| it / sum).collect()
    } else {
        vec![1.0 / counts.len() as f64; counts.len()]
    }
}

fn expect(votes: &Votes, workers: &[MaceWorker]) -> (Vec<Vec<f64>>, f64) {
    let ln_prior = vec![-(votes.n_labels() as f64).ln(); votes.n_labels()];
    posterior(votes, &ln_prior, |vote, truth| workers[vote.worker].ln_likelihood(vote.label, truth))
}
