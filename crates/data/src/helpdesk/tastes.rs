//! Simulated people who want different things.
//!
//! Where a [`Person`](super::people::Person) knows the truth, blurred, these have tastes of their own for its parts:
//! `u = 2 (s · tone + 0.7 n · part)`. Among [`Opposite`](Population::Opposite) people one half likes kind openings
//! (`s = 1`) and the other half rude ones (`s = −1`), and `n` is normal: of the ending, some want a farewell and some
//! would rather do without. [`Advised`](Population::Advised) people differ on the answer instead: some want the right
//! remedy, some would rather not be told, which only shows to who knows what the right remedy is. Whoever asks all of
//! them at once learns next to nothing. [`Divided`](Population::Divided) people are two groups: what one likes, `u = 2 tone + 1.4 ending`,
//! the other dislikes. [`Alike`](Population::Alike) people agree on kind openings and right answers.

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use super::gold::Judgement;
use crate::seed::Seed;

/// Which people there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Population {
    /// Who want opposite tones, and endings to different degrees.
    Opposite,
    /// Who want opposite tones, and answers to different degrees.
    Advised,
    /// Who belong to one of two groups, each of which likes what the other dislikes.
    Divided,
    /// Who all want the same.
    Alike,
}

/// A person with tastes.
#[derive(Clone, Debug, PartialEq)]
pub struct Taste {
    /// What the person is called.
    pub name: String,
    /// What a kind opening is worth.
    pub tone: f32,
    /// What a right answer is worth.
    pub answer: f32,
    /// What a proper ending is worth.
    pub ending: f32,
}

impl Taste {
    /// `count` people.
    pub fn crowd(population: Population, count: usize, seed: Seed) -> Vec<Self> {
        let draw = |number| Self::draw(population, number, &mut seed.index(number as u64).rng());
        (0..count).map(draw).collect()
    }

    fn draw(population: Population, number: usize, rng: &mut impl Rng) -> Self {
        let (sign, n) = (if rng.random() { 1.0 } else { -1.0 }, normal(rng) as f32);
        let [tone, answer, ending] = match population {
            Population::Opposite => [sign, 0.0, n],
            Population::Advised => [sign, n, 0.0],
            Population::Divided => [sign, 0.0, sign],
            Population::Alike => [1.0, 1.0, 0.0],
        };
        let name = format!("person-{number:03}");
        Self { name, tone: 2.0 * tone, answer: 1.4 * answer, ending: 1.4 * ending }
    }

    /// What a reply is worth to the person.
    pub fn utility(&self, reply: &Judgement) -> f32 {
        self.tone * reply.tone + self.answer * reply.answer + self.ending * reply.ending
    }

    /// Whether the person prefers `first` this time: with probability `σ(u(first) − u(second))`.
    pub fn prefers_first(&self, first: &Judgement, second: &Judgement, rng: &mut impl Rng) -> bool {
        let difference = f64::from(self.utility(first) - self.utility(second));
        rng.random_bool(1.0 / (1.0 + (-difference).exp()))
    }
}

/// A draw from the standard normal distribution (Box and Muller, 1958).
fn normal(rng: &mut impl Rng) -> f64 {
    let (radius, angle): (f64, f64) = (rng.random(), rng.random());
    (-2.0 * (1.0 - radius).ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::helpdesk::gold::judge;

    #[test]
    fn opposite_people_want_opposite_things_and_nobody_is_the_mean() {
        let people = Taste::crowd(Population::Opposite, 200, Seed::new(1));
        let n_kind = people.iter().filter(|it| it.tone > 0.0).count();
        assert!((80..120).contains(&n_kind) && people.iter().all(|it| it.tone.abs() == 2.0));
        let prompt = "Hello, my old router is slow at home. Can you help?";
        let [kind, rude] = [" No trouble, thank you.", " Trouble, no thank you."]
            .map(|reply| judge(prompt, reply, true));
        for it in &people {
            assert_eq!(it.utility(&kind) > it.utility(&rude), it.tone > 0.0);
        }
        let divided = Taste::crowd(Population::Divided, 50, Seed::new(1));
        assert!(divided.iter().all(|it| it.ending == 0.7 * it.tone && it.answer == 0.0));
        assert!((15..35).contains(&divided.iter().filter(|it| it.tone > 0.0).count()));
        let alike = Taste::crowd(Population::Alike, 2, Seed::new(1));
        assert_eq!((alike[0].tone, alike[0].answer), (alike[1].tone, alike[1].answer));
        // u = 2 · 2, so one in 55 says otherwise.
        let mut rng = Seed::new(2).rng();
        let n_kind = (0..2000).filter(|_| alike[0].prefers_first(&kind, &rude, &mut rng)).count();
        assert!((1940..1985).contains(&n_kind), "{n_kind}");
    }
}
