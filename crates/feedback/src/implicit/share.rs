//! No user counts for much.

/// The largest share of the total weight that a user may have: `share`, or twice an equal share where
/// users are so few that it would be more. With one or two users this bounds nothing.
pub fn largest_share(share: f64, n_users: usize) -> f64 {
    share.max(2.0 / n_users.max(1) as f64)
}

/// The weights of users, those above a bound lowered to it, so that none has more than
/// [`largest_share`] of the sum.
///
/// The bound is the highest that does: with the `k` heaviest lowered and the others summing up to `R`,
/// it is `s R / (1 − s k)` for the share `s`. Users without weight aren't counted.
pub fn bounded(weights: &[f64], share: f64) -> Vec<f64> {
    let mut descending: Vec<f64> = weights.iter().copied().filter(|it| *it > 0.0).collect();
    descending.sort_by(|a, b| b.total_cmp(a));
    let share = largest_share(share, descending.len());
    let bound = (0..descending.len()).find_map(|n_lowered| {
        let rest: f64 = descending[n_lowered..].iter().sum();
        let bound = share * rest / (1.0 - share * n_lowered as f64);
        (descending[n_lowered] <= bound).then_some(bound)
    });
    weights.iter().map(|weight| bound.map_or(*weight, |bound| weight.min(bound))).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_user_of_many_keeps_a_hundredth() {
        let mut weights = vec![1.0; 499];
        weights.push(1e6);
        let bounded = bounded(&weights, 0.01);
        // 0.01 · 499 / 0.99.
        assert!((bounded[499] - 499.0 / 99.0).abs() < 1e-12, "{}", bounded[499]);
        assert_eq!(bounded[..499], weights[..499]);
    }

    #[test]
    fn of_few_users_each_keeps_twice_an_equal_share() {
        assert_eq!(bounded(&[8.0, 1.0, 1.0, 1.0, 0.0], 0.01), [3.0, 1.0, 1.0, 1.0, 0.0]);
        assert_eq!(bounded(&[8.0, 1.0], 0.01), [8.0, 1.0]);
        assert_eq!(bounded(&[0.0], 0.01), [0.0]);
        assert_eq!(bounded(&[], 0.01), [0.0; 0]);
    }

    proptest! {
        #[test]
        fn nobody_has_more_than_the_share(weights in prop::collection::vec(0.0..1e6f64, 0..400)) {
            let bounded = bounded(&weights, 0.01);
            let n_users = weights.iter().filter(|it| **it > 0.0).count();
            let most = largest_share(0.01, n_users) * bounded.iter().sum::<f64>();
            for (bounded, weight) in bounded.iter().zip(&weights) {
                prop_assert!(bounded <= weight && *bounded <= most * (1.0 + 1e-9));
            }
            // Only who would have more was lowered, and the share is used up.
            let lowered = bounded.iter().zip(&weights).filter(|(bounded, weight)| bounded < weight);
            for (bounded, _) in lowered {
                prop_assert!(*bounded >= most * (1.0 - 1e-9));
            }
        }
    }
}
