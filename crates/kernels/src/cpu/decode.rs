//! Attention of one token to those before it, read where they are cached.
//!
//! A cache is a list of blocks of 16 tokens, so that it is read from front to back: keys so that the
//! tokens of a block are scored side by side, `[blocks, kv_heads, head_dim, 16]`, values as they are
//! mixed, `[blocks, kv_heads, 16, head_dim]`.

use multiversion::multiversion;

use super::math::{exp, max, sum};

/// Tokens of a block.
pub const BLOCK: usize = 16;

/// The heads of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheHeads {
    /// Heads of keys and values.
    pub n_kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
}

impl CacheHeads {
    /// Numbers of the keys, and of the values, of this many tokens.
    pub fn n_numbers(self, n_tokens: usize) -> usize {
        n_tokens.div_ceil(BLOCK) * self.block()
    }

    fn block(self) -> usize {
        self.n_kv_heads * self.head_dim * BLOCK
    }
}

/// Puts one token's keys and values, `[kv_heads · head_dim]` each, at its place in the cache.
///
/// # Panics
/// A place beyond the cache's end.
pub fn append(
    heads: CacheHeads,
    place: usize,
    (keys, values): (&mut [f32], &mut [f32]),
    (key, value): (&[f32], &[f32]),
) {
    let CacheHeads { head_dim, .. } = heads;
    let at = place / BLOCK * heads.block()..(place / BLOCK + 1) * heads.block();
    let column = place % BLOCK;
    let new = key.chunks_exact(head_dim).zip(value.chunks_exact(head_dim));
    let keys = keys[at.clone()].chunks_exact_mut(head_dim * BLOCK);
    let values = values[at].chunks_exact_mut(head_dim * BLOCK);
    for ((keys, values), (key, value)) in keys.zip(values).zip(new) {
        for (columns, key) in keys.chunks_exact_mut(BLOCK).zip(key) {
            columns[column] = *key;
        }
        values[column * head_dim..][..head_dim].copy_from_slice(value);
    }
}

/// `softmax(q kᵀ / √head_dim) v` of one token's heads, `[heads · head_dim]`, over the first `n_keys`
/// tokens of a cache. `room` is for numbers in between.
///
/// # Panics
/// More keys than the cache holds.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma"))]
pub fn attend(
    heads: CacheHeads,
    n_keys: usize,
    (keys, values): (&[f32], &[f32]),
    query: &[f32],
    room: &mut Vec<f32>,
    output: &mut [f32],
) {
    let CacheHeads { n_kv_heads, head_dim } = heads;
    let n_blocks = n_keys.div_ceil(BLOCK);
    let n_shared = query.len() / (n_kv_heads * head_dim);
    let (n_padded, n_used) = (n_blocks * BLOCK, n_blocks * heads.block());
    let n_room = query.len() / head_dim * n_padded;
    room.resize(n_room.max(room.len()), 0.0);
    let weights = &mut room[..n_room];
    for (place, keys) in keys[..n_used].chunks_exact(head_dim * BLOCK).enumerate() {
        let (block, group) = (place / n_kv_heads, place % n_kv_heads);
        for head in group * n_shared..(group + 1) * n_shared {
            let weights = &mut weights[head * n_padded + block * BLOCK..];
            let scores = weights.first_chunk_mut().expect("a block of weights");
            *scores = score(&query[head * head_dim..][..head_dim], keys);
        }
    }
    let scale = 1.0 / (head_dim as f32).sqrt();
    for weights in weights.chunks_exact_mut(n_padded) {
        softmax(&mut weights[..n_keys], scale);
    }
    output.fill(0.0);
    for (place, values) in values[..n_used].chunks_exact(head_dim * BLOCK).enumerate() {
        let (block, group) = (place / n_kv_heads, place % n_kv_heads);
        let n_tokens = BLOCK.min(n_keys - block * BLOCK);
        for head in group * n_shared..(group + 1) * n_shared {
            let weights = &weights[head * n_padded + block * BLOCK..][..n_tokens];
            mix(weights, values, &mut output[head * head_dim..][..head_dim]);
        }
    }
}

