use super::votes::{Vote, Votes};

/// Labels that are within this of the likeliest one's probability are as likely.
const SAME: f64 = 1e-9;

/// What is known of the tasks' true labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Consensus {
    /// Probability of each label, by task.
    pub posterior: Vec<Vec<f64>>,
    /// Log-likelihood of the votes in nats.
    pub loglik: f64,
    /// How many times the posterior was computed.
    pub n_iterations: usize,
    /// Whether the model stopped of itself, not because it ran out of iterations.
    pub converged: bool,
}

impl Consensus {
    /// The likeliest label of each task; none where two are equally likely.
    pub fn labels(&self) -> Vec<Option<usize>> {
        self.posterior.iter().map(|it| likeliest(it)).collect()
    }
}

fn likeliest(posterior: &[f64]) -> Option<usize> {
    let best = posterior.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut as_likely = (0..posterior.len()).filter(|label| best - posterior[*label] <= SAME);
    let first = as_likely.next();
    first.filter(|_| as_likely.next().is_none())
}

/// When expectation maximisation ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stop {
    /// At the latest after so many iterations.
    pub max_iterations: usize,
    /// Once the log-likelihood moves by less than this, in nats.
    pub tolerance: f64,
}

impl Default for Stop {
    fn default() -> Self {
        Self { max_iterations: 1000, tolerance: 1e-8 }
    }
}

/// Expectation maximisation (Dempster, Laird and Rubin, 1977) from parameters on: `expect` gives the posterior and
/// the log-likelihood under parameters, `update` the best parameters under a posterior. Returns the parameters that
/// gave the posterior.
pub(super) fn climb<P>(
    start: P,
    stop: Stop,
    expect: impl Fn(&P) -> (Vec<Vec<f64>>, f64),
    update: impl Fn(&P, &[Vec<f64>]) -> P,
) -> (P, Consensus) {
    let mut parameters = start;
    let mut before = f64::NEG_INFINITY;
    for n_iterations in 1.. {
        let (posterior, loglik) = expect(&parameters);
        let converged = (loglik - before).abs() < stop.tolerance;
        if converged || n_iterations >= stop.max_iterations {
            return (parameters, Consensus { posterior, loglik, n_iterations, converged });
        }
        parameters = update(&parameters, &posterior);
        before = loglik;
    }
    unreachable!("the loop ends at `max_iterations`")
}

/// The posterior of each task's label and the votes' log-likelihood,
///
/// `q_tk ∝ p_k Π_v P(label_v | k)`, `LL = Σ_t ln Σ_k p_k Π_v P(label_v | k)`
///
/// over the votes `v` of task `t`, from logarithms of both factors.
pub(super) fn posterior(
    votes: &Votes,
    ln_prior: &[f64],
    ln_likelihood: impl Fn(&Vote, usize) -> f64,
) -> (Vec<Vec<f64>>, f64) {
    let mut loglik = 0.0;
    let posterior = votes.by_task().map(|votes_of_task| {
        let joint = |(truth, ln_prior): (usize, &f64)| -> f64 {
            ln_prior + votes_of_task.iter().map(|vote| ln_likelihood(vote, truth)).sum::<f64>()
        };
        let mut row: Vec<f64> = ln_prior.iter().enumerate().map(joint).collect();
        loglik += normalize(&mut row);
        row
    });
    let posterior = posterior.collect();
    (posterior, loglik)
}

/// Makes probabilities of log-weights; returns the logarithm of the weights' sum.
fn normalize(ln_weights: &mut [f64]) -> f64 {
    let largest = ln_weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    ln_weights.iter_mut().for_each(|it| *it = (*it - largest).exp());
    let sum: f64 = ln_weights.iter().sum();
    ln_weights.iter_mut().for_each(|it| *it /= sum);
    largest + sum.ln()
}

/// The mean of the tasks' posteriors; even where there is no task.
pub(super) fn mean(posterior: &[Vec<f64>], n_labels: usize) -> Vec<f64> {
    if posterior.is_empty() {
        return vec![1.0 / n_labels as f64; n_labels];
    }
    let sum_of = |label: usize| posterior.iter().map(|row| row[label]).sum::<f64>();
    (0..n_labels).map(|label| sum_of(label) / posterior.len() as f64).collect()
}

pub(super) fn ln(probabilities: &[f64]) -> Vec<f64> {
    probabilities.iter().map(|it| it.ln()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equally_likely_labels_are_no_label() {
        assert_eq!(likeliest(&[0.2, 0.5, 0.3]), Some(1));
        assert_eq!(likeliest(&[0.4, 0.2, 0.4]), None);
        assert_eq!(likeliest(&[]), None);
    }

    #[test]
    fn tiny_weights_lose_nothing() {
        // ln(e^-1000 + e^-1001) = -1000 + ln(1 + 1/e)
        let mut weights = [-1000.0, -1001.0];
        assert!((normalize(&mut weights) + 1000.0 - 1.367_879_441_171_442_f64.ln()).abs() < 1e-12);
        assert!((weights[0] - 0.731_058_578_630_004_9).abs() < 1e-12);
    }
}
