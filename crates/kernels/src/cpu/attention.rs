//! Causal self-attention of whole rows, a block of queries at a time: scores never exist for more.

use multiversion::multiversion;
use rayon::prelude::*;

use super::math::{dot, exp, max, sum};
use super::matmul::{Target, View, product_here};
use super::pieces::unwritten;
use super::small_heads;
use crate::Heads;

/// Queries whose scores exist at a time.
const BLOCK: usize = 64;

/// `softmax(q kᵀ / √d) v` of each head over the keys that its token sees, and the logarithms of the
/// sums of exponentials of the scores.
///
/// # Shapes
/// - `query`, returns: `[batch · time, heads · head_dim]`; `key`, `value`: as many key heads
/// - the logarithms: `[batch · time, heads]`
pub fn forward([query, key, value]: [&[f32]; 3], heads: &Heads) -> (Vec<f32>, Vec<f32>) {
    let (width, n_time) = (heads.query_width(), heads.n_time);
    let mut output = unwritten(query.len());
    let mut logs = unwritten(heads.n_batch * n_time * heads.n_heads);
    let rows = output.par_chunks_mut(n_time * width);
    let rows = rows.zip(logs.par_chunks_mut(n_time * heads.n_heads)).enumerate();
    rows.for_each(|(row, (output, logs))| {
        let row = Row::new([query, key, value], heads, row);
        if small_heads::goes_forward(heads.head_dim) {
            return row.forward_small(output, logs);
        }
        let mut scores = unwritten(BLOCK.min(n_time) * n_time);
        for head in 0..heads.n_heads {
            for block in row.blocks() {
                row.scores(head, &block, &mut scores);
                let logs = &mut logs[block.first * heads.n_heads + head..];
                softmax(&mut scores, &block, &row, logs);
                let target = &mut output[block.first * width + head * heads.head_dim..];
                let weights = block.view(&scores);
                product_here(weights, row.value(head, &block), 1.0, Target::write(target, width));
            }
        }
    });
    (output, logs)
}

/// What [`forward`] gave, and the gradient of its output.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The output.
    pub output: &'a [f32],
    /// The logarithms.
    pub logs: &'a [f32],
    /// The gradient of the output.
    pub grad: &'a [f32],
}

/// Gradients of queries, keys and values; the weights are computed again from the logarithms (Dao et
/// al., 2022).
pub fn backward(inputs: [&[f32]; 3], seen: Seen<'_>, heads: &Heads) -> [Vec<f32>; 3] {
    let [query, key, value] = inputs;
    let (width, kv_width, n_time) = (heads.query_width(), heads.key_width(), heads.n_time);
    let mut of_query = unwritten(query.len());
    let [mut of_key, mut of_value] = [vec![0.0; key.len()], vec![0.0; value.len()]];
    let rows = of_query.par_chunks_mut(n_time * width);
    let rows = rows.zip(of_key.par_chunks_mut(n_time * kv_width));
    let rows = rows.zip(of_value.par_chunks_mut(n_time * kv_width)).enumerate();
    rows.for_each(|(number, ((of_query, of_key), of_value))| {
        let row = Row::new(inputs, heads, number);
        let seen = seen.row(number, heads);
        if small_heads::goes_backward(heads.head_dim) {
            return row.backward_small(seen, [of_query, of_key, of_value]);
        }
        let n_scores = BLOCK.min(n_time) * n_time;
        let mut scratch = [unwritten(n_scores), unwritten(n_scores)];
        for head in 0..heads.n_heads {
            for block in row.blocks() {
                row.backward_block(
                    (head, &block),
                    seen,
                    &mut scratch,
                    [of_query, of_key, of_value],
                );
            }
        }
    });
    [of_query, of_key, of_value]
}

impl<'a> Seen<'a> {
    fn row(self, row: usize, heads: &Heads) -> Self {
        let of_row = |it: &'a [f32]| {
            let count = it.len() / heads.n_batch;
            &it[row * count..][..count]
        };
        let Self { output, logs, grad } = self;
        Self { output: of_row(output), logs: of_row(logs), grad: of_row(grad) }
    }
}

