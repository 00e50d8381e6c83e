use std::cmp::Ordering;

use rand::RngExt;
use rein_data::seed::Seed;

use super::{WinRate, checked};

/// Draws of a bootstrap that leave its 95 % interval with about two digits.
pub const N_DRAWS: usize = 10_000;

/// Scores that one judge gave to the replies of two sides, prompt by prompt. More is better.
///
/// On each prompt a game is played, which the higher score wins. A score that isn't a number makes a tie, which is a
/// difference of 0. Nothing here depends on the order of the prompts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairedScores<'a> {
    ours: &'a [f64],
    theirs: &'a [f64],
}

impl<'a> PairedScores<'a> {
    /// Both sides' scores, of the same prompts in the same order; none if one side has more.
    pub fn new(ours: &'a [f64], theirs: &'a [f64]) -> Option<Self> {
        (ours.len() == theirs.len()).then_some(Self { ours, theirs })
    }

    /// The games as our side sees them.
    pub fn games(&self) -> WinRate {
        let mut games = WinRate::default();
        for difference in self.differences() {
            match difference.total_cmp(&0.0) {
                Ordering::Greater => games.wins += 1,
                Ordering::Equal => games.ties += 1,
                Ordering::Less => games.losses += 1,
            }
        }
        games
    }

    /// How much more our side scores on average. None without prompts, or if it isn't finite.
    pub fn mean_difference(&self) -> Option<f64> {
        let differences = self.ascending();
        let mean = differences.iter().sum::<f64>() / differences.len() as f64;
        mean.is_finite().then_some(mean)
    }

    /// The percentile interval of the win rate, ties as half, by a paired bootstrap (Efron, 1979): prompts are drawn
    /// with replacement, as many as there are, `n_draws` times ([`N_DRAWS`] will do), and of the win rates of the draws
    /// the quantiles `(1 ∓ confidence) / 2` are taken. None without prompts or draws.
    ///
    /// The same seed gives the same interval. Takes `n_draws` times as long as there are prompts.
    ///
    /// # Panics
    /// If `confidence` is not in 0..1.
    pub fn bootstrap(&self, n_draws: usize, confidence: f64, seed: Seed) -> Option<[f64; 2]> {
        let points = self.ascending().into_iter().map(points).collect();
        percentile_interval(points, n_draws, confidence, seed)
    }

    /// The same for [`PairedScores::mean_difference`]. None too if a difference isn't finite.
    ///
    /// # Panics
    /// If `confidence` is not in 0..1.
    pub fn bootstrap_mean_difference(
        &self,
        n_draws: usize,
        confidence: f64,
        seed: Seed,
    ) -> Option<[f64; 2]> {
        percentile_interval(self.ascending(), n_draws, confidence, seed)
    }

    pub(super) fn differences(&self) -> impl Iterator<Item = f64> {
        self.ours.iter().zip(self.theirs).map(|(ours, theirs)| difference(*ours, *theirs))
    }

    /// What the order of prompts can't change.
    fn ascending(&self) -> Vec<f64> {
        let mut differences: Vec<f64> = self.differences().collect();
        differences.sort_by(f64::total_cmp);
        differences
    }
}

/// 1 for a win, 1/2 for a tie, 0 for a loss.
pub(super) fn points(difference: f64) -> f64 {
    if difference == 0.0 { 0.5 } else { f64::from(difference > 0.0) }
}

/// 0 of equal scores, infinite ones included, and where there is none.
fn difference(ours: f64, theirs: f64) -> f64 {
    match ours.partial_cmp(&theirs) {
        None | Some(Ordering::Equal) => 0.0,
        Some(_) => ours - theirs,
    }
}

fn percentile_interval(
    numbers: Vec<f64>,
    n_draws: usize,
    confidence: f64,
    seed: Seed,
) -> Option<[f64; 2]> {
    let tail = 0.5 - 0.5 * checked(confidence);
    if numbers.is_empty() || n_draws == 0 || !numbers.iter().all(|it| it.is_finite()) {
        return None;
    }
    let n = numbers.len();
    let mut rng = seed.rng();
    let mut mean = || (0..n).map(|_| numbers[rng.random_range(0..n)]).sum::<f64>() / n as f64;
    let mut means: Vec<f64> = (0..n_draws).map(|_| mean()).collect();
    means.sort_by(f64::total_cmp);
    Some([tail, 1.0 - tail].map(|share| quantile(&means, share)))
}

