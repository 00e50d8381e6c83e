//! Attention of heads that are too small for matrix products: as many queries as a vector has lanes,
//! over the keys that they see, and as many keys under the queries that see them.
//!
//! Sums are in the order of tokens, and what a token doesn't see adds 0: padding before a row, and rows
//! packed beside it, change no bit.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::math::dot;
use super::vectors::{MOST_LANES, add_scaled, count_from, dot_across, exp, load, numbers};

/// Queries whose gradients are summed at a time.
const QUERIES: usize = 4;

/// Whether [`forward`] serves a head of this width.
pub(super) fn goes_forward(head_dim: usize) -> bool {
    matches!(head_dim, 4 | 8 | 16 | 32)
}

/// Whether [`backward`] does. The sums of wider heads don't fit into registers.
pub(super) fn goes_backward(head_dim: usize) -> bool {
    matches!(head_dim, 4 | 8 | 16)
}

/// One head of one row: where its numbers stand.
#[derive(Clone, Copy)]
pub(super) struct Head<'a> {
    /// `[time, query_width]`
    pub(super) query: &'a [f32],
    /// `[time, kv_width]`
    pub(super) key: &'a [f32],
    /// `[time, kv_width]`
    pub(super) value: &'a [f32],
    /// The first token that each token sees.
    pub(super) begins: &'a [usize],
    /// Numbers of a token's queries, and of its keys.
    pub(super) widths: [usize; 2],
    /// Where the head begins within them.
    pub(super) offsets: [usize; 2],
    pub(super) head_dim: usize,
    pub(super) scale: f32,
}

/// What the head gave and what flows back into it: output, its gradient and the logarithms, the
/// latter `[time]`.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) output: &'a [f32],
    pub(super) grad: &'a [f32],
    pub(super) logs: &'a [f32],
}

/// Writes the head's part of the output, `[time, query_width]`, and its logarithms, `[time]`.
pub(super) fn forward(head: Head<'_>, output: &mut [f32], logs: &mut [f32]) {
    let arch = Arch::new();
    match head.head_dim {
        4 => arch.dispatch(Forward::<4> { head, output, logs }),
        8 => arch.dispatch(Forward::<8> { head, output, logs }),
        16 => arch.dispatch(Forward::<16> { head, output, logs }),
        _ => arch.dispatch(Forward::<32> { head, output, logs }),
    }
}

/// Writes the head's part of the queries' gradient and adds to those of keys and values.
pub(super) fn backward(head: Head<'_>, seen: Seen<'_>, grads: [&mut [f32]; 3]) {
    let arch = Arch::new();
    match head.head_dim {
        4 => arch.dispatch(Backward::<4> { head, seen, grads }),
        8 => arch.dispatch(Backward::<8> { head, seen, grads }),
        _ => arch.dispatch(Backward::<16> { head, seen, grads }),
    }
}

struct Forward<'a, const D: usize> {
    head: Head<'a>,
    output: &'a mut [f32],
    logs: &'a mut [f32],
}

impl<const D: usize> WithSimd for Forward<'_, D> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { head, output, logs } = self;
        let n_time = head.begins.len();
        let mut scores = vec![simd.splat_f32s(0.0); n_time];
        for first in (0..n_time).step_by(S::F32_LANES) {
            let tokens = first..n_time.min(first + S::F32_LANES);
            let queries = head.queries().across::<S, D>(simd, tokens.clone());
            let sight = Sight::new(simd, head.begins, tokens.clone());
            let largest = head.score(simd, &queries, &sight, &mut scores);
            let (sums, totals) = head.mix::<S, D>(simd, &scores, largest, sight.keys);

            let (largest, totals) = (numbers::<S>(&largest), numbers::<S>(&totals));
            for (lane, token) in tokens.enumerate() {
                let is_blind = totals[lane] == 0.0;
                let share = if is_blind { 0.0 } else { 1.0 / totals[lane] };
                logs[token] = if is_blind { 0.0 } else { largest[lane] + totals[lane].ln() };
                let at = token * head.widths[0] + head.offsets[0];
                for (to, sums) in output[at..][..D].iter_mut().zip(&sums) {
                    *to = numbers::<S>(sums)[lane] * share;
                }
            }
        }
    }
}

/// What some queries see, a lane to each.
struct Sight<S: Simd> {
    /// The keys that any of them sees.
    keys: Range<usize>,
    /// The keys that all of them see.
    by_all: Range<usize>,
    /// The first key that each sees.
    begins: S::u32s,
    /// The first key after those that each sees.
    ends: S::u32s,
}