/// One row of the batch.
struct Row<'a> {
    heads: &'a Heads,
    query: &'a [f32],
    key: &'a [f32],
    value: &'a [f32],
    /// The first token that each token sees.
    begins: &'a [usize],
}

/// Some queries, one after the other, and the keys that any of them sees.
struct Block {
    first: usize,
    n_queries: usize,
    first_key: usize,
    n_keys: usize,
}

impl Block {
    fn view<'a>(&self, scores: &'a [f32]) -> View<'a> {
        View::new(scores, [self.n_queries, self.n_keys], self.n_keys)
    }
}

impl<'a> Row<'a> {
    fn new([query, key, value]: [&'a [f32]; 3], heads: &'a Heads, row: usize) -> Self {
        let of_row = |it: &'a [f32]| {
            let count = it.len() / heads.n_batch;
            &it[row * count..][..count]
        };
        let begins = &heads.begins[row * heads.n_time..][..heads.n_time];
        Self { heads, query: of_row(query), key: of_row(key), value: of_row(value), begins }
    }

    fn small(&self, head: usize) -> small_heads::Head<'a> {
        let Heads { head_dim, .. } = *self.heads;
        small_heads::Head {
            query: self.query,
            key: self.key,
            value: self.value,
            begins: self.begins,
            widths: [self.heads.query_width(), self.heads.key_width()],
            offsets: [head * head_dim, self.heads.key_head(head) * head_dim],
            head_dim,
            scale: self.heads.scale(),
        }
    }

    fn forward_small(&self, output: &mut [f32], logs: &mut [f32]) {
        let n_heads = self.heads.n_heads;
        let mut of_head = unwritten(self.heads.n_time);
        for head in 0..n_heads {
            small_heads::forward(self.small(head), output, &mut of_head);
            let logs = logs[head..].iter_mut().step_by(n_heads);
            logs.zip(&of_head).for_each(|(to, log)| *to = *log);
        }
    }

    fn backward_small(&self, seen: Seen<'_>, [of_query, of_key, of_value]: [&mut [f32]; 3]) {
        let Seen { output, logs, grad } = seen;
        let n_heads = self.heads.n_heads;
        for head in 0..n_heads {
            let logs: Vec<f32> = logs[head..].iter().step_by(n_heads).copied().collect();
            let seen = small_heads::Seen { output, grad, logs: &logs };
            small_heads::backward(self.small(head), seen, [of_query, of_key, of_value]);
        }
    }

    fn blocks(&self) -> impl Iterator<Item = Block> + use<'_> {
        (0..self.heads.n_time).step_by(BLOCK).map(|first| {
            let n_queries = BLOCK.min(self.heads.n_time - first);
            let begins = &self.begins[first..first + n_queries];
            let first_key = begins.iter().copied().min().unwrap_or(0).min(first);
            Block { first, n_queries, first_key, n_keys: first + n_queries - first_key }
        })
    }

    /// Some tokens of one head, `[tokens, head_dim]`.
    fn part(&self, tensor: &'a [f32], head: usize, first: usize, count: usize) -> View<'a> {
        let Heads { n_time, head_dim, .. } = *self.heads;
        let width = tensor.len() / n_time;
        let shape = [count, head_dim];
        View::new(&tensor[first * width + head * head_dim..], shape, width)
    }

    fn query(&self, head: usize, block: &Block) -> View<'a> {
        self.part(self.query, head, block.first, block.n_queries)
    }

    fn key(&self, head: usize, block: &Block) -> View<'a> {
        self.part(self.key, self.heads.key_head(head), block.first_key, block.n_keys)
    }

    fn value(&self, head: usize, block: &Block) -> View<'a> {
        self.part(self.value, self.heads.key_head(head), block.first_key, block.n_keys)
    }

    /// `q kᵀ / √d`
    fn scores(&self, head: usize, block: &Block, scores: &mut [f32]) {
        let keys = self.key(head, block).transposed();
        let target = Target::write(scores, block.n_keys);
        product_here(self.query(head, block), keys, self.heads.scale(), target);
    }

    fn backward_block(
        &self,
        (head, block): (usize, &Block),
        seen: Seen<'_>,
        [weights, slopes]: &mut [Vec<f32>; 2],
        [of_query, of_key, of_value]: [&mut [f32]; 3],
    ) {
        let head_dim = self.heads.head_dim;
        let (width, kv_width) = (self.heads.query_width(), self.heads.key_width());
        let at = block.first * width + head * head_dim;
        let kv_at = block.first_key * kv_width + self.heads.key_head(head) * head_dim;
        let grad = View::new(&seen.grad[at..], [block.n_queries, head_dim], width);
        self.scores(head, block, weights);
        let target = Target::write(slopes, block.n_keys);
        product_here(grad, self.value(head, block).transposed(), 1.0, target);
        slopes_of_scores((head, block), self, seen, weights, slopes);

        let into = Target::add(&mut of_value[kv_at..], kv_width);
        product_here(block.view(weights).transposed(), grad, 1.0, into);
        let (slopes, scale) = (block.view(slopes), self.heads.scale());
        let into = Target::add(&mut of_key[kv_at..], kv_width);
        product_here(slopes.transposed(), self.query(head, block), scale, into);
        let into = Target::write(&mut of_query[at..], width);
        product_here(slopes, self.key(head, block), scale, into);
    }
}

