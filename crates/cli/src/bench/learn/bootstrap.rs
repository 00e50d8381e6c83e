use rand::RngExt;
use rein_data::seed::Seed;

/// Resamples.
const N_RESAMPLES: usize = 10_000;

/// How probable a gain as large is by chance, by the paired bootstrap (Efron and Tibshirani, 1993): the share
/// of resamples of the pairs, drawn with replacement, in which `after` isn't better than `before` on average.
/// `(1 + #{mean ≤ 0}) / (1 + n)`, which is never 0.
///
/// Numbers of both lists stand one to a problem, in the same order.
pub(super) fn p_of_gain(before: &[f64], after: &[f64], seed: Seed) -> f64 {
    assert_eq!(before.len(), after.len(), "both were asked the same problems");
    let gains: Vec<f64> = before.iter().zip(after).map(|(before, after)| after - before).collect();
    let mut rng = seed.rng();
    let mut resample =
        || (0..gains.len()).map(|_| gains[rng.random_range(0..gains.len())]).sum::<f64>();
    let n_without = (0..N_RESAMPLES).filter(|_| resample() <= 0.0).count();
    (1 + n_without) as f64 / (1 + N_RESAMPLES) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p(gains: &[f64]) -> f64 {
        p_of_gain(
            &vec![0.5; gains.len()],
            &gains.iter().map(|it| it + 0.5).collect::<Vec<_>>(),
            Seed::new(1),
        )
    }

    #[test]
    fn all_resamples_of_two_and_of_three_pairs_by_hand() {
        // Of the four equally probable resamples of {1, −½}, one has no mean above 0: p = 1/4. Five
        // deviations of 10,000 draws: 5 √(3/16 / 10⁴) = 0.022.
        assert!((p(&[1.0, -0.5]) - 0.25).abs() < 0.022);
        // Of the 27 of {1, −1, −1}: the sum of three is above 0 with at least two ones, 7 of 27; so p = 20/27,
        // give or take 0.022.
        assert!((p(&[1.0, -1.0, -1.0]) - 20.0 / 27.0).abs() < 0.022);
    }

    #[test]
    fn a_gain_on_every_problem_has_the_least_p_and_none_the_most() {
        assert_eq!(p(&[0.1, 0.2, 0.3]), 1.0 / 10_001.0);
        assert_eq!(p(&[0.0; 5]), 1.0);
    }
}
