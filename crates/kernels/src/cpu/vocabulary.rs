//! What a head over the vocabulary gives to tokens, without ever holding all its scores.

use multiversion::multiversion;
use rayon::prelude::*;

use super::bf16;
use super::math::{exp, max, sum};
use super::matmul::{Target, View, product_here, product_in};
use super::pieces::unwritten;
use crate::settings::Precision;

/// Tokens whose scores exist at a time on a thread.
const BLOCK: usize = 256;
/// Tokens that a thread takes where all of them share a product.
const FEW: usize = 16;
/// Columns of the statistics: log-probability, entropy, mean log-probability, best token.
pub const N_STATS: usize = 4;

/// A head, `[vocabulary, width]` where it is the embedding, else `[width, vocabulary]`.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// Its numbers.
    pub weight: &'a [f32],
    /// Entries of the vocabulary.
    pub n_entries: usize,
    /// Whether it is the embedding.
    pub tied: bool,
    /// Divides the scores.
    pub temperature: f32,
    /// Of the products with it.
    pub precision: Precision,
}

impl<'a> Head<'a> {
    fn width(&self) -> usize {
        self.weight.len() / self.n_entries
    }

    /// Some entries, `[width, entries]`.
    fn entries(&self, first: usize, count: usize) -> View<'a> {
        let (width, n_entries) = (self.width(), self.n_entries);
        if self.tied {
            View::whole(self.weight, [n_entries, width]).rows(first, count).transposed()
        } else {
            View::whole(self.weight, [width, n_entries]).columns(first, count)
        }
    }

    fn scores(&self, hidden: &[f32], (first, count): (usize, usize), scores: &mut [f32]) {
        let width = self.width();
        let hidden = View::whole(hidden, [hidden.len() / width, width]);
        let target = Target::write(scores, count);
        product_here(hidden, self.entries(first, count), 1.0 / self.temperature, target);
    }

    /// The same in bf16, on all threads.
    fn all_scores(&self, hidden: &[f32], (first, count): (usize, usize), scores: &mut [f32]) {
        let width = self.width();
        let hidden = View::whole(hidden, [hidden.len() / width, width]);
        let target = Target::write(scores, count);
        bf16::product(hidden, self.entries(first, count), 1.0 / self.temperature, target);
    }
}

/// Statistics of `softmax(h W / temperature)`, `[tokens, 4]`, and the logarithms of the sums of
/// exponentials, `[tokens]`.
///
/// # Shapes
/// - `hidden`: `[tokens, width]`
/// - `targets`: `[tokens]`
pub fn stats(hidden: &[f32], head: Head<'_>, targets: &[usize]) -> (Vec<f32>, Vec<f32>) {
    const CHUNK: usize = 512;
    if head.precision == Precision::Bf16 {
        return stats_in_bf16(hidden, head, targets);
    }
    let width = head.width();
    let mut stats = unwritten(targets.len() * N_STATS);
    let mut logs = unwritten(targets.len());
    let blocks = hidden.par_chunks(BLOCK * width).zip(targets.par_chunks(BLOCK));
    let blocks = blocks.zip(stats.par_chunks_mut(BLOCK * N_STATS));
    blocks.zip(logs.par_chunks_mut(BLOCK)).for_each(|(((hidden, targets), stats), logs)| {
        let mut running = vec![Running::default(); targets.len()];
        let mut scores = unwritten(targets.len() * CHUNK.min(head.n_entries));
        for first in (0..head.n_entries).step_by(CHUNK) {
            let count = CHUNK.min(head.n_entries - first);
            head.scores(hidden, (first, count), &mut scores);
            let scores = &scores[..targets.len() * count];
            see(&mut running, scores, (first, count), targets);
        }
        let rows = stats.chunks_exact_mut(N_STATS).zip(logs);
        for ((stats, log), running) in rows.zip(running) {
            *log = running.largest + running.total.ln();
            stats.copy_from_slice(&running.stats(head.n_entries));
        }
    });
    (stats, logs)
}

/// Entries whose scores exist at a time, of all tokens.
fn chunk(n_tokens: usize) -> usize {
    ((1 << 20) / n_tokens.max(1)).next_multiple_of(64).min(2048)
}

/// [`stats`], with threads that share the products and then the tokens.
fn stats_in_bf16(hidden: &[f32], head: Head<'_>, targets: &[usize]) -> (Vec<f32>, Vec<f32>) {
    let mut running = vec![Running::default(); targets.len()];
    let chunk = chunk(targets.len());
    let mut scores = unwritten(targets.len() * chunk.min(head.n_entries));
    for first in (0..head.n_entries).step_by(chunk) {
        let count = chunk.min(head.n_entries - first);
        let scores = &mut scores[..targets.len() * count];
        head.all_scores(hidden, (first, count), scores);
        see_all(&mut running, scores, (first, count), targets);
    }
    given(&running, head.n_entries)
}

