use super::em::{Consensus, Stop, climb, ln, mean, posterior};
use super::majority::shares;
use super::votes::Votes;

/// Each worker errs in their own way (Dawid and Skene, 1979): given the true label `j`, worker `w` says `l` with
/// probability `π_w[j, l]`. Expectation maximisation from the shares of votes, by turns
///
/// `p_j = mean_t q_tj`, `π_w[j, l] ∝ max(Σ_t q_tj n_twl + a, f)`, and `q_tj ∝ p_j Π_w Π_l π_w[j, l]^n_twl`
///
/// where `n_twl` counts how often `w` labelled task `t` as `l`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DawidSkene {
    /// `a`, how many votes of each kind every worker is credited with. 0.01; 0 is the paper's.
    pub smoothing: f64,
    /// `f`, the least count: no error is impossible. 1e-10.
    pub floor: f64,
    /// When to stop.
    pub stop: Stop,
}

impl Default for DawidSkene {
    fn default() -> Self {
        Self { smoothing: 0.01, floor: 1e-10, stop: Stop::default() }
    }
}

/// What [`DawidSkene`] finds.
#[derive(Clone, Debug, PartialEq)]
pub struct DawidSkeneFit {
    /// The tasks' labels.
    pub consensus: Consensus,
    /// `p_j`, how common each label is.
    pub prior: Vec<f64>,
    /// `π_w[j, l]`, by worker, true label and label said; rows add up to 1.
    pub confusion: Vec<Vec<Vec<f64>>>,
}

impl DawidSkeneFit {
    /// How often each worker is right, `Σ_j p_j π_w[j, j]`.
    pub fn accuracy(&self) -> Vec<f64> {
        let right = |confusion: &Vec<Vec<f64>>| -> f64 {
            self.prior
                .iter()
                .enumerate()
                .map(|(label, prior)| prior * confusion[label][label])
                .sum()
        };
        self.confusion.iter().map(right).collect()
    }
}

struct Parameters {
    prior: Vec<f64>,
    confusion: Vec<Vec<Vec<f64>>>,
}

impl DawidSkene {
    /// The likeliest labels, priors and errors.
    pub fn fit(&self, votes: &Votes) -> DawidSkeneFit {
        let update = |posterior: &[Vec<f64>]| self.update(votes, posterior);
        let (parameters, consensus) = climb(
            update(&shares(votes)),
            self.stop,
            |parameters| expect(votes, parameters),
            |_, posterior| update(posterior),
        );
        let Parameters { prior, confusion } = parameters;
        DawidSkeneFit { consensus, prior, confusion }
    }

    fn update(&self, votes: &Votes, posterior: &[Vec<f64>]) -> Parameters {
        let n_labels = votes.n_labels();
        let mut confusion = vec![vec![vec![self.smoothing; n_labels]; n_labels]; votes.n_workers()];
        for vote in votes.rows() {
            for (truth, row) in confusion[vote.worker].iter_mut().enumerate() {
                row[vote.label] += posterior[vote.task][truth];
            }
        }
        confusion.iter_mut().flatten().for_each(|row| self.normalize(row));
        Parameters { prior: mean(posterior, n_labels), confusion }
    }

    fn normalize(&self, counts: &mut [f64]) {
        counts.iter_mut().for_each(|it| *it = it.max(self.floor).max(f64::MIN_POSITIVE));
        let sum: f64 = counts.iter().sum();
        counts.iter_mut().for_each(|it| *it /= sum);
    }
}

fn expect(votes: &Votes, parameters: &Parameters) -> (Vec<Vec<f64>>, f64) {
    let confusion: Vec<Vec<Vec<f64>>> =
        parameters.confusion.iter().map(|rows| rows.iter().map(|row| ln(row)).collect()).collect();
    posterior(votes, &ln(&parameters.prior), |vote, truth| {
        confusion[vote.worker][truth][vote.label]
    })
}
