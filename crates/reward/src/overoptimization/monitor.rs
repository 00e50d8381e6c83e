//! Watches a truer reward while another one is optimised.

use serde::{Deserialize, Serialize};

use super::{Curve, Optimization};

/// Falls in a row that are no chance any more, however small.
const N_FALLS: usize = 3;

/// An evaluation on the way.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Look {
    /// Nats from the policy that was begun with.
    pub kl: f64,
    /// Mean of the reward that is optimised.
    pub proxy: f64,
    /// Mean of the one that isn't.
    pub truth: f64,
}

/// What evaluations found so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Monitor {
    looks: Vec<Look>,
}

/// The truth falls.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Warning {
    /// Where it was highest.
    pub best: Look,
    /// Where it is now.
    pub now: Look,
    /// How many evaluations in a row it has fallen.
    pub n_falls: usize,
    /// Where it is highest by a [curve](Curve) through all evaluations, as `√KL`; `None` if that never falls.
    pub peak: Option<f64>,
}

impl Warning {
    /// The fall from the best, as a share of the best's size.
    pub fn fall(&self) -> f64 {
        fall(self.best, self.now)
    }

    /// Whether the optimised reward has risen meanwhile, which makes it over-optimisation.
    pub fn is_over_optimised(&self) -> bool {
        self.now.proxy > self.best.proxy
    }
}

impl Monitor {
    /// Hears of an evaluation, and warns if the truth has fallen by this share of its best while the optimised reward rose,
    /// or for three evaluations in a row.
    pub fn observe(&mut self, now: Look, share: f64) -> Option<Warning> {
        self.looks.push(now);
        let best = *self.looks.iter().max_by(|a, b| a.truth.total_cmp(&b.truth))?;
        let pairs = self.looks.windows(2).rev();
        let n_falls = pairs.take_while(|pair| pair[1].truth < pair[0].truth).count();
        let warning = Warning { best, now, n_falls, peak: self.peak() };
        let is_far = warning.is_over_optimised() && warning.fall() >= share;
        (is_far || n_falls >= N_FALLS).then_some(warning)
    }

    fn peak(&self) -> Option<f64> {
        let points = self.looks.iter().map(|it| (it.kl.max(0.0).sqrt(), it.truth));
        let fitted = Curve::fit_with_start(Optimization::Rl, &points.collect::<Vec<_>>());
        fitted?.0.peak()
    }
}

fn fall(best: Look, now: Look) -> f64 {
    (best.truth - now.truth) / best.truth.abs().max(f64::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(kl: f64, proxy: f64, truth: f64) -> Look {
        Look { kl, proxy, truth }
    }

    #[test]
    fn a_truth_that_falls_while_the_score_rises_is_told_early() {
        let mut monitor = Monitor::default();
        assert_eq!(monitor.observe(look(1.0, 0.5, 2.0), 0.05), None);
        assert_eq!(monitor.observe(look(4.0, 0.9, 3.0), 0.05), None);
        assert_eq!(monitor.observe(look(6.0, 1.2, 2.9), 0.05), None, "3 % may be chance");
        let warning = monitor.observe(look(9.0, 1.5, 2.8), 0.05).expect("is told");
        assert!((warning.fall() - 0.2 / 3.0).abs() < 1e-12 && warning.is_over_optimised());
        assert_eq!((warning.best.kl, warning.n_falls), (4.0, 2));
    }

    #[test]
    fn a_score_that_falls_too_is_told_after_three_falls() {
        let mut monitor = Monitor::default();
        let truths = [1.0, 0.9, 0.8, 0.8, 0.7, 0.6, 0.5];
        let told = truths.map(|it| monitor.observe(look(1.0, it, it), 0.05).is_some());
        assert_eq!(told, [false, false, false, false, false, false, true]);
    }

    #[test]
    fn the_peak_is_that_of_the_curve_through_all_looks() {
        // R = 1 + d (2 − ln d) is highest at e.
        let mut monitor = Monitor::default();
        let mut last = None;
        for d in [0.5_f64, 1.0, 2.0, 3.0, 4.0, 5.0] {
            last = monitor.observe(look(d * d, d, 1.0 + d * (2.0 - d.ln())), 0.05);
        }
        let peak = last.expect("it has fallen").peak.expect("it falls");
        assert!((peak - 1.0_f64.exp()).abs() < 1e-9, "{peak}");
    }

    #[test]
    fn a_best_of_zero_divides_by_nothing() {
        let mut monitor = Monitor::default();
        monitor.observe(look(0.0, 0.0, 0.0), 0.05);
        assert!(monitor.observe(look(1.0, 1.0, -1.0), 0.05).is_some());
        assert!(Monitor::default().observe(look(f64::NAN, f64::NAN, f64::NAN), 0.05).is_none());
    }
}