/// Between the two numbers nearest, in proportion (definition 7 of Hyndman and Fan, 1996).
fn quantile(ascending: &[f64], share: f64) -> f64 {
    let last = ascending.len() - 1;
    let place = share * last as f64;
    let below = (place as usize).min(last);
    let above = (below + 1).min(last);
    let weight = place - below as f64;
    (1.0 - weight) * ascending[below] + weight * ascending[above]
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAN: f64 = f64::NAN;
    const INFINITY: f64 = f64::INFINITY;

    fn paired<'a>(ours: &'a [f64], theirs: &'a [f64]) -> PairedScores<'a> {
        PairedScores::new(ours, theirs).expect("as many of both")
    }

    #[test]
    fn the_higher_score_wins() {
        let ours = [1.0, 2.0, 3.0, NAN, 1.0, NAN, INFINITY, 0.0, -INFINITY];
        let theirs = [0.0, 2.5, 3.0, 1.0, NAN, NAN, INFINITY, -0.0, 7.0];
        let games = paired(&ours, &theirs).games();
        assert_eq!(games, WinRate { wins: 1, ties: 6, losses: 2 });
        assert_eq!(paired(&theirs, &ours).games(), WinRate { wins: 2, ties: 6, losses: 1 });
        assert_eq!(PairedScores::new(&ours, &theirs[1..]), None);
    }

    #[test]
    fn win_rates_of_draws_are_binomial() {
        // scipy.stats.binom.ppf([0.025, 0.975], 20, 0.6) is 8, 16.
        let ours: Vec<f64> = (0..20).map(|it| if it < 12 { 1.0 } else { -1.0 }).collect();
        let interval = paired(&ours, &[0.0; 20]).bootstrap(N_DRAWS, 0.95, Seed::new(7));
        assert_eq!(interval, Some([0.4, 0.8]));
        // Ties only leave nothing to chance.
        let ties = paired(&ours, &ours).bootstrap(N_DRAWS, 0.95, Seed::new(7));
        assert_eq!(ties, Some([0.5, 0.5]));
    }

    #[test]
    fn mean_differences_of_draws_are_those_of_all_draws() {
        // numpy.quantile([mean(t) for t in itertools.product([-1, 0.5, 2, 3.5, 0], repeat=5)], [0.05, 0.95])
        let (ours, theirs) = ([0.0, 1.5, 2.0, 2.5, 4.0], [1.0, 1.0, 0.0, -1.0, 4.0]);
        let scores = paired(&ours, &theirs);
        assert_eq!(scores.mean_difference(), Some(1.0));
        let interval = scores.bootstrap_mean_difference(100_000, 0.9, Seed::new(7));
        let [low, high] = interval.expect("there are prompts");
        assert!((low + 0.1).abs() < 0.02 && (high - 2.2).abs() < 0.02, "{low} {high}");
    }

    #[test]
    fn seeds_matter_and_the_order_of_prompts_does_not() {
        let ours: Vec<f64> = (0..50).map(|it| f64::from(it * 37 % 101) / 7.0).collect();
        let theirs: Vec<f64> = (0..50).map(|it| f64::from(it * 53 % 97) / 7.0).collect();
        let backwards = |scores: &[f64]| scores.iter().rev().copied().collect::<Vec<_>>();
        let (ours_back, theirs_back) = (backwards(&ours), backwards(&theirs));
        let (forth, back) = (paired(&ours, &theirs), paired(&ours_back, &theirs_back));
        assert_eq!(forth.mean_difference(), back.mean_difference());
        assert_eq!(forth.wilcoxon(), back.wilcoxon());
        let interval =
            |it: PairedScores<'_>, seed| it.bootstrap_mean_difference(500, 0.9, Seed::new(seed));
        assert_eq!(interval(forth, 1), interval(back, 1));
        assert_ne!(interval(forth, 1), interval(forth, 2));
        assert_eq!(forth.bootstrap(99, 0.9, Seed::new(1)), back.bootstrap(99, 0.9, Seed::new(1)));
    }

    #[test]
    fn nothing_says_nothing() {
        let none = paired(&[], &[]);
        assert_eq!((none.games(), none.mean_difference()), (WinRate::default(), None));
        assert_eq!(none.bootstrap(10, 0.9, Seed::new(1)), None);
        let endless = paired(&[INFINITY, 1.0], &[0.0, INFINITY]);
        assert_eq!(endless.mean_difference(), None);
        assert_eq!(endless.bootstrap_mean_difference(10, 0.9, Seed::new(1)), None);
        assert_eq!(endless.bootstrap(0, 0.9, Seed::new(1)), None);
        assert!(endless.bootstrap(1, 0.9, Seed::new(1)).is_some());
    }
}
