//! Ratings of players in the order of their games (Elo, 1978), for display: they depend on that order and forget.
//! [`crate::ability`] is for decisions.

/// How ratings move.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Elo {
    /// How far one game moves a rating at most. 4.
    pub k: f64,
    /// So many points more are odds of `base`. 400.
    pub scale: f64,
    /// 10.
    pub base: f64,
    /// Where players begin. 1000.
    pub initial: f64,
}

impl Default for Elo {
    fn default() -> Self {
        Self { k: 4.0, scale: 400.0, base: 10.0, initial: 1000.0 }
    }
}

impl Elo {
    /// The points that a player can expect of a game: `1 / (1 + base^((theirs − own) / scale))`.
    pub fn expected(&self, own: f64, theirs: f64) -> f64 {
        1.0 / (1.0 + self.base.powf((theirs - own) / self.scale))
    }

    /// Moves two ratings after a game in which the first player had `points`: 1 for a win, ½ for a tie, 0 for a loss.
    /// Each moves by `k (points − expected)`; their sum stays.
    pub fn play(&self, first: &mut f64, second: &mut f64, points: f64) {
        let won = self.k * (points - self.expected(*first, *second));
        *first += won;
        *second -= won;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_hundred_points_are_ten_to_one() {
        assert!((Elo::default().expected(1400.0, 1000.0) - 10.0 / 11.0).abs() < 1e-15);
    }
}