/// `q · k` for the keys of a block.
#[inline(always)]
fn score(query: &[f32], keys: &[f32]) -> [f32; BLOCK] {
    let mut even = [0.0; BLOCK];
    let mut odd = [0.0; BLOCK];
    let (columns, _) = keys.as_chunks::<BLOCK>();
    let (pairs, last) = query.as_chunks::<2>();
    let (column_pairs, last_column) = columns.as_chunks::<2>();
    for ([x, y], [first, second]) in pairs.iter().zip(column_pairs) {
        for lane in 0..BLOCK {
            even[lane] += x * first[lane];
            odd[lane] += y * second[lane];
        }
    }
    for (x, column) in last.iter().zip(last_column) {
        for lane in 0..BLOCK {
            even[lane] += x * column[lane];
        }
    }
    for lane in 0..BLOCK {
        even[lane] += odd[lane];
    }
    even
}

/// `softmax(scale · x)`, in place.
#[inline(always)]
fn softmax(scores: &mut [f32], scale: f32) {
    let largest = max(scores);
    for score in scores.iter_mut() {
        *score = exp((*score - largest) * scale);
    }
    let share = 1.0 / sum(scores, |weight| weight);
    for weight in scores.iter_mut() {
        *weight *= share;
    }
}

/// `y += Σ wᵢ vᵢ`, with the tokens of a block.
#[inline(always)]
fn mix(weights: &[f32], values: &[f32], output: &mut [f32]) {
    let stride = output.len();
    let mut first = 0;
    while first < stride {
        let (values, output) = (&values[first..], &mut output[first..]);
        first += match output.len() {
            64.. => mix_columns::<64>(weights, values, stride, output),
            32.. => mix_columns::<32>(weights, values, stride, output),
            16.. => mix_columns::<16>(weights, values, stride, output),
            8.. => mix_columns::<8>(weights, values, stride, output),
            _ => mix_columns::<1>(weights, values, stride, output),
        };
    }
}

/// The first `W` columns of [`mix`]; says how many they are.
#[inline(always)]
fn mix_columns<const W: usize>(
    weights: &[f32],
    values: &[f32],
    stride: usize,
    output: &mut [f32],
) -> usize {
    let output: &mut [f32; W] = output.first_chunk_mut().expect("the output is as wide");
    let mut sums = *output;
    for (weight, value) in weights.iter().zip(values.chunks(stride)) {
        let value: &[f32; W] = value.first_chunk().expect("values are as wide as the output");
        for (sum, value) in sums.iter_mut().zip(value) {
            *sum += weight * value;
        }
    }
    *output = sums;
    W
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(i: usize) -> f32 {
        ((i * 29) % 53) as f32 / 26.0 - 1.0
    }

    #[test]
    fn grouped_heads_are_mixed_by_the_softmax_of_their_scores() {
        for (head_dim, n_keys) in [(8, 1), (8, 33), (20, 16), (64, 5), (100, 18), (5, 40)] {
            let heads = CacheHeads { n_kv_heads: 2, head_dim };
            let width = 2 * head_dim;
            let [mut keys, mut values] =
                [vec![0.0; heads.n_numbers(48)], vec![0.0; heads.n_numbers(48)]];
            let all: Vec<f32> = (0..2 * width * n_keys).map(number).collect();
            let tokens: Vec<(&[f32], &[f32])> =
                all.chunks_exact(2 * width).map(|token| token.split_at(width)).collect();
            for (place, token) in tokens.iter().enumerate() {
                append(heads, place, (&mut keys, &mut values), *token);
            }
            let query: Vec<f32> = (0..2 * width).map(|i| number(i + 7)).collect();
            let mut output = vec![0.0; 2 * width];
            attend(heads, n_keys, (&keys, &values), &query, &mut Vec::new(), &mut output);
            for head in 0..4 {
                let at = head / 2 * head_dim..(head / 2 + 1) * head_dim;
                let query = &query[head * head_dim..][..head_dim];
                let score = |key: &[f32]| {
                    let dot: f32 = query.iter().zip(key).map(|(q, k)| q * k).sum();
                    f64::from(dot / (head_dim as f32).sqrt()).exp()
                };
                let weights: Vec<f64> =
                    tokens.iter().map(|(key, _)| score(&key[at.clone()])).collect();
                let total: f64 = weights.iter().sum();
                for column in 0..head_dim {
                    let mixed = weights.iter().zip(&tokens).map(|(weight, (_, value))| {
                        weight / total * f64::from(value[at.start + column])
                    });
                    let (want, got) = (mixed.sum::<f64>(), output[head * head_dim + column]);
                    assert!((want - f64::from(got)).abs() < 1e-5, "{want} and {got}");
                }
            }
        }
    }
}