impl<S: Simd> Sight<S> {
    #[inline(always)]
    fn new(simd: S, all_begins: &[usize], tokens: Range<usize>) -> Self {
        // Queries that don't exist see nothing.
        let [mut begins, mut ends] = [[0_u32; MOST_LANES]; 2];
        let (mut first, mut common) = (tokens.end, 0);
        for (lane, token) in tokens.clone().enumerate() {
            let begin = all_begins[token].min(token + 1);
            (begins[lane], ends[lane]) = (begin as u32, token as u32 + 1);
            (first, common) = (first.min(begin), common.max(begin));
        }
        let is_full = tokens.len() == S::F32_LANES;
        Self {
            keys: first..tokens.end,
            by_all: if is_full { common..tokens.start + 1 } else { 0..0 },
            begins: simd.partial_load_u32s(&begins[..S::U32_LANES]),
            ends: simd.partial_load_u32s(&ends[..S::U32_LANES]),
        }
    }

    /// `score` for those that see the key, and minus infinity for the others.
    #[inline(always)]
    fn hidden(&self, simd: S, key: usize, score: S::f32s) -> S::f32s {
        if self.by_all.contains(&key) {
            return score;
        }
        let (key, nothing) = (simd.splat_u32s(key as u32), simd.splat_f32s(f32::NEG_INFINITY));
        let score = simd.select_f32s(simd.less_than_u32s(key, self.ends), score, nothing);
        simd.select_f32s(simd.less_than_or_equal_u32s(self.begins, key), score, nothing)
    }
}

impl<'a> Head<'a> {
    fn queries(&self) -> Heads<'a> {
        Heads { tensor: self.query, width: self.widths[0], offset: self.offsets[0] }
    }

    fn keys(&self) -> Heads<'a> {
        Heads { tensor: self.key, width: self.widths[1], offset: self.offsets[1] }
    }

    fn values(&self) -> Heads<'a> {
        Heads { tensor: self.value, width: self.widths[1], offset: self.offsets[1] }
    }

    /// Writes the scores of all keys that are seen; returns the largest of each query, 0 where it sees
    /// nothing.
    #[inline(always)]
    fn score<S: Simd, const D: usize>(
        &self,
        simd: S,
        queries: &[S::f32s; D],
        sight: &Sight<S>,
        scores: &mut [S::f32s],
    ) -> S::f32s {
        let (keys, scale) = (self.keys(), simd.splat_f32s(self.scale));
        let nothing = simd.splat_f32s(f32::NEG_INFINITY);
        let mut largest = nothing;
        for key in sight.keys.clone() {
            let score = dot_across(simd, queries, keys.at(key));
            let score = sight.hidden(simd, key, simd.mul_f32s(score, scale));
            largest = simd.max_f32s(largest, score);
            scores[key] = score;
        }
        let is_blind = simd.equal_f32s(largest, nothing);
        simd.select_f32s(is_blind, simd.splat_f32s(0.0), largest)
    }

    /// Sums of values, weighted by exponentials of scores, and the sums of those.
    #[inline(always)]
    fn mix<S: Simd, const D: usize>(
        &self,
        simd: S,
        scores: &[S::f32s],
        largest: S::f32s,
        keys: Range<usize>,
    ) -> ([S::f32s; D], S::f32s) {
        let values = self.values();
        let mut totals = simd.splat_f32s(0.0);
        let mut sums = [totals; D];
        for key in keys {
            let weight = exp(simd, simd.sub_f32s(scores[key], largest));
            totals = simd.add_f32s(totals, weight);
            add_scaled(simd, &mut sums, weight, values.at(key));
        }
        (sums, totals)
    }
}

struct Backward<'a, const D: usize> {
    head: Head<'a>,
    seen: Seen<'a>,
    grads: [&'a mut [f32]; 3],
}

impl<const D: usize> WithSimd for Backward<'_, D> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { head, seen, grads: [of_query, of_key, of_value] } = self;
        let (n_time, queries) = (head.begins.len(), head.queries());
        let grads = Heads { tensor: seen.grad, ..queries };
        let outputs = Heads { tensor: seen.output, ..queries };
        let mut means = Vec::with_capacity(n_time);
        for token in 0..n_time {
            means.push(dot(grads.at::<D>(token), outputs.at::<D>(token)));
        }
        let nothing = simd.splat_f32s(0.0);
        let mut slopes = vec![nothing; n_time.next_multiple_of(QUERIES)];
        let mut query_grads = vec![[0.0; D]; slopes.len()];
        for first in (0..n_time).step_by(S::F32_LANES) {
            let tokens = first..n_time.min(first + S::F32_LANES);
            let keys = head.keys().across::<S, D>(simd, tokens.clone());
            let values = head.values().across::<S, D>(simd, tokens.clone());
            let sums =
                head.slope(simd, [&keys, &values], tokens.clone(), (seen, &means), &mut slopes);
            let rows = head.keys().rows::<D>(tokens.clone());
            // The first key of some is the first query of four.
            let from = first / QUERIES * QUERIES;
            slopes[from..first].fill(nothing);
            let grads = query_grads[from..].as_chunks_mut().0.iter_mut();
            for (grads, slopes) in grads.zip(slopes[from..].as_chunks().0) {
                weigh::<S, D>(grads, slopes, &rows);
            }
            let [key_grads, value_grads] = sums;
            for (lane, token) in tokens.enumerate() {
                let at = token * head.widths[1] + head.offsets[1];
                for i in 0..D {
                    of_key[at + i] += numbers::<S>(&key_grads[i])[lane];
                    of_value[at + i] += numbers::<S>(&value_grads[i])[lane];
                }
            }
        }
        for (token, grad) in query_grads[..n_time].iter().enumerate() {
            let at = token * head.widths[0] + head.offsets[0];
            of_query[at..][..D].copy_from_slice(grad);
        }
    }
}