/// [`see`] on all threads.
fn see_all(running: &mut [Running], scores: &[f32], entries: (usize, usize), targets: &[usize]) {
    let tokens = running.par_chunks_mut(FEW).zip(targets.par_chunks(FEW));
    let blocks = tokens.zip(scores.par_chunks(FEW * entries.1));
    blocks.for_each(|((running, targets), scores)| see(running, scores, entries, targets));
}

/// The statistics of tokens whose scores were all seen, and the logarithms.
fn given(running: &[Running], n_entries: usize) -> (Vec<f32>, Vec<f32>) {
    let stats = running.iter().flat_map(|it| it.stats(n_entries)).collect();
    (stats, running.iter().map(|it| it.largest + it.total.ln()).collect())
}

/// What is known of a token's scores so far; sums are of exponentials without the largest score.
#[derive(Clone, Copy)]
pub(super) struct Running {
    largest: f32,
    /// `Σ e^(z − largest)`
    total: f32,
    /// `Σ e^(z − largest) (z − largest)`
    moment: f32,
    /// `Σ z`
    sum: f32,
    target: f32,
    best: usize,
}

impl Default for Running {
    fn default() -> Self {
        Self { largest: f32::MIN, total: 0.0, moment: 0.0, sum: 0.0, target: 0.0, best: 0 }
    }
}

impl Running {
    /// `log p` of the target.
    pub(super) fn logprob(&self) -> f32 {
        self.target - self.largest - self.total.ln()
    }

    fn stats(&self, n_entries: usize) -> [f32; N_STATS] {
        let log = self.total.ln();
        let entropy = log - self.moment / self.total;
        let mean = self.sum / n_entries as f32 - self.largest - log;
        [self.target - self.largest - log, entropy, mean, self.best as f32]
    }
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma"))]
pub(super) fn see(
    running: &mut [Running],
    scores: &[f32],
    (first, count): (usize, usize),
    targets: &[usize],
) {
    for ((it, scores), target) in running.iter_mut().zip(scores.chunks_exact(count)).zip(targets) {
        let largest = max(scores);
        if largest > it.largest {
            let place = scores.iter().position(|score| *score == largest);
            it.best = first + place.unwrap_or(0);
            let shift = it.largest - largest;
            let shrink = exp(shift);
            // Nothing was seen yet: no sums to shrink, and the shift is beyond all numbers.
            it.moment = if it.total == 0.0 { 0.0 } else { shrink * (it.moment + it.total * shift) };
            it.total *= shrink;
            it.largest = largest;
        }
        let largest = it.largest;
        it.total += sum(scores, |z| exp(z - largest));
        it.moment += sum(scores, |z| exp(z - largest) * (z - largest));
        it.sum += sum(scores, |z| z);
        if (first..first + count).contains(target) {
            it.target = scores[target - first];
        }
    }
}

/// What [`stats`] gave, and the gradient of the statistics.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The statistics.
    pub stats: &'a [f32],
    /// The logarithms.
    pub logs: &'a [f32],
    /// The gradient of the statistics; that of the best token is taken for 0.
    pub grad: &'a [f32],
}

impl Seen<'_> {
    /// That of some tokens.
    fn of(&self, first: usize, count: usize) -> Self {
        let stats = first * N_STATS..(first + count) * N_STATS;
        Self {
            stats: &self.stats[stats.clone()],
            logs: &self.logs[first..first + count],
            grad: &self.grad[stats],
        }
    }
}

/// Where the gradient of a head goes, in the head's own layout.
#[derive(Debug)]
pub struct OfHead<'a> {
    /// As many as the head has.
    pub numbers: &'a mut [f32],
    /// Whether they are added to, or overwritten.
    pub adds: bool,
}

