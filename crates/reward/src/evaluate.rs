//! How often a judge agrees with judgements it hasn't seen.

/// A share with its uncertainty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// Cases that count.
    pub n_right: f64,
    /// All cases.
    pub n_cases: usize,
}

impl Share {
    /// The share itself; NaN without any cases.
    pub fn value(&self) -> f64 {
        self.n_right / self.n_cases as f64
    }

    /// The Wilson score interval (Wilson, 1927) at 95 %.
    pub fn interval(&self) -> (f64, f64) {
        const Z: f64 = 1.959_963_984_540_054;
        let n = self.n_cases as f64;
        let p = self.value();
        let center = (p + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
        let half = Z / (1.0 + Z * Z / n) * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
        (center - half, center + half)
    }
}

/// How often the preferred of two completions has the higher score; a tie counts half.
pub fn pair_accuracy(chosen: &[f32], rejected: &[f32]) -> Share {
    let point = |(chosen, rejected): (&f32, &f32)| match chosen.partial_cmp(rejected) {
        Some(std::cmp::Ordering::Greater) => 1.0,
        Some(std::cmp::Ordering::Equal) => 0.5,
        _ => 0.0,
    };
    let points = chosen.iter().zip(rejected).map(point);
    Share { n_right: points.sum(), n_cases: chosen.len() }
}

/// How often the score of a labelled completion has the label's sign.
pub fn label_accuracy(scores: &[f32], is_good: &[bool]) -> Share {
    let right = scores.iter().zip(is_good).filter(|(score, is_good)| (**score > 0.0) == **is_good);
    Share { n_right: right.count() as f64, n_cases: scores.len() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_intervals_are_those_of_the_textbook() {
        // 55 of 100: [0.452, 0.644]; 530 of 1000: [0.499, 0.561].
        for (n_right, n_cases, low, high) in
            [(55.0, 100, 0.452, 0.644), (530.0, 1000, 0.499, 0.561)]
        {
            let (got_low, got_high) = Share { n_right, n_cases }.interval();
            assert!((got_low - low).abs() < 5e-4 && (got_high - high).abs() < 5e-4);
        }
    }

    #[test]
    fn ties_and_nans_are_no_successes() {
        let accuracy = pair_accuracy(&[1.0, 0.0, 2.0, f32::NAN], &[0.0, 0.0, 3.0, 0.0]);
        assert_eq!((accuracy.n_right, accuracy.n_cases), (1.5, 4));
        assert_eq!(label_accuracy(&[1.0, -1.0, 0.0], &[true, true, false]).n_right, 2.0);
    }
}
