use std::f64::consts::SQRT_2;

use statrs::function::erf::erfc;

use super::PairedScores;

impl PairedScores<'_> {
    /// How likely differences this lopsided are if both signs of each are equally likely: the signed-rank test
    /// (Wilcoxon, 1945) on two sides.
    ///
    /// Prompts without a difference are dropped, as Wilcoxon did. The `n` others are ranked by the size of their
    /// difference, equal ones by the mean of their ranks. With `W` the sum of our ranks and `t` prompts in a group of
    /// equal sizes,
    ///
    /// `z = (W − n (n + 1) / 4) / √((n (n + 1) (2 n + 1) − ½ Σ (t³ − t)) / 24)`
    ///
    /// is about normal from ten prompts on. Without correction for continuity. 1 if nothing differs.
    pub fn wilcoxon(&self) -> f64 {
        let mut differences: Vec<f64> = self.differences().filter(|it| *it != 0.0).collect();
        differences.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
        if differences.is_empty() {
            return 1.0;
        }
        let n = differences.len() as f64;
        let (our_ranks, ties) = ranked(&differences);
        let spread = ((n * (n + 1.0) * (2.0 * n + 1.0) - 0.5 * ties) / 24.0).sqrt();
        let z = (our_ranks - n * (n + 1.0) / 4.0) / spread;
        erfc(z.abs() / SQRT_2)
    }
}

/// The sum of the ranks of what is positive, and `Σ (t³ − t)`.
fn ranked(by_size: &[f64]) -> (f64, f64) {
    let (mut our_ranks, mut ties, mut n_before) = (0.0, 0.0, 0.0);
    for group in by_size.chunk_by(|a, b| a.abs() == b.abs()) {
        let n = group.len() as f64;
        let n_ours = group.iter().filter(|it| **it > 0.0).count() as f64;
        our_ranks += n_ours * (n_before + (n + 1.0) / 2.0);
        ties += n * n * n - n;
        n_before += n;
    }
    (our_ranks, ties)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p(ours: &[f64], theirs: &[f64]) -> f64 {
        PairedScores::new(ours, theirs).expect("as many of both").wilcoxon()
    }

    #[test]
    fn p_is_that_of_scipy() {
        // scipy 1.17.1: wilcoxon(a, b, zero_method="wilcox", correction=False, method="asymptotic").pvalue
        let a = [1.5, 0.25, -0.75, 2.0, 0.5, 1.25, -0.25, 3.0, 0.0, 1.0, 0.75, -1.5];
        let b = [0.5, 0.75, -0.75, 1.0, 1.0, 0.75, -1.25, 0.5, 0.5, -0.5, 2.0, -2.0];
        assert!((p(&a, &b) - 0.177_091_756_189_187_04).abs() < 1e-9, "{}", p(&a, &b));
        assert!((p(&b, &a) - p(&a, &b)).abs() < 1e-15, "has no sides");
        assert!((p(&a[..6], &b[..6]) - 0.333_998_255_821_997_94).abs() < 1e-9);
        let c: Vec<f64> = (0..40).map(|it| f64::from(it * 37 % 101) / 10.0).collect();
        let d: Vec<f64> = (0..40).map(|it| f64::from((it * 53 + 11) % 97) / 11.0).collect();
        assert!((p(&c, &d) - 0.174_599_841_212_598_3).abs() < 1e-9, "{}", p(&c, &d));
    }

    #[test]
    fn no_difference_is_no_evidence() {
        assert_eq!(p(&[], &[]), 1.0);
        assert_eq!(p(&[1.0, f64::NAN], &[1.0, 2.0]), 1.0);
        assert!(p(&[f64::INFINITY, 1.0], &[0.0, f64::INFINITY]) > 0.99, "one each");
        assert!(p(&[f64::MAX; 100_000], &[-1.0; 100_000]) < 1e-300, "all the same way");
    }
}
