//! Attention of heads that are too small for matrix products: four queries at a time, their heads in
//! registers, over the keys that they see.

use multiversion::multiversion;

use super::math::{dot, exp, max, sum};

/// Queries that share what is loaded.
const QUERIES: usize = 4;
/// Keys whose scores are computed side by side.
const LANES: usize = 16;

/// Whether a head of this width is attended to here.
pub(super) fn serves(head_dim: usize) -> bool {
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
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma"))]
pub(super) fn forward(head: Head<'_>, output: &mut [f32], logs: &mut [f32]) {
    match head.head_dim {
        4 => forward_of::<4>(head, output, logs),
        8 => forward_of::<8>(head, output, logs),
        _ => forward_of::<16>(head, output, logs),
    }
}

/// Writes the head's part of the queries' gradient and adds to those of keys and values.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma"))]
pub(super) fn backward(head: Head<'_>, seen: Seen<'_>, grads: [&mut [f32]; 3]) {
    match head.head_dim {
        4 => backward_of::<4>(head, seen, grads),
        8 => backward_of::<8>(head, seen, grads),
        _ => backward_of::<16>(head, seen, grads),
    }
}

#[inline(always)]
fn forward_of<const D: usize>(head: Head<'_>, output: &mut [f32], logs: &mut [f32]) {
    let n_time = head.begins.len();
    let keys = Across::<D>::new(head.key, head.widths[1], head.offsets[1], n_time);
    let values = gathered::<D>(head.value, head.widths[1], head.offsets[1]);
    let mut scores = vec![0.0; QUERIES * keys.stride];
    for first in (0..n_time).step_by(QUERIES) {
        let n_keys = (first + QUERIES).min(n_time);
        let queries = head.heads_of::<D>(head.query, first, head.scale);
        keys.products(&queries, n_keys, &mut scores);
        for token in first..n_keys {
            let row = &mut scores[(token - first) * keys.stride..][..keys.stride];
            let seen = head.begins[token].min(token + 1)..token + 1;
            let largest = max(&row[seen.clone()]);
            for score in &mut row[seen.clone()] {
                *score = exp(*score - largest);
            }
            let total = sum(&row[seen.clone()], |it| it);
            let share = if seen.is_empty() { 0.0 } else { 1.0 / total };
            for weight in &mut row[seen.clone()] {
                *weight *= share;
            }
            row[..seen.start].fill(0.0);
            row[seen.end..n_keys].fill(0.0);
            logs[token] = if seen.is_empty() { 0.0 } else { largest + total.ln() };
        }
        let mixed = mix(&scores, keys.stride, &values[..n_keys]);
        for (token, mixed) in (first..n_keys).zip(mixed) {
            output[token * head.widths[0] + head.offsets[0]..][..D].copy_from_slice(&mixed);
        }
    }
}

#[inline(always)]
fn backward_of<const D: usize>(
    head: Head<'_>,
    seen: Seen<'_>,
    [of_query, of_key, of_value]: [&mut [f32]; 3],
) {
    let n_time = head.begins.len();
    let [width, kv_width] = head.widths;
    let [offset, kv_offset] = head.offsets;
    let keys = Across::<D>::new(head.key, kv_width, kv_offset, n_time);
    let values = Across::<D>::new(head.value, kv_width, kv_offset, n_time);
    let key_rows = gathered::<D>(head.key, kv_width, kv_offset);
    let mut key_grads = vec![[0.0; D]; n_time];
    let mut value_grads = vec![[0.0; D]; n_time];
    let stride = keys.stride;
    let mut weights = vec![0.0; QUERIES * stride];
    let mut slopes = vec![0.0; QUERIES * stride];
    for first in (0..n_time).step_by(QUERIES) {
        let n_keys = (first + QUERIES).min(n_time);
        let queries = head.heads_of::<D>(head.query, first, head.scale);
        let grads = head.heads_of::<D>(seen.grad, first, 1.0);
        keys.products(&queries, n_keys, &mut weights);
        values.products(&grads, n_keys, &mut slopes);
        for token in first..n_keys {
            let at = token * width + offset..token * width + offset + D;
            let mean = dot(&seen.grad[at.clone()], &seen.output[at]);
            let log = seen.logs[token];
            let from = head.begins[token].min(token + 1);
            let row = (token - first) * stride..(token - first) * stride + n_keys;
            let (weights, slopes) = (&mut weights[row.clone()], &mut slopes[row]);
            for row in [&mut *weights, &mut *slopes] {
                row[..from].fill(0.0);
                row[token + 1..].fill(0.0);
            }
            let cells = weights[from..=token].iter_mut().zip(&mut slopes[from..=token]);
            for (weight, slope) in cells {
                *weight = exp(*weight - log);
                *slope = *weight * (*slope - mean);
            }
        }
        // Queries that don't exist have heads of 0, but old scores.
        weights[(n_keys - first) * stride..].fill(0.0);
        slopes[(n_keys - first) * stride..].fill(0.0);
        let mixed = mix(&slopes, stride, &key_rows[..n_keys]);
        for (token, mixed) in (first..n_keys).zip(mixed) {
            for (to, it) in of_query[token * width + offset..][..D].iter_mut().zip(mixed) {
                *to = it * head.scale;
            }
        }
        spread(&slopes, stride, &queries, &mut key_grads[..n_keys]);
        spread(&weights, stride, &grads, &mut value_grads[..n_keys]);
    }
    for token in 0..n_time {
        let at = token * kv_width + kv_offset;
        for (to, it) in of_key[at..at + D].iter_mut().zip(&key_grads[token]) {
            *to += it;
        }
        for (to, it) in of_value[at..at + D].iter_mut().zip(&value_grads[token]) {
            *to += it;
        }
    }
}

impl Head<'_> {
    /// The head of four tokens, times a number; 0 for tokens beyond the last.
    #[inline(always)]
    fn heads_of<const D: usize>(
        &self,
        tensor: &[f32],
        first: usize,
        scale: f32,
    ) -> [[f32; D]; QUERIES] {
        let mut heads = [[0.0; D]; QUERIES];
        let tokens = first..self.begins.len().min(first + QUERIES);
        for (head, token) in heads.iter_mut().zip(tokens) {
            let numbers = &tensor[token * self.widths[0] + self.offsets[0]..][..D];
            for (to, number) in head.iter_mut().zip(numbers) {
                *to = number * scale;
            }
        }
        heads
    }
}