/// The gradient of the hidden states and, if it is wanted, that of the head. Scores are computed
/// again.
pub fn backward(
    hidden: &[f32],
    head: Head<'_>,
    targets: &[usize],
    seen: Seen<'_>,
    mut of_head: Option<OfHead<'_>>,
) -> Vec<f32> {
    let (width, n_tokens) = (head.width(), targets.len());
    let chunk = chunk(n_tokens);
    let mut of_hidden = vec![0.0; hidden.len()];
    let mut slopes = unwritten(n_tokens * chunk.min(head.n_entries));
    for first in (0..head.n_entries).step_by(chunk) {
        let entries = (first, chunk.min(head.n_entries - first));
        let slopes = &mut slopes[..n_tokens * entries.1];
        let pass = match head.precision {
            Precision::F32 => backward_entries,
            Precision::Bf16 => backward_entries_in_bf16,
        };
        pass(hidden, (head, entries), targets, seen, slopes, &mut of_hidden);
        let Some(OfHead { numbers, adds }) = &mut of_head else { continue };
        let target = if *adds { Target::add } else { Target::write };
        let slopes = View::whole(slopes, [n_tokens, entries.1]);
        let hidden = View::whole(hidden, [n_tokens, width]);
        let scale = 1.0 / head.temperature;
        if head.tied {
            let target = target(&mut numbers[first * width..][..entries.1 * width], width);
            product_in(head.precision, slopes.transposed(), hidden, scale, target);
        } else {
            let target = target(&mut numbers[first..], head.n_entries);
            product_in(head.precision, hidden.transposed(), slopes, scale, target);
        }
    }
    of_hidden
}

/// The gradient of some entries' scores, and what it adds to that of the hidden states.
fn backward_entries(
    hidden: &[f32],
    (head, entries): (Head<'_>, (usize, usize)),
    targets: &[usize],
    seen: Seen<'_>,
    slopes: &mut [f32],
    of_hidden: &mut [f32],
) {
    let (width, (first, count)) = (head.width(), entries);
    let blocks = slopes.par_chunks_mut(BLOCK * count);
    let blocks = blocks.zip(of_hidden.par_chunks_mut(BLOCK * width)).enumerate();
    blocks.for_each(|(block, (slopes, of_hidden))| {
        let n_tokens = slopes.len() / count;
        let tokens = block * BLOCK..block * BLOCK + n_tokens;
        head.scores(&hidden[tokens.start * width..tokens.end * width], entries, slopes);
        let seen = seen.of(tokens.start, n_tokens);
        slopes_of_scores(slopes, (entries, head.n_entries), &targets[tokens], seen);
        let slopes = View::whole(slopes, [n_tokens, count]);
        let weight = head.entries(first, count).transposed();
        product_here(slopes, weight, 1.0 / head.temperature, Target::add(of_hidden, width));
    });
}

/// The same in bf16, with threads that share the products and then the tokens.
fn backward_entries_in_bf16(
    hidden: &[f32],
    (head, entries): (Head<'_>, (usize, usize)),
    targets: &[usize],
    seen: Seen<'_>,
    slopes: &mut [f32],
    of_hidden: &mut [f32],
) {
    let (width, (first, count)) = (head.width(), entries);
    head.all_scores(hidden, entries, slopes);
    let tokens = slopes.par_chunks_mut(FEW * count).zip(targets.par_chunks(FEW)).enumerate();
    tokens.for_each(|(block, (slopes, targets))| {
        let seen = seen.of(block * FEW, targets.len());
        slopes_of_scores(slopes, (entries, head.n_entries), targets, seen);
    });
    let slopes = View::whole(slopes, [targets.len(), count]);
    let weight = head.entries(first, count).transposed();
    bf16::product(slopes, weight, 1.0 / head.temperature, Target::add(of_hidden, width));
}

/// With `p = softmax(z)` and gradients `a` of `log p_t`, `b` of the entropy `H`, `c` of the mean of
/// `log p`: `dz = a (1_t − p) − b p (log p + H) + c (1/V − p)`.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma"))]
fn slopes_of_scores(
    scores: &mut [f32],
    ((first, count), n_entries): ((usize, usize), usize),
    targets: &[usize],
    seen: Seen<'_>,
) {
    let rows = scores.chunks_exact_mut(count).zip(targets);
    let known =
        seen.stats.chunks_exact(N_STATS).zip(seen.logs).zip(seen.grad.chunks_exact(N_STATS));
    for ((scores, target), ((stats, log), grad)) in rows.zip(known) {
        let [of_target, of_entropy, of_mean] = [grad[0], grad[1], grad[2]];
        let (entropy, even) = (stats[1], of_mean / n_entries as f32);
        let of_all = of_target + of_mean;
        if of_entropy == 0.0 {
            for score in scores.iter_mut() {
                *score = even - of_all * exp(*score - log);
            }
        } else {
            for score in scores.iter_mut() {
                let logp = *score - log;
                *score = even - exp(logp) * (of_all + of_entropy * (logp + entropy));
            }
        }
        if (first..first + count).contains(target) {
            scores[target - first] += of_target;
        }
    }
}