/// Turns scores into weights. What a token doesn't see gets 0; one that sees nothing has weights of 0.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma"))]
fn softmax(scores: &mut [f32], block: &Block, row: &Row<'_>, logs: &mut [f32]) {
    let scores = scores.chunks_exact_mut(block.n_keys).take(block.n_queries);
    let logs = logs.iter_mut().step_by(row.heads.n_heads);
    for ((number, scores), log) in scores.enumerate().zip(logs) {
        let (from, to) = visible(block, row, number);
        let (before, rest) = scores.split_at_mut(from);
        let (seen, after) = rest.split_at_mut(to - from);
        before.fill(0.0);
        after.fill(0.0);
        let largest = max(seen);
        for score in seen.iter_mut() {
            *score = exp(*score - largest);
        }
        let total = sum(seen, |it| it);
        for weight in seen.iter_mut() {
            *weight /= total;
        }
        *log = if seen.is_empty() { 0.0 } else { largest + total.ln() };
    }
}

/// Turns scores into weights and gradients of weights into gradients of scores, `w (dw − Σ w dw)`;
/// the sum is that of the output and its gradient.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma"))]
fn slopes_of_scores(
    (head, block): (usize, &Block),
    row: &Row<'_>,
    seen: Seen<'_>,
    weights: &mut [f32],
    slopes: &mut [f32],
) {
    let (n_keys, width, d) = (block.n_keys, row.heads.query_width(), row.heads.head_dim);
    let rows = weights.chunks_exact_mut(n_keys).zip(slopes.chunks_exact_mut(n_keys));
    for (number, (weights, slopes)) in rows.take(block.n_queries).enumerate() {
        let token = block.first + number;
        let at = token * width + head * d..token * width + (head + 1) * d;
        let mean = dot(&seen.grad[at.clone()], &seen.output[at]);
        let log = seen.logs[token * row.heads.n_heads + head];
        let (from, to) = visible(block, row, number);
        for part in [&mut *weights, &mut *slopes] {
            part[..from].fill(0.0);
            part[to..].fill(0.0);
        }
        let cells = weights[from..to].iter_mut().zip(&mut slopes[from..to]);
        for (weight, slope) in cells {
            *weight = exp(*weight - log);
            *slope = *weight * (*slope - mean);
        }
    }
}

/// The keys of a block that its query with this number sees.
#[inline(always)]
fn visible(block: &Block, row: &Row<'_>, number: usize) -> (usize, usize) {
    let token = block.first + number;
    let to = token + 1 - block.first_key;
    let from = row.begins[token].saturating_sub(block.first_key).min(to);
    (from, to)
}
