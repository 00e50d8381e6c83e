//! How a truer reward falls behind the one that is optimised (Gao, Schulman and Hilton, 2023).
//!
//! With the distance `d = √KL` from the policy that was begun with, the true reward gained is
//!
//! ```text
//! best of n                 R(d) = d (α − β d)         highest at d = α / 2β
//! reinforcement learning    R(d) = d (α − β ln d)      highest at d = exp(α / β − 1)
//! ```

mod monitor;

use serde::{Deserialize, Serialize};

pub use monitor::{Look, Monitor, Warning};

/// What is done to a policy, which decides the form of the curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Optimization {
    /// The best of several completions is taken.
    BestOf,
    /// Reinforcement learning.
    Rl,
}

/// A curve of the true reward gained against `d = √KL`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Curve {
    /// Its form.
    pub of: Optimization,
    /// What is gained at first.
    pub alpha: f64,
    /// How soon that ends.
    pub beta: f64,
}

impl Curve {
    /// The curve that comes closest to these points `(d, R)` in the sense of least squares. Both forms are linear
    /// in `α` and `β`, so two normal equations give it. Points at `d = 0` say nothing, and are passed over.
    ///
    /// `None` where points don't determine it: fewer than two distances.
    pub fn fit(of: Optimization, points: &[(f64, f64)]) -> Option<Self> {
        let [mut aa, mut ab, mut bb, mut ar, mut br] = [0.0; 5];
        for (d, r) in points.iter().filter(|(d, r)| *d > 0.0 && d.is_finite() && r.is_finite()) {
            let (a, b) = (*d, -d * of.bend(*d));
            aa += a * a;
            ab += a * b;
            bb += b * b;
            ar += a * r;
            br += b * r;
        }
        let determinant = aa * bb - ab * ab;
        (determinant > 1e-12 * aa * bb).then(|| Self {
            of,
            alpha: (ar * bb - br * ab) / determinant,
            beta: (br * aa - ar * ab) / determinant,
        })
    }

    /// The same where nobody knows what the true reward was at first: of points `(d, R)`, the curve and the reward at
    /// `d = 0` that come closest to them together.
    ///
    /// `None` where points don't determine it: fewer than four, or fewer than three distances.
    pub fn fit_with_start(of: Optimization, points: &[(f64, f64)]) -> Option<(Self, f64)> {
        let is_point = |(d, r): &&(f64, f64)| *d > 0.0 && d.is_finite() && r.is_finite();
        let terms: Vec<[f64; 3]> =
            points.iter().filter(is_point).map(|(d, r)| [*d, -d * of.bend(*d), *r]).collect();
        if terms.len() < 4 {
            return None;
        }
        let mean = |at: usize| terms.iter().map(|it| it[at]).sum::<f64>() / terms.len() as f64;
        let means = [0, 1, 2].map(mean);
        let product = |one: usize, other: usize| -> f64 {
            terms.iter().map(|it| (it[one] - means[one]) * (it[other] - means[other])).sum()
        };
        let (aa, ab, bb) = (product(0, 0), product(0, 1), product(1, 1));
        let (ar, br) = (product(0, 2), product(1, 2));
        let determinant = aa * bb - ab * ab;
        (determinant > 1e-9 * aa * bb).then(|| {
            let alpha = (ar * bb - br * ab) / determinant;
            let beta = (br * aa - ar * ab) / determinant;
            (Self { of, alpha, beta }, means[2] - alpha * means[0] - beta * means[1])
        })
    }

    /// The true reward gained at this distance.
    pub fn gain(&self, d: f64) -> f64 {
        if d <= 0.0 { 0.0 } else { d * (self.alpha - self.beta * self.of.bend(d)) }
    }

    /// The distance at which it is highest; `None` where it never falls.
    pub fn peak(&self) -> Option<f64> {
        let Self { of, alpha, beta } = *self;
        let peak = match of {
            Optimization::BestOf => alpha / (2.0 * beta),
            Optimization::Rl => (alpha / beta - 1.0).exp(),
        };
        (beta > 0.0 && peak > 0.0).then_some(peak)
    }
}

impl Optimization {
    /// What `β` is multiplied by.
    fn bend(self, d: f64) -> f64 {
        match self {
            Self::BestOf => d,
            Self::Rl => d.ln(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_that_determine_nothing_fit_nothing() {
        for points in [&[][..], &[(1.0, 2.0)], &[(0.0, 0.0), (2.0, 1.0)], &[(2.0, 1.0); 5]] {
            assert_eq!(Curve::fit(Optimization::BestOf, points), None, "{points:?}");
        }
    }

    #[test]
    fn a_start_that_nobody_saw_is_found_with_the_curve() {
        let reward = |d: f64| 0.7 + d * (2.0 - 0.8 * d.ln());
        let points = [0.5, 1.0, 2.5, 4.0, 9.0].map(|d| (d, reward(d)));
        let (curve, start) =
            Curve::fit_with_start(Optimization::Rl, &points).expect("is determined");
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(close(curve.alpha, 2.0) && close(curve.beta, 0.8) && close(start, 0.7));
        assert_eq!(Curve::fit_with_start(Optimization::Rl, &points[..3]), None);
        assert_eq!(Curve::fit_with_start(Optimization::Rl, &[(2.0, 1.0); 6]), None);
    }

    #[test]
    fn a_curve_that_never_falls_has_no_peak() {
        let points = [1.0, 2.0, 3.0].map(|d| (d, 0.5 * d + 0.25 * d * d));
        let curve = Curve::fit(Optimization::BestOf, &points).expect("is determined");
        assert!((curve.alpha - 0.5).abs() < 1e-9 && (curve.beta + 0.25).abs() < 1e-9, "{curve:?}");
        assert_eq!(curve.peak(), None);
    }
}
