use super::em::Consensus;
use super::votes::Votes;

/// The share of votes for each label of each task.
///
/// `loglik` is 0: counting is no model.
pub fn majority(votes: &Votes) -> Consensus {
    Consensus { posterior: shares(votes), loglik: 0.0, n_iterations: 0, converged: true }
}

/// Shares of labels by task, where models begin.
pub(super) fn shares(votes: &Votes) -> Vec<Vec<f64>> {
    votes
        .by_task()
        .map(|votes_of_task| {
            let mut shares = vec![0.0; votes.n_labels()];
            votes_of_task.iter().for_each(|vote| shares[vote.label] += 1.0);
            shares.iter_mut().for_each(|it| *it /= votes_of_task.len() as f64);
            shares
        })
        .collect()
}
