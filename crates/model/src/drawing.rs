//! Drawing from the softmax of logits.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rein_kernels::cpu::draw::{DRAW_BLOCK, block_weights, largest, weight};

use crate::sampling::{Candidate, Drawn, Filters};

/// `exp((logit − largest) / temperature)`: probabilities but for a factor, without overflow.
#[derive(Clone, Copy)]
pub(crate) struct Weights {
    largest: f32,
    temperature: f32,
}

impl Weights {
    pub(crate) fn new(logits: &[f32], temperature: f32) -> Self {
        Self { largest: largest(logits), temperature }
    }

    fn of(self, logit: f32) -> f64 {
        f64::from(weight(logit, self.largest, self.temperature))
    }

    /// Sums over [`DRAW_BLOCK`] logits each.
    fn of_blocks(self, logits: &[f32]) -> Vec<f64> {
        block_weights(logits, self.largest, self.temperature)
    }

    pub(crate) fn total(self, logits: &[f32]) -> f64 {
        self.of_blocks(logits).iter().sum()
    }

    pub(crate) fn logprob(self, logit: f32, total: f64) -> f32 {
        (f64::from((logit - self.largest) / self.temperature) - total.ln()) as f32
    }
}

/// Logits under which none of `excluded` is chosen.
pub(crate) fn without(logits: &[f32], excluded: &[u32]) -> Vec<f32> {
    let mut logits = logits.to_vec();
    for token in excluded {
        if let Some(logit) = logits.get_mut(*token as usize) {
            *logit = f32::NEG_INFINITY;
        }
    }
    logits
}

/// The first of the most probable tokens, if any is possible.
pub(crate) fn best(logits: &[f32]) -> Option<u32> {
    let largest = largest(logits);
    let place = logits.iter().position(|logit| *logit == largest && largest > f32::NEG_INFINITY);
    place.map(|token| token as u32)
}

/// Draws from `softmax(logits / temperature)` by inverting its distribution function.
pub(crate) fn draw_any(logits: &[f32], temperature: f32, rng: &mut ChaCha8Rng) -> Option<Drawn> {
    let weights = Weights::new(logits, temperature);
    if weights.largest == f32::NEG_INFINITY {
        return None;
    }
    let blocks = weights.of_blocks(logits);
    let total: f64 = blocks.iter().sum();
    let mut left = rng.random::<f64>() * total;
    let block = blocks.iter().position(|block| {
        let is_here = left < *block;
        left -= if is_here { 0.0 } else { *block };
        is_here
    });
    // Rounding can leave a crumb after the last block and after the last token of a block.
    let first = block.unwrap_or(blocks.len() - 1) * DRAW_BLOCK;
    let block = &logits[first..logits.len().min(first + DRAW_BLOCK)];
    let drawn = block.iter().position(|logit| {
        left -= weights.of(*logit);
        left < 0.0
    });
    let possible = || block.iter().rposition(|logit| weights.of(*logit) > 0.0);
    let token = first + drawn.or_else(possible).unwrap_or(block.len() - 1);
    Some(Drawn { token: token as u32, logprob: weights.logprob(logits[token], total) })
}

pub(crate) fn draw_one(candidates: &[Candidate], rng: &mut ChaCha8Rng) -> Option<Candidate> {
    let mut left = rng.random::<f64>();
    let drawn = candidates.iter().find(|candidate| {
        left -= candidate.probability;
        left < 0.0
    });
    drawn.or(candidates.last()).copied()
}

pub(crate) fn filter(logits: &[f32], filters: &Filters) -> Vec<Candidate> {
    let weights = Weights::new(logits, filters.temperature);
    let floor = filters.top_k.map_or(f32::NEG_INFINITY, |k| largest_but(k, logits));
    let mut kept: Vec<Candidate> = (0..)
        .zip(logits)
        // What something before has excluded stays excluded.
        .filter(|(_, logit)| **logit >= floor && **logit > f32::NEG_INFINITY)
        .map(|(token, logit)| Candidate { token, probability: weights.of(*logit) })
        .collect();
    if filters.top_p < 1.0 {
        keep_most_probable(&mut kept, filters.top_p);
    }
    let most = kept.iter().map(|it| it.probability).fold(0.0, f64::max);
    kept.retain(|it| it.probability >= f64::from(filters.min_p) * most);
    let total: f64 = kept.iter().map(|it| it.probability).sum();
    kept.iter_mut().for_each(|it| it.probability /= total);
    kept
}

/// The `k`-th largest logit.
fn largest_but(k: usize, logits: &[f32]) -> f32 {
    let mut sorted = logits.to_vec();
    let place = k.min(sorted.len()) - 1;
    *sorted.select_nth_unstable_by(place, |a, b| b.total_cmp(a)).1
}

/// Keeps the fewest tokens that reach this share of the probability, one at least.
fn keep_most_probable(kept: &mut Vec<Candidate>, share: f32) {
    let total: f64 = kept.iter().map(|it| it.probability).sum();
    let order = |a: &Candidate, b: &Candidate| {
        b.probability.total_cmp(&a.probability).then(a.token.cmp(&b.token))
    };
    // Few of a large vocabulary reach it: only as many are sorted as turn out to be needed.
    let mut n_sorted = 64.min(kept.len());
    loop {
        if n_sorted < kept.len() {
            kept.select_nth_unstable_by(n_sorted, order);
        }
        kept[..n_sorted].sort_unstable_by(order);
        let mut before = 0.0;
        let reached = kept[..n_sorted].iter().position(|it| {
            let reached = before >= f64::from(share) * total;
            before += it.probability;
            reached
        });
        if reached.is_some() || n_sorted == kept.len() {
            kept.truncate(reached.unwrap_or(n_sorted).max(1));
            break;
        }
        n_sorted = (n_sorted * 8).min(kept.len());
    }
    kept.sort_unstable_by_key(|it| it.token);
}