/// Heads of all tokens, `[D, time]`, with zeros up to whole lanes.
struct Across<const D: usize> {
    cells: Vec<f32>,
    stride: usize,
}

impl<const D: usize> Across<D> {
    #[inline(always)]
    fn new(tensor: &[f32], width: usize, offset: usize, n_time: usize) -> Self {
        let stride = n_time.next_multiple_of(LANES);
        let mut cells = vec![0.0; D * stride];
        for (token, row) in tensor.chunks_exact(width).enumerate() {
            for (i, number) in row[offset..offset + D].iter().enumerate() {
                cells[i * stride + token] = *number;
            }
        }
        Self { cells, stride }
    }

    /// Products of four heads with the first tokens', each in a row of `stride` numbers.
    #[inline(always)]
    fn products(&self, heads: &[[f32; D]; QUERIES], n_keys: usize, products: &mut [f32]) {
        let stride = self.stride;
        let [head0, head1, head2, head3] = heads;
        let mut first = 0;
        while first < n_keys {
            // Four arrays, so that each is a register.
            let [mut tile0, mut tile1, mut tile2, mut tile3] = [[0.0; LANES]; QUERIES];
            for i in 0..D {
                let row = lanes(&self.cells, i * stride + first);
                for lane in 0..LANES {
                    tile0[lane] += head0[i] * row[lane];
                    tile1[lane] += head1[i] * row[lane];
                    tile2[lane] += head2[i] * row[lane];
                    tile3[lane] += head3[i] * row[lane];
                }
            }
            products[first..first + LANES].copy_from_slice(&tile0);
            products[stride + first..stride + first + LANES].copy_from_slice(&tile1);
            products[2 * stride + first..2 * stride + first + LANES].copy_from_slice(&tile2);
            products[3 * stride + first..3 * stride + first + LANES].copy_from_slice(&tile3);
            first += LANES;
        }
    }
}

#[inline(always)]
fn lanes(cells: &[f32], first: usize) -> &[f32; LANES] {
    cells[first..].first_chunk().expect("rows are whole lanes long")
}

/// The head of each token.
#[inline(always)]
fn gathered<const D: usize>(tensor: &[f32], width: usize, offset: usize) -> Vec<[f32; D]> {
    let mut heads = vec![[0.0; D]; tensor.len() / width];
    for (head, row) in heads.iter_mut().zip(tensor.chunks_exact(width)) {
        head.copy_from_slice(&row[offset..offset + D]);
    }
    heads
}

/// The first numbers of four rows.
#[inline(always)]
fn four(cells: &[f32], stride: usize, count: usize) -> [&[f32]; QUERIES] {
    let row = |number: usize| &cells[number * stride..][..count];
    [row(0), row(1), row(2), row(3)]
}

/// Sums of heads, weighted by four rows of numbers.
#[inline(always)]
fn mix<const D: usize>(weights: &[f32], stride: usize, heads: &[[f32; D]]) -> [[f32; D]; QUERIES] {
    let [row0, row1, row2, row3] = four(weights, stride, heads.len());
    let [mut sum0, mut sum1, mut sum2, mut sum3] = [[0.0; D]; QUERIES];
    for (token, head) in heads.iter().enumerate() {
        let (a, b, c, d) = (row0[token], row1[token], row2[token], row3[token]);
        for i in 0..D {
            sum0[i] += a * head[i];
            sum1[i] += b * head[i];
            sum2[i] += c * head[i];
            sum3[i] += d * head[i];
        }
    }
    [sum0, sum1, sum2, sum3]
}

/// Adds to each token's head the four heads, weighted by the token's numbers.
#[inline(always)]
fn spread<const D: usize>(
    weights: &[f32],
    stride: usize,
    heads: &[[f32; D]; QUERIES],
    targets: &mut [[f32; D]],
) {
    let [row0, row1, row2, row3] = four(weights, stride, targets.len());
    let [head0, head1, head2, head3] = heads;
    for (token, target) in targets.iter_mut().enumerate() {
        let (a, b, c, d) = (row0[token], row1[token], row2[token], row3[token]);
        for i in 0..D {
            target[i] += a * head0[i] + b * head1[i] + c * head2[i] + d * head3[i];
        }
    }
}
