use super::em::{Consensus, posterior};
use super::votes::{Vote, Votes};
use crate::optimize::{Climb, ln_sigmoid, maximize, sigmoid};

/// Workers differ in skill and tasks in difficulty (GLAD: Whitehill et al., 2009). A label is right with probability
///
/// `P = σ(α_w e^{β_t})`
///
/// and wrong in each of the `K − 1` other ways with `(1 − P) / (K − 1)`: `α_w` is the worker's skill, negative for who
/// says the opposite, and `β_t` how easy the task is. All labels are equally likely beforehand, skills and easiness
/// are normal around 1 with variance 1 (as in the paper), and what is maximised is
///
/// `Σ_t ln Σ_k 1/K Π_v P(label_v | k) − ½ Σ_w (α_w − 1)² − ½ Σ_t (β_t − 1)²`
///
/// by L-BFGS from `α = β = 1`. Its gradient is that of expectation maximisation's inner problem, so both end at the
/// same points; it gets there in far fewer steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Glad {
    /// When to stop: once no derivative is above `tolerance`, at the latest after `max_iterations`. 1e-7 and 1000.
    pub climb: Climb,
}

impl Default for Glad {
    fn default() -> Self {
        Self { climb: Climb { max_iterations: 1000, tolerance: 1e-7 } }
    }
}

/// What [`Glad`] finds.
#[derive(Clone, Debug, PartialEq)]
pub struct GladFit {
    /// The tasks' labels. `loglik` is without the priors.
    pub consensus: Consensus,
    /// `α_w` of each worker.
    pub skill: Vec<f64>,
    /// `β_t` of each task.
    pub easiness: Vec<f64>,
    /// What was maximised, with the priors up to a constant.
    pub objective: f64,
}

impl Glad {
    /// The likeliest labels, skills and difficulties.
    pub fn fit(&self, votes: &Votes) -> GladFit {
        let start = vec![1.0; votes.n_workers() + votes.n_tasks()];
        let top = maximize(start, self.climb, |parameters| objective(votes, parameters));
        let (posterior, loglik) = expect(votes, &top.at);
        let (skill, easiness) = top.at.split_at(votes.n_workers());
        let (n_iterations, converged) = (top.n_iterations, top.converged);
        GladFit {
            consensus: Consensus { posterior, loglik, n_iterations, converged },
            skill: skill.to_vec(),
            easiness: easiness.to_vec(),
            objective: top.value,
        }
    }
}

/// The logarithm of the posterior density and its gradient; by Fisher's identity, a vote that is right with
/// probability `r` under the labels' posterior pulls its logit by `r − P`.
fn objective(votes: &Votes, parameters: &[f64]) -> (f64, Vec<f64>) {
    let (posterior, loglik) = expect(votes, parameters);
    let mut gradient: Vec<f64> = parameters.iter().map(|it| 1.0 - it).collect();
    let prior: f64 = gradient.iter().map(|it| -0.5 * it * it).sum();
    for vote in votes.rows() {
        let [alpha, beta] = places(votes, vote);
        let scale = parameters[beta].exp();
        let logit = parameters[alpha] * scale;
        let pull = posterior[vote.task][vote.label] - sigmoid(logit);
        gradient[alpha] += pull * scale;
        gradient[beta] += pull * logit;
    }
    (loglik + prior, gradient)
}

fn expect(votes: &Votes, parameters: &[f64]) -> (Vec<Vec<f64>>, f64) {
    let n_labels = votes.n_labels();
    let ln_prior = vec![-(n_labels as f64).ln(); n_labels];
    let ln_n_wrong = (n_labels.saturating_sub(1).max(1) as f64).ln();
    posterior(votes, &ln_prior, |vote, truth| {
        let [alpha, beta] = places(votes, vote);
        let logit = parameters[alpha] * parameters[beta].exp();
        if vote.label == truth { ln_sigmoid(logit) } else { ln_sigmoid(-logit) - ln_n_wrong }
    })
}

/// Where a vote's skill and easiness lie: skills come first.
fn places(votes: &Votes, vote: &Vote) -> [usize; 2] {
    [vote.worker, votes.n_workers() + vote.task]
}
