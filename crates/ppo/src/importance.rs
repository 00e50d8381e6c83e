//! Correction for completions that another policy than the trained one sampled: the one of a step before, or
//! its rounding.

use rein_data::log::Metrics;

use crate::rollout::Row;

/// Truncated importance weights of tokens, `min(exp(trained − sampled), cap)` (Ionides, 2008; in
/// language models Yao et al., 2025): what each token's loss is multiplied by, so that the sum over
/// samples estimates that of the policy that is trained. Nothing flows back through them.
///
/// # Shapes
/// - `trained`: log-probabilities of the policy that is trained, when the tokens were sampled
/// - `sampled`: those of the policy that sampled them
pub fn weights(trained: &[f32], sampled: &[f32], cap: f32) -> Vec<f32> {
    trained
        .iter()
        .zip(sampled)
        .map(|(trained, sampled)| (trained - sampled).exp().min(cap))
        .collect()
}

/// How far two policies are from one another on some tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distance {
    /// Mean and largest `|trained − sampled|`, in nats.
    pub logprobs: [f64; 2],
    /// The smallest, the mean and the largest weight.
    pub weights: [f64; 3],
}

impl Distance {
    /// Of the tokens of rows, each a pair of what [`weights`] takes; `None` without tokens.
    pub fn of<'a>(rows: impl Iterator<Item = (&'a [f32], &'a [f32])>, cap: f32) -> Option<Self> {
        let (mut count, mut logprobs) = (0.0, [0.0, 0.0_f64]);
        let mut all = [f64::INFINITY, 0.0, f64::NEG_INFINITY];
        for (trained, sampled) in rows {
            let differences = trained.iter().zip(sampled).map(|(a, b)| f64::from((a - b).abs()));
            for (difference, weight) in differences.zip(weights(trained, sampled, cap)) {
                let weight = f64::from(weight);
                count += 1.0;
                logprobs = [logprobs[0] + difference, logprobs[1].max(difference)];
                all = [all[0].min(weight), all[1] + weight, all[2].max(weight)];
            }
        }
        let [least, total, most] = all;
        (count > 0.0).then(|| Self {
            logprobs: [logprobs[0] / count, logprobs[1]],
            weights: [least, total / count, most],
        })
    }
}

/// Adds a step's distance to its metrics, by TRL's names, where rows were sampled by another policy.
pub fn describe(rows: &[Row], cap: f32, metrics: &mut Metrics) {
    let rows = rows.iter();
    let pairs = rows.filter_map(|row| Some((&row.logprobs[..], row.sampled_logprobs.as_deref()?)));
    let Some(Distance { logprobs, weights }) = Distance::of(pairs, cap) else {
        return;
    };
    for (name, value) in ["mean", "max"].into_iter().zip(logprobs) {
        metrics.push(format!("sampling/sampling_logp_difference/{name}"), value);
    }
    for (name, value) in ["min", "mean", "max"].into_iter().zip(weights) {
        metrics.push(format!("sampling/importance_sampling_ratio/{name}"), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_ratios_up_to_the_cap() {
        // ln 1.5 and ln 0.5 by hand; the third would be e¹ = 2.718.
        let (trained, sampled) =
            ([-1.0, -2.0, -0.5, -3.0], [-1.405_465_1, -1.306_852_8, -1.5, -3.0]);
        let got = weights(&trained, &sampled, 2.0);
        for (got, want) in got.iter().zip([1.5, 0.5, 2.0, 1.0]) {
            assert!((got - want).abs() < 1e-6, "{got} and {want}");
        }
        let pair = (&trained[..], &sampled[..]);
        let distance = Distance::of([pair].into_iter(), 2.0).expect("there are tokens");
        // (0.405465 + 0.693147 + 1 + 0) / 4, and (1.5 + 0.5 + 2 + 1) / 4.
        for (got, want) in distance.logprobs.iter().zip([0.524_653, 1.0]) {
            assert!((got - want).abs() < 1e-5, "{got} and {want}");
        }
        for (got, want) in distance.weights.iter().zip([0.5, 1.25, 2.0]) {
            assert!((got - want).abs() < 1e-6, "{got} and {want}");
        }
        assert_eq!(Distance::of(std::iter::empty(), 2.0), None);
    }
}
