use std::ops::RangeInclusive;

use clap::ValueEnum;
use rein_data::arithmetic::{Arithmetic, Problem, Sum};
use rein_data::example::Demonstration;
use rein_data::seed::Seed;
use rein_reward::Reward;
use rein_reward::rules::ExactMatch;
use serde::{Deserialize, Serialize};

use super::bandit::Bandit;
use crate::world::Parts;

/// What is added: numbers of two digits whose sum has two.
const NUMBERS: RangeInclusive<u16> = 10..=49;
/// Sums that nothing trains on.
const N_HELDOUT: usize = 256;
/// The share of demonstrations that are right.
const RIGHT: f64 = 0.4;
/// Pulls of a bandit's arm that a policy is measured by.
const N_PULLS: usize = 1024;

/// What is learned. The best that can be had is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Task {
    /// One prompt, eight arms to pull, and each pays what it is worth
    Bandit,
    /// The same, but an arm pays 1 or nothing, as often as it is worth
    NoisyBandit,
    /// Sums such as `17+28=`, whose answer, `45`, is right or wrong
    Arithmetic,
}

impl Task {
    pub(super) const ALL: [Self; 3] = [Self::Bandit, Self::NoisyBandit, Self::Arithmetic];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Bandit => "bandit",
            Self::NoisyBandit => "noisy-bandit",
            Self::Arithmetic => "arithmetic",
        }
    }

    pub(super) fn is_bandit(self) -> bool {
        self != Self::Arithmetic
    }

    /// All that is asked. A bandit asks one thing, and is measured by asking it often.
    pub(super) fn problems(self) -> Parts<Problem> {
        if self.is_bandit() {
            let problem = Bandit::problem();
            return Parts { train: vec![problem.clone()], heldout: vec![problem; N_PULLS] };
        }
        let Arithmetic { train, heldout } = Self::sums();
        Parts { train, heldout }.map(|sum| sum.problem())
    }

    fn sums() -> Arithmetic {
        Arithmetic::new(NUMBERS, N_HELDOUT, Seed::new(0).child("arithmetic"))
    }

    /// What the model imitates before it learns anything else.
    pub(super) fn demonstrations(self) -> Vec<Demonstration> {
        let seed = Seed::new(0).child("demonstrations");
        if self.is_bandit() {
            return (0..6_400).map(|number| Bandit::demonstration(seed, number)).collect();
        }
        let sums: Vec<Sum> = Self::sums().train;
        let demonstrate = |number| Arithmetic::demonstration(&sums, RIGHT, seed, number);
        (0..256_000).map(demonstrate).collect()
    }

    /// The longest answer that was shown: an arm, or three digits and the end of text.
    pub(super) fn max_new_tokens(self) -> usize {
        if self.is_bandit() { 1 } else { 4 }
    }

    /// Completions of a prompt that are compared with each other, to make pairs.
    pub(super) fn n_compared(self) -> usize {
        if self.is_bandit() { 4_096 } else { 8 }
    }

    /// Completions of a held-out prompt that a policy is measured by.
    pub(super) fn n_examined(self) -> usize {
        if self.is_bandit() { 1 } else { 4 }
    }

    /// What is learned from.
    pub(super) fn reward(self, problems: &Parts<Problem>, seed: Seed) -> Box<dyn Reward> {
        match self {
            Self::NoisyBandit => Box::new(Bandit::by_luck(seed.child("luck"))),
            Self::Bandit | Self::Arithmetic => self.truth(problems),
        }
    }

    /// What completions are worth.
    pub(super) fn truth(self, problems: &Parts<Problem>) -> Box<dyn Reward> {
        if self.is_bandit() {
            return Box::new(Bandit::certain());
        }
        let all = problems.train.iter().chain(&problems.heldout).cloned();
        Box::new(ExactMatch::new(all.map(|it| (it.prompt, it.answer))))
    }

    /// The most that a completion can be worth.
    pub(super) fn optimum(self) -> f32 {
        if self.is_bandit() { Bandit::optimum() } else { 1.0 }
    }
}
