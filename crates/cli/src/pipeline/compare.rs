//! One model against another, on the same prompts with the same random numbers.

use rein_data::example::Completion;
use rein_data::seed::Seed;
use rein_feedback::win_rate::{N_DRAWS, PairedScores};
use serde::{Deserialize, Serialize};

use super::evaluate::Scores;

/// Of all intervals.
pub(super) const CONFIDENCE: f64 = 0.95;

/// What a model's replies are worth, prompt by prompt.
#[derive(Clone, Debug)]
pub(super) struct Replies {
    /// The model's name.
    pub(super) name: String,
    /// By the truth, where it is known, by the reward model, and by the judges of the config.
    pub(super) scores: Vec<Scores>,
    /// Tokens.
    pub(super) lengths: Vec<usize>,
    /// What they say.
    pub(super) said: Vec<Completion>,
}

/// How often a model's reply is worth more than another one's to the same prompt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Versus {
    /// The names of both.
    pub(crate) model: String,
    pub(crate) against: String,
    /// Who judges: `gold`, `reward`, or a judge of the config. All score one reply at a time, so the order of the two
    /// can't matter.
    pub(crate) by: String,
    pub(crate) wins: u64,
    pub(crate) ties: u64,
    pub(crate) losses: u64,
    /// The share of wins, ties as half.
    pub(crate) rate: f64,
    /// 95 % intervals of it: Wilson's, and of a paired bootstrap over prompts.
    pub(crate) wilson: [f64; 2],
    pub(crate) bootstrap: [f64; 2],
    /// The share of wins at equal lengths.
    pub(crate) at_equal_length: Option<f64>,
    /// How much more the model's replies are worth, on average, and the bootstrap's 95 % interval.
    pub(crate) difference: f64,
    pub(crate) difference_interval: [f64; 2],
    /// How likely such differences are by chance (Wilcoxon's signed-rank test).
    pub(crate) p: f64,
}

impl Replies {
    /// Against others to the same prompts, by each judge that scored both.
    pub(super) fn against(&self, others: &Self, seed: Seed) -> Vec<Versus> {
        let scored = self.scores.iter().filter_map(|ours| {
            let theirs = others.scores.iter().find(|it| it.by == ours.by)?;
            let scores = PairedScores::new(&ours.of, &theirs.of)?;
            self.compared(others, &ours.by, scores, seed.child(&ours.by))
        });
        scored.collect()
    }

    /// Those to some of the prompts.
    pub(super) fn of(&self, rows: &[usize]) -> Self {
        let part = |scores: &Scores| Scores {
            by: scores.by.clone(),
            of: rows.iter().map(|row| scores.of[*row]).collect(),
            n_failed: 0,
        };
        Self {
            name: self.name.clone(),
            scores: self.scores.iter().map(part).collect(),
            lengths: rows.iter().map(|row| self.lengths[*row]).collect(),
            said: rows.iter().map(|row| self.said[*row].clone()).collect(),
        }
    }

    /// None without prompts.
    fn compared(
        &self,
        others: &Self,
        by: &str,
        scores: PairedScores<'_>,
        seed: Seed,
    ) -> Option<Versus> {
        let games = scores.games();
        Some(Versus {
            model: self.name.clone(),
            against: others.name.clone(),
            by: by.to_owned(),
            wins: games.wins,
            ties: games.ties,
            losses: games.losses,
            rate: games.value()?,
            wilson: games.wilson(CONFIDENCE),
            bootstrap: scores.bootstrap(N_DRAWS, CONFIDENCE, seed.child("rate"))?,
            at_equal_length: scores.length_controlled([&self.lengths, &others.lengths]),
            difference: scores.mean_difference()?,
            difference_interval: scores.bootstrap_mean_difference(
                N_DRAWS,
                CONFIDENCE,
                seed.child("difference"),
            )?,
            p: scores.wilcoxon(),
        })
    }
}
