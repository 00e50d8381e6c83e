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
            row[seen.clone()].iter_mut().for_each(|score| *score = exp(*score - largest));
            let total = sum(&row[seen.clone()], |it| it);
            let share = if seen.is_empty() { 0.0 } else { 1.0 / total };
            row[seen.clone()].iter_mut().for_each(|weight| *weight *= share);
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
            let target = &mut of_query[token * width + offset..][..D];
            target.iter_mut().zip(mixed).for_each(|(to, it)| *to = it * head.scale);
        }
        spread(&slopes, stride, &queries, &mut key_grads[..n_keys]);
        spread(&weights, stride, &grads, &mut value_grads[..n_keys]);
    }
    for token in 0..n_time {
        let at = token * kv_width + kv_offset;
        let (keys, values) = (&mut of_key[at..at + D], &mut of_value[at..at + D]);
        keys.iter_mut().zip(&key_grads[token]).for_each(|(to, it)| *to += it);
        values.iter_mut().zip(&value_grads[token]).for_each(|(to, it)| *to += it);
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
        std::array::from_fn(|number| {
            let token = first + number;
            std::array::from_fn(|i| {
                let at = token * self.widths[0] + self.offsets[0] + i;
                if token < self.begins.len() { tensor[at] * scale } else { 0.0 }
            })
        })
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
        for first in (0..n_keys).step_by(LANES) {
            let mut tile = [[0.0; LANES]; QUERIES];
            for (i, row) in self.cells.chunks_exact(stride).enumerate() {
                let row: &[f32; LANES] = row[first..first + LANES].try_into().expect("whole lanes");
                for (tile, head) in tile.iter_mut().zip(heads) {
                    for (cell, number) in tile.iter_mut().zip(row) {
                        *cell += head[i] * number;
                    }
                }
            }
            for (number, tile) in tile.iter().enumerate() {
                products[number * stride + first..][..LANES].copy_from_slice(tile);
            }
        }
    }
}

/// The head of each token.
#[inline(always)]
fn gathered<const D: usize>(tensor: &[f32], width: usize, offset: usize) -> Vec<[f32; D]> {
    let rows = tensor.chunks_exact(width);
    rows.map(|row| std::array::from_fn(|i| row[offset + i])).collect()
}

/// Sums of heads, weighted by four rows of numbers.
#[inline(always)]
fn mix<const D: usize>(weights: &[f32], stride: usize, heads: &[[f32; D]]) -> [[f32; D]; QUERIES] {
    let rows: [&[f32]; QUERIES] =
        std::array::from_fn(|number| &weights[number * stride..][..heads.len()]);
    let mut sums = [[0.0; D]; QUERIES];
    for (token, head) in heads.iter().enumerate() {
        for (sums, row) in sums.iter_mut().zip(rows) {
            for (sum, number) in sums.iter_mut().zip(head) {
                *sum += row[token] * number;
            }
        }
    }
    sums
}

/// Adds to each token's head the four heads, weighted by the token's numbers.
#[inline(always)]
fn spread<const D: usize>(
    weights: &[f32],
    stride: usize,
    heads: &[[f32; D]; QUERIES],
    targets: &mut [[f32; D]],
) {
    let rows: [&[f32]; QUERIES] =
        std::array::from_fn(|number| &weights[number * stride..][..targets.len()]);
    for (token, target) in targets.iter_mut().enumerate() {
        for (row, head) in rows.iter().zip(heads) {
            for (cell, number) in target.iter_mut().zip(head) {
                *cell += row[token] * number;
            }
        }
    }
}
