use serde::Serialize;

/// The 97.5 % quantile of the normal distribution.
pub(super) const Z: f64 = 1.959_963_984_540_054;

/// A correlation with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Correlation {
    /// The coefficient.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Spearman's rank correlation; those that are equal share their mean rank. The interval is Fisher's, with the variance
/// of Bonett and Wright (2000). `None` where one side is constant, or of fewer than four.
pub fn spearman(first: &[f64], second: &[f64]) -> Option<Correlation> {
    let count = first.len() as f64;
    if first.len() < 4 || first.iter().chain(second).any(|it| it.is_nan()) {
        return None;
    }
    let (first, second) = (ranks(first), ranks(second));
    let mean = (count + 1.0) / 2.0;
    let sum =
        |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>();
    let value = sum(&first, &second) / (sum(&first, &first) * sum(&second, &second)).sqrt();
    if !value.is_finite() {
        return None;
    }
    let half = Z * ((1.0 + value * value / 2.0) / (count - 3.0)).sqrt();
    let middle = value.clamp(-1.0 + 1e-12, 1.0 - 1e-12).atanh();
    Some(Correlation { value, low: (middle - half).tanh(), high: (middle + half).tanh() })
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut n_before = 0;
    for group in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let rank = n_before as f64 + (group.len() as f64 + 1.0) / 2.0;
        group.iter().for_each(|place| ranks[*place] = rank);
        n_before += group.len();
    }
    ranks
}

/// A mean and its 95 % t interval; of one value, the interval is endless.
pub fn mean_interval(values: &[f64]) -> [f64; 3] {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    if values.len() < 2 {
        return [mean, f64::NEG_INFINITY, f64::INFINITY];
    }
    let variance = values.iter().map(|it| (it - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let half = t_quantile(count - 1.0) * (variance / count).sqrt();
    [mean, mean - half, mean + half]
}

/// The 97.5 % quantile of Student's t: exact for 1 and 2 degrees of freedom, beyond that the expansion in powers of their
/// number (Abramowitz and Stegun, 26.7.5), which is off by less than 0.5 %.
fn t_quantile(freedom: f64) -> f64 {
    if freedom < 1.5 {
        return 12.706_204_736;
    }
    if freedom < 2.5 {
        return 4.302_652_73;
    }
    let terms = [
        (Z.powi(3) + Z) / 4.0,
        (5.0 * Z.powi(5) + 16.0 * Z.powi(3) + 3.0 * Z) / 96.0,
        (3.0 * Z.powi(7) + 19.0 * Z.powi(5) + 17.0 * Z.powi(3) - 15.0 * Z) / 384.0,
        (79.0 * Z.powi(9) + 776.0 * Z.powi(7) + 1482.0 * Z.powi(5)
            - 1920.0 * Z.powi(3)
            - 945.0 * Z)
            / 92160.0,
    ];
    let powers = terms.iter().zip(1..).map(|(term, power)| term / freedom.powi(power));
    Z + powers.sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn correlations_and_intervals_are_those_of_tables() {
        // scipy.stats.spearmanr([1, 2, 3, 4, 5], [5, 6, 7, 8, 7]): 0.8207826816681233
        let got = spearman(&[1.0, 2.0, 3.0, 4.0, 5.0], &[5.0, 6.0, 7.0, 8.0, 7.0]).expect("varies");
        assert!((got.value - 0.820_782_681_668_123_3).abs() < 1e-12, "{got:?}");
        assert_eq!(spearman(&[1.0; 5], &[1.0, 2.0, 3.0, 4.0, 5.0]), None);
        for (freedom, want) in
            [(1.0, 12.7062), (2.0, 4.3027), (3.0, 3.1824), (5.0, 2.5706), (30.0, 2.0423)]
        {
            assert!((t_quantile(freedom) / want - 1.0).abs() < 5e-3, "{freedom}");
        }
        let [mean, low, high] = mean_interval(&[1.0, 2.0, 3.0, 4.0]);
        // 2.5 ± 3.1824 · 1.29099 / 2
        assert_eq!(mean, 2.5);
        assert!((high - 4.5543).abs() < 0.02 && (low + high - 5.0).abs() < 1e-12, "{low} {high}");
    }
}