impl Head<'_> {
    /// Writes the gradients of the scores of some keys, a lane to each, under all later queries; returns
    /// the gradients of keys and values.
    #[inline(always)]
    fn slope<S: Simd, const D: usize>(
        &self,
        simd: S,
        [keys, values]: [&[S::f32s; D]; 2],
        tokens: Range<usize>,
        (seen, means): (Seen<'_>, &[f32]),
        slopes: &mut [S::f32s],
    ) -> [[S::f32s; D]; 2] {
        let queries = self.queries();
        let grads = Heads { tensor: seen.grad, ..queries };
        let (scale, nothing) = (simd.splat_f32s(self.scale), simd.splat_f32s(0.0));
        let lanes = count_from(simd, tokens.start);
        let [mut key_grads, mut value_grads] = [[nothing; D]; 2];
        for token in tokens.start..self.begins.len() {
            let begin = self.begins[token];
            if begin >= tokens.end {
                slopes[token] = nothing;
                continue;
            }
            let (query, grad) = (queries.at::<D>(token), grads.at::<D>(token));
            let score = simd.mul_f32s(dot_across(simd, keys, query), scale);
            let mut weight = exp(simd, simd.sub_f32s(score, simd.splat_f32s(seen.logs[token])));
            if begin > tokens.start || token < tokens.start + S::F32_LANES {
                let [first, last] = [begin, token].map(|it| simd.splat_u32s(it as u32));
                let is_late = simd.less_than_or_equal_u32s(first, lanes);
                weight = simd.select_f32s(is_late, weight, nothing);
                let is_early = simd.less_than_or_equal_u32s(lanes, last);
                weight = simd.select_f32s(is_early, weight, nothing);
            }
            let slope =
                simd.sub_f32s(dot_across(simd, values, grad), simd.splat_f32s(means[token]));
            let slope = simd.mul_f32s(simd.mul_f32s(slope, scale), weight);
            add_scaled(simd, &mut key_grads, slope, query);
            add_scaled(simd, &mut value_grads, weight, grad);
            slopes[token] = slope;
        }
        [key_grads, value_grads]
    }
}

/// Adds to the gradients of some queries the heads of some keys, times each query's number for each key.
#[inline(always)]
fn weigh<S: Simd, const D: usize>(
    grads: &mut [[f32; D]; QUERIES],
    times: &[S::f32s; QUERIES],
    keys: &[[f32; D]; MOST_LANES],
) {
    // One by one, so that each is a register.
    let [mut sum0, mut sum1, mut sum2, mut sum3] = *grads;
    let [times0, times1, times2, times3] = times.each_ref().map(numbers::<S>);
    for lane in 0..S::F32_LANES {
        let (a, b, c, d) = (times0[lane], times1[lane], times2[lane], times3[lane]);
        let key = &keys[lane];
        for i in 0..D {
            sum0[i] += a * key[i];
            sum1[i] += b * key[i];
            sum2[i] += c * key[i];
            sum3[i] += d * key[i];
        }
    }
    *grads = [sum0, sum1, sum2, sum3];
}

/// One head of all tokens.
#[derive(Clone, Copy)]
struct Heads<'a> {
    /// `[time, width]`
    tensor: &'a [f32],
    width: usize,
    offset: usize,
}

impl<'a> Heads<'a> {
    #[inline(always)]
    fn at<const D: usize>(self, token: usize) -> &'a [f32; D] {
        let numbers = &self.tensor[token * self.width + self.offset..];
        numbers.first_chunk().expect("a head lies within its token")
    }

    /// The heads of some tokens; 0 for tokens that don't exist.
    #[inline(always)]
    fn rows<const D: usize>(self, tokens: Range<usize>) -> [[f32; D]; MOST_LANES] {
        let mut heads = [[0.0; D]; MOST_LANES];
        for (head, token) in heads.iter_mut().zip(tokens) {
            *head = *self.at(token);
        }
        heads
    }

    /// The heads of some tokens, a lane to each; 0 for tokens that don't exist.
    #[inline(always)]
    fn across<S: Simd, const D: usize>(self, simd: S, tokens: Range<usize>) -> [S::f32s; D] {
        let mut heads = [[0.0; MOST_LANES]; D];
        for (lane, token) in tokens.enumerate() {
            let head = self.at::<D>(token);
            for i in 0..D {
                heads[i][lane] = head[i];
            }
        }
        heads.map(|numbers| load(simd, &numbers))
    }
}
