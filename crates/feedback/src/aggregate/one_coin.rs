use super::em::{Consensus, Stop, climb, ln, mean, posterior};
use super::majority::shares;
use super::votes::Votes;

/// Skills keep this far from 0 and 1, so that no vote is impossible.
const MARGIN: f64 = 1e-10;

/// Each worker is right with a probability of their own, `s_w`, and says any of the `K − 1` wrong labels as likely
/// as another: Dawid and Skene's model with one number a worker, for little data. By turns
///
/// `p_j = mean_t q_tj`, `s_w = (Σ_v q_tv[label_v] + a) / (n_w + K a)`, and `q_tj ∝ p_j Π_v P(label_v | j)`
///
/// over the `n_w` votes of the worker and the votes of the task.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OneCoin {
    /// `a`, how many votes for each label every worker is credited with. 0.01.
    pub smoothing: f64,
    /// When to stop.
    pub stop: Stop,
}

impl Default for OneCoin {
    fn default() -> Self {
        Self { smoothing: 0.01, stop: Stop::default() }
    }
}

/// What [`OneCoin`] finds.
#[derive(Clone, Debug, PartialEq)]
pub struct OneCoinFit {
    /// The tasks' labels.
    pub consensus: Consensus,
    /// `p_j`, how common each label is.
    pub prior: Vec<f64>,
    /// `s_w`, how often each worker is right.
    pub skill: Vec<f64>,
}

struct Parameters {
    prior: Vec<f64>,
    skill: Vec<f64>,
}

impl OneCoin {
    /// The likeliest labels, priors and skills.
    pub fn fit(&self, votes: &Votes) -> OneCoinFit {
        let update = |posterior: &[Vec<f64>]| self.update(votes, posterior);
        let (Parameters { prior, skill }, consensus) = climb(
            update(&shares(votes)),
            self.stop,
            |parameters| expect(votes, parameters),
            |_, posterior| update(posterior),
        );
        OneCoinFit { consensus, prior, skill }
    }

    fn update(&self, votes: &Votes, posterior: &[Vec<f64>]) -> Parameters {
        let mut n_right = vec![self.smoothing; votes.n_workers()];
        votes.rows().iter().for_each(|it| n_right[it.worker] += posterior[it.task][it.label]);
        let credit = self.smoothing * votes.n_labels() as f64;
        let n_votes = votes.n_of_workers();
        let skill = n_right.iter().zip(n_votes).map(|(n_right, n)| n_right / (n + credit));
        Parameters { prior: mean(posterior, votes.n_labels()), skill: skill.collect() }
    }
}

fn expect(votes: &Votes, parameters: &Parameters) -> (Vec<Vec<f64>>, f64) {
    let n_wrong = votes.n_labels().saturating_sub(1).max(1) as f64;
    let ln_skill = |skill: &f64| {
        let skill = skill.clamp(MARGIN, 1.0 - MARGIN);
        [skill.ln(), ((1.0 - skill) / n_wrong).ln()]
    };
    let skill: Vec<[f64; 2]> = parameters.skill.iter().map(ln_skill).collect();
    posterior(votes, &ln(&parameters.prior), |vote, truth| {
        skill[vote.worker][usize::from(vote.label != truth)]
    })
}
