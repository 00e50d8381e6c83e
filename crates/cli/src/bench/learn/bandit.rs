use std::cell::Cell;

use rand::RngExt;
use rein_data::arithmetic::Problem;
use rein_data::example::{Completion, Demonstration};
use rein_data::seed::Seed;
use rein_reward::{Reward, RewardError};

/// What is asked, always.
const PROMPT: &str = "arm:";
/// The arms, tokens each, and what they are worth on average.
const ARMS: [(&str, f32); 8] = [
    ("a", 0.1),
    ("b", 0.3),
    ("c", 0.5),
    ("d", 0.2),
    ("e", 0.6),
    ("f", 0.9),
    ("g", 0.4),
    ("h", 0.0),
];
/// The best arm.
const BEST: (&str, f32) = ARMS[5];

/// One prompt and eight arms. What isn't an arm is worth nothing.
#[derive(Debug)]
pub(super) struct Bandit {
    /// Whether an arm pays 1 or nothing, with the probability that it is worth; else it pays what it is worth.
    luck: Option<Luck>,
}

/// Draws that have to do with nothing but their number.
#[derive(Debug)]
struct Luck {
    seed: Seed,
    n_draws: Cell<u64>,
}

impl Bandit {
    /// Arms that pay what they are worth.
    pub(super) fn certain() -> Self {
        Self { luck: None }
    }

    /// Arms that pay by luck.
    pub(super) fn by_luck(seed: Seed) -> Self {
        Self { luck: Some(Luck { seed, n_draws: Cell::new(0) }) }
    }

    pub(super) fn problem() -> Problem {
        Problem { prompt: PROMPT.into(), answer: BEST.0.into() }
    }

    /// The most that can be had on average.
    pub(super) fn optimum() -> f32 {
        BEST.1
    }

    /// An arm, of which none is more probable than any other.
    pub(super) fn demonstration(seed: Seed, number: u64) -> Demonstration {
        let (arm, _) = ARMS[seed.index(number).rng().random_range(0..ARMS.len())];
        Demonstration { prompt: PROMPT.into(), completion: arm.into() }
    }

    fn pay(&self, completion: &Completion) -> f32 {
        let arm = ARMS.iter().find(|(arm, _)| *arm == completion.text);
        let worth = arm.map_or(0.0, |(_, worth)| *worth);
        self.luck.as_ref().map_or(worth, |luck| luck.draw(worth))
    }
}

impl Luck {
    fn draw(&self, worth: f32) -> f32 {
        let number = self.n_draws.replace(self.n_draws.get() + 1);
        f32::from(u8::from(self.seed.index(number).rng().random_bool(worth.into())))
    }
}

impl Reward for Bandit {
    fn name(&self) -> &'static str {
        "arm"
    }

    fn score(&self, completions: &[Completion]) -> Result<Vec<f32>, RewardError> {
        Ok(completions.iter().map(|it| self.pay(it)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pulls(arm: &str, count: usize) -> Vec<Completion> {
        let completion =
            Completion { prompt: PROMPT.into(), text: arm.into(), ..Completion::default() };
        vec![completion; count]
    }

    #[test]
    fn the_best_arm_is_the_answer_and_pays_the_most() {
        let bandit = Bandit::certain();
        let pay = |arm: &str| bandit.score(&pulls(arm, 1)).expect("scores")[0];
        assert_eq!(pay(&Bandit::problem().answer), Bandit::optimum());
        assert!(ARMS.iter().filter(|(arm, _)| *arm != BEST.0).all(|(arm, _)| pay(arm) < BEST.1));
        assert_eq!(pay("x"), 0.0);
    }

    #[test]
    fn luck_pays_on_average_what_an_arm_is_worth() {
        let bandit = Bandit::by_luck(Seed::new(1));
        let scores = bandit.score(&pulls("e", 4_000)).expect("scores");
        assert!(scores.iter().all(|it| [0.0, 1.0].contains(it)));
        let mean = scores.iter().sum::<f32>() / 4_000.0;
        // Five deviations of the mean of draws of 0.6: 5 √(0.6 · 0.4 / 4000) = 0.039.
        assert!((mean - 0.6).abs() < 0.039, "{mean}");
    }
}
