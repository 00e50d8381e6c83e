//! Simulated annotators.
//!
//! A person prefers reply A to reply B with the Bradley-Terry probability `σ(u(A) − u(B))`, where
//! `u = (gold + taste) / noise`: everyone knows the truth, blurred, and is biased by a taste of
//! their own for long replies and for the side shown first.

use rand::{Rng, RngExt};

use crate::seed::Seed;

/// A simulated annotator.
#[derive(Clone, Debug, PartialEq)]
pub struct Person {
    /// How the store knows the person.
    pub name: String,
    /// Scale of the noise, in units of gold reward.
    pub noise: f32,
    /// Gold reward that ten more words are worth to the person.
    pub taste_for_length: f32,
    /// Gold reward that being shown first is worth to the person.
    pub taste_for_first: f32,
}

/// A reply as a person judges it.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The gold reward.
    pub gold: f32,
    /// The text.
    pub text: &'a str,
}

impl Person {
    /// A crowd of `count` people, each with a noise and tastes of their own.
    pub fn crowd(count: usize, seed: Seed) -> Vec<Self> {
        (0..count).map(|number| Self::draw(number, &mut seed.index(number as u64).rng())).collect()
    }

    fn draw(number: usize, rng: &mut impl Rng) -> Self {
        Self {
            name: format!("simulated-{number:02}"),
            noise: rng.random_range(1.2..1.8),
            taste_for_length: rng.random_range(-0.3..0.3),
            taste_for_first: rng.random_range(-0.3..0.3),
        }
    }

    /// The probability that the person prefers `first` to `second`.
    pub fn preference(&self, first: Seen<'_>, second: Seen<'_>) -> f64 {
        let n_words = |seen: Seen<'_>| seen.text.split_whitespace().count() as f32;
        let length = self.taste_for_length * (n_words(first) - n_words(second)) / 10.0;
        let difference = first.gold - second.gold + length + self.taste_for_first;
        1.0 / (1.0 + f64::from(-difference / self.noise).exp())
    }

    /// Whether the person prefers `first` this time.
    pub fn prefers_first(&self, first: Seen<'_>, second: Seen<'_>, rng: &mut impl Rng) -> bool {
        rng.random_bool(self.preference(first, second))
    }
}
