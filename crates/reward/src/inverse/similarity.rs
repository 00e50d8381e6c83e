//! How alike two rewards are, where each is known up to a constant of the prompt and a positive factor.

use std::collections::HashMap;
use std::hash::Hash;

/// Pearson's correlation. NaN where one side doesn't vary.
///
/// # Panics
/// Sides of different lengths.
pub fn pearson(one: &[f64], other: &[f64]) -> f64 {
    weighted_pearson(one, other, &vec![1.0; one.len()])
}

/// [`pearson`] of a population in which cases have these weights.
///
/// # Panics
/// Lists of different lengths.
pub fn weighted_pearson(one: &[f64], other: &[f64], weights: &[f64]) -> f64 {
    assert_eq!([one.len(), other.len()], [weights.len(); 2], "a weight for each case");
    let total: f64 = weights.iter().sum();
    let centered = |side: &[f64]| -> Vec<f64> {
        let mean = side.iter().zip(weights).map(|(it, w)| it * w).sum::<f64>() / total;
        side.iter().map(|it| it - mean).collect()
    };
    let (one, other) = (centered(one), centered(other));
    let product = |a: &[f64], b: &[f64]| -> f64 {
        a.iter().zip(b).zip(weights).map(|((a, b), w)| a * b * w).sum()
    };
    product(&one, &other) / (product(&one, &one) * product(&other, &other)).sqrt()
}

/// Pearson's correlation of two rewards of completions, each less its mean over the completions of the same
/// prompt: what a constant of the prompt adds doesn't count.
///
/// # Panics
/// Lists of different lengths.
pub fn within_prompts<P: Hash + Eq>(one: &[f64], other: &[f64], prompts: &[P]) -> f64 {
    pearson(&less_means(one, prompts), &less_means(other, prompts))
}

/// The EPIC distance of two rewards (Gleave et al., 2021), `√((1 − ρ) / 2)` with the correlation `ρ` of
/// [`within_prompts`]: 0 for rewards that rank alike with distances alike, 1 for opposite ones.
///
/// EPIC first takes off what shaping can add, `E_A[r(s, A)]` in each state. A completion is one action in the
/// state that is its prompt, and nothing follows; so that is the mean of the prompt's completions, and tokens'
/// rewards count by their sum, which shaping within a completion doesn't change.
pub fn epic_distance<P: Hash + Eq>(one: &[f64], other: &[f64], prompts: &[P]) -> f64 {
    ((1.0 - within_prompts(one, other, prompts)) / 2.0).max(0.0).sqrt()
}

fn less_means<P: Hash + Eq>(values: &[f64], prompts: &[P]) -> Vec<f64> {
    assert_eq!(values.len(), prompts.len(), "a prompt for each value");
    let mut sums: HashMap<&P, (f64, f64)> = HashMap::new();
    for (value, prompt) in values.iter().zip(prompts) {
        let (sum, count) = sums.entry(prompt).or_default();
        *sum += value;
        *count += 1.0;
    }
    let mean = |prompt: &P| sums[prompt].0 / sums[prompt].1;
    values.iter().zip(prompts).map(|(value, prompt)| value - mean(prompt)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_of_prompts_and_positive_factors_do_not_count() {
        let prompts = ["a", "b", "a", "b", "b"];
        let truth = [1.0, -2.0, 3.0, 0.5, 4.0];
        // Twice the truth, plus 100 for one prompt and less 100 for the other.
        let other = [102.0, -104.0, 106.0, -99.0, -92.0];
        assert!((within_prompts(&truth, &other, &prompts) - 1.0).abs() < 1e-12);
        assert!(epic_distance(&truth, &other, &prompts) < 1e-6);
        let opposite = other.map(|it| -it);
        assert!((epic_distance(&truth, &opposite, &prompts) - 1.0).abs() < 1e-12);
        assert!(pearson(&truth, &other) < 0.5, "as they are, they look different");
    }

    #[test]
    fn correlations_by_hand() {
        // Deviations −1, 0, 1 and −1, 1, 0: 1 / √(2 · 2).
        assert!((pearson(&[1.0, 2.0, 3.0], &[1.0, 3.0, 2.0]) - 0.5).abs() < 1e-12);
        // A case that counts twice is there twice.
        let twice = pearson(&[1.0, 2.0, 3.0, 3.0], &[1.0, 3.0, 2.0, 2.0]);
        let weighted = weighted_pearson(&[1.0, 2.0, 3.0], &[1.0, 3.0, 2.0], &[1.0, 1.0, 2.0]);
        assert!((twice - weighted).abs() < 1e-12);
        assert!(pearson(&[1.0, 1.0], &[1.0, 2.0]).is_nan());
    }
}
