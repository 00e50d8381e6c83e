//! The best of several completions, by their scores.

/// How far the best of `n` completions lies from the model that sampled them, in nats, at most:
/// `ln n − (n − 1) / n` (Stiennon et al., 2020; an upper bound by Beirami et al., 2024). It is reached
/// where no two completions are alike.
///
/// # Panics
/// `n` is 0.
pub fn best_of_kl(n: usize) -> f64 {
    assert!(n > 0, "there is no best of none");
    let n = n as f64;
    n.ln() - (n - 1.0) / n
}

/// The places of the `count` highest scores, the best first; of equal ones, the earlier.
pub fn best_places(scores: &[f32], count: usize) -> Vec<usize> {
    let mut places: Vec<usize> = (0..scores.len()).collect();
    places.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    places.truncate(count);
    places
}

/// What the completion with the best score of `n` is worth on average, from more than `n` of them: the mean
/// over all ways to draw `n` of the `N`, `Σ_i C(i−1, n−1) / C(N, n) · value(i)`, with the completions in
/// the order of their scores, from the lowest `i = 1` to the highest (Nakano et al., 2021).
/// `values` may be the scores themselves, or what a truer judge says.
///
/// # Panics
/// Other than one value for each score, or `n` outside `1..=N`.
pub fn expected_best(scores: &[f32], values: &[f64], n: usize) -> f64 {
    let count = scores.len();
    assert_eq!(count, values.len(), "one value for each score");
    assert!((1..=count).contains(&n), "the best of {n} can't be told from {count}");
    // From the highest down: C(N−1, n−1) / C(N, n) is n / N, and each next weight is the one before times
    // (i − n) / (i − 1).
    let mut weight = n as f64 / count as f64;
    let mut sum = 0.0;
    for (place, rank) in best_places(scores, count).into_iter().zip((1..=count).rev()) {
        sum += weight * values[place];
        weight *= rank.saturating_sub(n) as f64 / (rank.max(2) - 1) as f64;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_come_first_and_equal_ones_in_their_order() {
        assert_eq!(best_places(&[0.5, 2.0, -1.0, 2.0], 3), [1, 3, 0]);
        assert_eq!(best_places(&[], 2), Vec::<usize>::new());
    }

    #[test]
    fn the_best_of_one_is_the_mean_and_the_best_of_all_the_best() {
        let (scores, values) = ([0.3, -2.0, 1.5], [1.0, 2.0, 6.0]);
        assert!((expected_best(&scores, &values, 1) - 3.0).abs() < 1e-12);
        assert!((expected_best(&scores, &values, 3) - 6.0).abs() < 1e-12);
        // Of the three pairs, two hold the highest and one the middle score.
        assert!((expected_best(&scores, &values, 2) - (6.0 + 6.0 + 1.0) / 3.0).abs() < 1e-12);
    }
}
