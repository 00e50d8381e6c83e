//! Sums, whose answers can be verified.
//!
//! A problem is a prompt, as in `7+5=`, and its answer, `12`. Demonstrations show answers of which a part is
//! wrong: a model that imitates them knows what is right and doesn't always say so, which is what is left for
//! reinforcement learning.

use std::ops::RangeInclusive;

use rand::RngExt;
use rand::seq::IndexedRandom;
use serde::{Deserialize, Serialize};

use crate::example::Demonstration;
use crate::seed::{Seed, shuffle};

/// How far off a wrong answer is, at most.
const MOST_OFF: u32 = 9;

/// A prompt with one right answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Problem {
    /// What is asked.
    pub prompt: String,
    /// The completion that is right, without the end of sequence.
    pub answer: String,
}

/// All sums of two numbers within bounds, in two parts that share no problem.
#[derive(Clone, Debug)]
pub struct Arithmetic {
    /// To train on, in a random order.
    pub train: Vec<Sum>,
    /// To measure with.
    pub heldout: Vec<Sum>,
}

/// Two numbers to add.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sum([u32; 2]);

impl Arithmetic {
    /// The sums `a+b=` of all `numbers`; `n_heldout` of them, or all if there are fewer, are held out. Both
    /// orders of two numbers fall on one side.
    pub fn new(numbers: RangeInclusive<u16>, n_heldout: usize, seed: Seed) -> Self {
        let (least, largest) = (u32::from(*numbers.start()), u32::from(*numbers.end()));
        let mut train: Vec<Sum> =
            (least..=largest).flat_map(|a| (a..=largest).map(move |b| Sum([a, b]))).collect();
        shuffle(&mut train, &mut seed.rng());
        let mut heldout = Vec::new();
        while heldout.len() < n_heldout
            && let Some(sum) = train.pop()
        {
            heldout.extend(sum.orders());
        }
        heldout.truncate(n_heldout);
        let mut train: Vec<Sum> = train.into_iter().flat_map(Sum::orders).collect();
        shuffle(&mut train, &mut seed.child("orders").rng());
        Self { train, heldout }
    }

    /// The `number`-th demonstration that `seed` draws on some sums: right with probability `right`, which
    /// lies within 0 and 1, else off by 1 to 9.
    pub fn demonstration(sums: &[Sum], right: f64, seed: Seed, number: u64) -> Demonstration {
        let mut rng = seed.index(number).rng();
        let sum = sums.choose(&mut rng).expect("there are sums");
        let answer = if rng.random_bool(right) { sum.answer() } else { sum.wrong(&mut rng) };
        Demonstration { prompt: sum.prompt(), completion: answer.to_string() }
    }
}

impl Sum {
    /// The sum as a problem in text.
    pub fn problem(self) -> Problem {
        Problem { prompt: self.prompt(), answer: self.answer().to_string() }
    }

    fn prompt(self) -> String {
        let Self([a, b]) = self;
        format!("{a}+{b}=")
    }

    fn answer(self) -> u32 {
        self.0.iter().sum()
    }

    /// Never the answer, and never below 0.
    fn wrong(self, rng: &mut impl rand::Rng) -> u32 {
        let (answer, off) = (self.answer(), rng.random_range(1..=MOST_OFF));
        match answer.checked_sub(off) {
            Some(less) if rng.random_bool(0.5) => less,
            _ => answer + off,
        }
    }

    /// Both orders of the two numbers.
    fn orders(self) -> Vec<Self> {
        let Self([a, b]) = self;
        if a == b { vec![self] } else { vec![self, Self([b, a])] }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn world() -> Arithmetic {
        Arithmetic::new(0..=19, 100, Seed::new(3))
    }

    #[test]
    fn each_sum_is_asked_once_and_held_out_ones_in_neither_order() {
        let Arithmetic { train, heldout } = world();
        assert_eq!(heldout.len(), 100);
        let all: HashSet<Sum> = train.iter().chain(&heldout).copied().collect();
        assert_eq!(all.len(), train.len() + heldout.len(), "no sum twice");
        let turned = |Sum([a, b]): &Sum| Sum([*b, *a]);
        assert!(train.iter().all(|sum| !heldout.contains(sum) && !heldout.contains(&turned(sum))));
        // At most one order of a held-out pair is left out: where the limit falls between the two.
        assert!((399..=400).contains(&all.len()), "{}", all.len());
    }

    #[test]
    fn a_seed_always_gives_the_same_world() {
        assert_eq!(world().heldout, world().heldout);
        assert_ne!(world().heldout, Arithmetic::new(0..=19, 100, Seed::new(4)).heldout);
        assert_eq!(
            Arithmetic::new(3..=4, 9, Seed::new(0)).heldout.len(),
            4,
            "no more than there are"
        );
    }

    #[test]
    fn problems_are_prompts_and_their_answers() {
        let problem = Sum([7, 5]).problem();
        assert_eq!([&*problem.prompt, &problem.answer], ["7+5=", "12"]);
    }

    #[test]
    fn demonstrations_are_right_as_often_as_asked_and_else_off_by_a_little() {
        let sums = world().train;
        let answers: HashSet<(String, String)> =
            sums.iter().map(|it| (it.prompt(), it.answer().to_string())).collect();
        let mut n_right = 0;
        for number in 0..2_000 {
            let shown = Arithmetic::demonstration(&sums, 0.4, Seed::new(1), number);
            let (a, b) = shown.prompt.trim_end_matches('=').split_once('+').expect("a sum");
            let number = |text: &str| text.parse::<i64>().expect("a number");
            let off = (number(&shown.completion) - number(a) - number(b)).abs();
            assert!(off <= 9 && number(&shown.completion) >= 0, "{shown:?}");
            n_right += usize::from(off == 0);
            assert_eq!(off == 0, answers.contains(&(shown.prompt, shown.completion)));
        }
        // Five deviations of a binomial draw: 5 √(2000 · 0.4 · 0.6) = 110.
        assert!(n_right.abs_diff(800) <= 110, "{n_right}");
    }
}
