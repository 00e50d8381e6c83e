//! An attacker that exchanges tokens (HotFlip; Ebrahimi et al., 2018).
//!
//! The gradient of a score with respect to a token's embedding says, to first order, what another token there
//! would give: `(e_v − e_t) · ∂s/∂e_t`. The most promising exchanges are tried, the best of those that the rules
//! allow is kept, and so on: a climb that ends at the goal, at its budget, or where nothing helps any more.

use std::collections::HashSet;
use std::ops::Range;

use burn::module::Module;
use burn::prelude::*;
use rein_data::seed::{Seed, shuffle};
use rein_model::ScalarModel;
use rein_model::backend::LmAutodiffBackend;
use rein_model::tokens::{TokenBatch, host, indices};

/// What an attacker may spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlipBudget {
    /// Tokens that are exchanged, all told.
    pub flips: usize,
    /// Exchanges that are tried before one is kept.
    pub candidates: usize,
}

impl Default for FlipBudget {
    fn default() -> Self {
        Self { flips: 20, candidates: 16 }
    }
}

/// A row that is attacked.
#[derive(Clone, Debug)]
pub struct Target<'a> {
    /// Its tokens.
    pub row: &'a [u32],
    /// Which of them may be exchanged.
    pub open: Range<usize>,
    /// The score to exceed.
    pub goal: f32,
}

/// What became of a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Attacked {
    /// Its tokens.
    pub row: Vec<u32>,
    /// Exchanges that were kept.
    pub n_flips: usize,
    /// Its score, as the model gives it.
    pub score: f32,
    /// Whether that exceeds the goal.
    pub succeeded: bool,
}

/// A token that may be put in another's place.
#[derive(Clone, Copy, Debug)]
struct Exchange {
    place: usize,
    token: u32,
    /// By how much the score would rise if it were linear.
    gain: f32,
}

impl Exchange {
    fn applied(&self, row: &[u32]) -> Vec<u32> {
        let mut row = row.to_vec();
        row[self.place] = self.token;
        row
    }
}

/// The most exchanges that are looked at, for each one that may be tried: most rows that rules forbid are not worth
/// going on for.
const MOST_LOOKED_AT: usize = 64;

/// An attacker with full sight of a reward model.
#[derive(Debug)]
pub struct Flipper<B: LmAutodiffBackend> {
    model: ScalarModel<B>,
    /// What may be put in a token's place.
    vocabulary: Vec<usize>,
    budget: FlipBudget,
    seed: Seed,
    device: B::Device,
}

impl<B: LmAutodiffBackend> Flipper<B> {
    /// An attacker that uses the tokens of this vocabulary only. Two with different seeds try different things.
    pub fn new(
        model: ScalarModel<B>,
        vocabulary: impl IntoIterator<Item = u32>,
        budget: FlipBudget,
        seed: Seed,
        device: &B::Device,
    ) -> Self {
        let vocabulary = vocabulary.into_iter().map(|token| token as usize).collect();
        Self { model: model.no_grad(), vocabulary, budget, seed, device: device.clone() }
    }

    /// Raises the score of a row as far as its goal, with rows that are `allowed` only.
    pub fn attack(&self, target: &Target<'_>, allowed: impl Fn(&[u32]) -> bool) -> Attacked {
        let score = self.scores(&[target.row.to_vec()])[0];
        let mut best = Attacked { row: target.row.to_vec(), n_flips: 0, score, succeeded: false };
        let seed = self.seed.child(&format!("{:?}", target.row));
        let has_choice = !target.open.is_empty() && !self.vocabulary.is_empty();
        while has_choice && best.n_flips < self.budget.flips && best.score <= target.goal {
            let found = self.climb(&best, target, &allowed, seed.index(best.n_flips as u64));
            let Some(found) = found else { break };
            best = found;
        }
        best.succeeded = best.score > target.goal;
        best
    }

    /// A row that scores higher by one exchange: within a random half of the open places, or within all of them
    /// where that half has none.
    fn climb(
        &self,
        from: &Attacked,
        target: &Target<'_>,
        allowed: &impl Fn(&[u32]) -> bool,
        seed: Seed,
    ) -> Option<Attacked> {
        let exchanges = self.exchanges(&from.row, target.open.clone());
        let mut places: Vec<usize> = target.open.clone().collect();
        shuffle(&mut places, &mut seed.rng());
        let half: HashSet<usize> = places[..places.len().div_ceil(2)].iter().copied().collect();
        [true, false].into_iter().find_map(|by_half| {
            let tried = exchanges.iter().filter(|it| !by_half || half.contains(&it.place));
            let rows = tried.map(|it| it.applied(&from.row)).filter(|row| allowed(row));
            let rows: Vec<Vec<u32>> = rows.take(self.budget.candidates).collect();
            let scores = if rows.is_empty() { Vec::new() } else { self.scores(&rows) };
            let scored = rows.into_iter().zip(scores);
            let (row, score) = scored.max_by(|a, b| a.1.total_cmp(&b.1))?;
            let n_flips = from.n_flips + 1;
            (score > from.score).then_some(Attacked { row, n_flips, score, succeeded: false })
        })
    }

    /// Exchanges that promise to raise the score, the most promising ones first.
    fn exchanges(&self, row: &[u32], open: Range<usize>) -> Vec<Exchange> {
        let gradient = self.gradient(row);
        let table = self.model.decoder.embedding.val().inner();
        let words = table.clone().select(0, indices(&self.vocabulary, &self.device));
        let gradient = gradient.narrow(0, open.start, open.len());
        let gains = host(gradient.clone().matmul(words.transpose()));
        let own: Vec<usize> = row[open.clone()].iter().map(|token| *token as usize).collect();
        let own = table.select(0, indices(&own, &self.device));
        let own = host((own * gradient).sum_dim(1));
        let of_place = |((place, gains), own): ((usize, &[f32]), f32)| {
            let tokens = gains.iter().zip(&self.vocabulary);
            let exchanges = tokens.map(|(gain, token)| Exchange {
                place,
                token: *token as u32,
                gain: gain - own,
            });
            let helps = |it: &Exchange| it.gain > 0.0 && it.token != row[place];
            self.most_promising(exchanges.filter(helps).collect())
        };
        let places = open.zip(gains.chunks(self.vocabulary.len())).zip(own);
        self.most_promising(places.flat_map(of_place).collect())
    }

    fn most_promising(&self, mut exchanges: Vec<Exchange>) -> Vec<Exchange> {
        exchanges.sort_by(|a, b| b.gain.total_cmp(&a.gain));
        exchanges.truncate(MOST_LOOKED_AT * self.budget.candidates);
        exchanges
    }

    /// Of the row's score with respect to its tokens' embeddings, `[tokens, hidden]`.
    fn gradient(&self, row: &[u32]) -> Tensor<B::InnerBackend, 2> {
        let shape = [row.len(), self.model.config().hidden_size];
        let delta = Tensor::<B, 2>::zeros(shape, &self.device).require_grad();
        let batch = TokenBatch::right_padded(&[row], &self.device).perturbed(delta.clone());
        let gradients = self.model.scores(&batch).sum().backward();
        delta.grad(&gradients).expect("the score depends on the embeddings")
    }

    fn scores(&self, rows: &[Vec<u32>]) -> Vec<f32> {
        host(self.model.scores(&TokenBatch::right_padded(rows, &self.device)))
    }
}
