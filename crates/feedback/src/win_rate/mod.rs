//! How often one side wins, with what chance leaves open.
//!
//! [`WinRate`] knows counts of games alone. Where a judge scored the replies of both sides to the same prompts,
//! [`PairedScores`] says more.

mod length_controlled;
mod paired;
mod wilcoxon;

pub use paired::{N_DRAWS, PairedScores};

use statrs::distribution::{Binomial, ContinuousCDF, DiscreteCDF, Normal};
use statrs::function::beta::inv_beta_reg;

/// Games of two sides, from the first one's point of view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WinRate {
    /// How many it won.
    pub wins: u64,
    /// How many neither won.
    pub ties: u64,
    /// How many it lost.
    pub losses: u64,
}

impl WinRate {
    /// The share of games won, ties as half; none without games.
    pub fn value(&self) -> Option<f64> {
        let n = self.n_games();
        (n > 0.0).then(|| self.points() / n)
    }

    /// The score interval (Wilson, 1927), ties as half a win,
    ///
    /// `(p + z²/2n ± z √(p (1 − p) / n + z²/4n²)) / (1 + z²/n)`
    ///
    /// where `z` is the normal quantile of `confidence` on two sides. From 0 to 1 without games.
    pub fn wilson(&self, confidence: f64) -> [f64; 2] {
        let (n, points) = (self.n_games(), self.points());
        if n == 0.0 {
            return [0.0, 1.0];
        }
        let z = Normal::standard().inverse_cdf(0.5 + 0.5 * checked(confidence));
        let p = points / n;
        let (center, scale) = (p + z * z / (2.0 * n), 1.0 + z * z / n);
        let half = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
        let low = if points == 0.0 { 0.0 } else { (center - half) / scale };
        let high = if points == n { 1.0 } else { (center + half) / scale };
        [low, high]
    }

    /// The interval that covers the truth at least with `confidence`, however few the games (Clopper and Pearson,
    /// 1934), from quantiles of beta distributions: `B(α/2; k, n − k + 1)` and `B(1 − α/2; k + 1, n − k)` for `k`
    /// wins of `n` games. Ties are half a win, for which the guarantee doesn't hold.
    pub fn clopper_pearson(&self, confidence: f64) -> [f64; 2] {
        let (n, points) = (self.n_games(), self.points());
        let tail = 0.5 - 0.5 * checked(confidence);
        let low = if points == 0.0 { 0.0 } else { inv_beta_reg(points, n - points + 1.0, tail) };
        let high =
            if points == n { 1.0 } else { inv_beta_reg(points + 1.0, n - points, 1.0 - tail) };
        [low, high]
    }

    /// How likely two equal sides are to split decided games at least as unevenly: the exact binomial test on two
    /// sides, without ties (the sign test). 1 without games.
    pub fn p_two_sided(&self) -> f64 {
        let fewer = self.wins.min(self.losses);
        let Ok(coin) = Binomial::new(0.5, self.wins.saturating_add(self.losses)) else {
            return 1.0;
        };
        (2.0 * coin.cdf(fewer)).min(1.0)
    }

    fn n_games(&self) -> f64 {
        self.wins as f64 + self.ties as f64 + self.losses as f64
    }

    fn points(&self) -> f64 {
        self.wins as f64 + 0.5 * self.ties as f64
    }
}

fn checked(confidence: f64) -> f64 {
    assert!((0.0..1.0).contains(&confidence), "a confidence is in 0..1, not {confidence}");
    confidence
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_are_half_a_win_and_no_evidence() {
        let games = WinRate { wins: 1, ties: 4, losses: 0 };
        assert_eq!(games.value(), Some(0.6));
        assert!((games.p_two_sided() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn many_games_leave_little_open() {
        // p ± 1.96 √(p (1 − p) / n)
        for n in [1_000_000_u64, 1_000_000_000, 1_000_000_000_000] {
            let games = WinRate { wins: n / 4, ties: 0, losses: n - n / 4 };
            let half = 1.959_964 * (0.25 * 0.75 / n as f64).sqrt();
            for interval in [games.wilson(0.95), games.clopper_pearson(0.95)] {
                let off = [interval[0] - (0.25 - half), interval[1] - (0.25 + half)];
                assert!(off.iter().all(|it| it.abs() < 0.01 * half), "{n}: {interval:?}");
            }
            assert!(games.p_two_sided() < 1e-12);
        }
    }

    #[test]
    fn no_games_say_nothing() {
        let none = WinRate::default();
        assert_eq!((none.value(), none.p_two_sided()), (None, 1.0));
        assert_eq!((none.wilson(0.95), none.clopper_pearson(0.95)), ([0.0, 1.0], [0.0, 1.0]));
    }
}
