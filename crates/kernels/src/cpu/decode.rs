//! Attention of one token to those before it, read where they are cached.
//!
//! Keys are stored so that 16 tokens are scored side by side, `[kv_heads, blocks, head_dim, 16]`;
//! values as they are mixed, `[kv_heads, capacity, head_dim]`.

use multiversion::multiversion;

use super::math::{exp, max, sum};

/// Tokens of a block of keys.
pub const BLOCK: usize = 16;

/// The shape of one layer's cache of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheShape {
    /// Heads of keys and values.
    pub n_kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Tokens that there is room for, a multiple of [`BLOCK`].
    pub capacity: usize,
}

impl CacheShape {
    /// Numbers of the keys, and of the values.
    pub fn len(self) -> usize {
        self.n_kv_heads * self.head_dim * self.capacity
    }

    /// Whether it has room for nothing.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Numbers of a head.
    fn head(self) -> usize {
        self.head_dim * self.capacity
    }
}

/// Puts one token's keys and values, `[kv_heads · head_dim]` each, at its place in the cache.
///
/// # Panics
/// A place beyond the capacity.
pub fn append(
    shape: CacheShape,
    place: usize,
    (keys, values): (&mut [f32], &mut [f32]),
    (key, value): (&[f32], &[f32]),
) {
    let CacheShape { head_dim, capacity, .. } = shape;
    assert!(place < capacity, "the cache has room for {capacity} tokens");
    let heads = keys.chunks_exact_mut(shape.head()).zip(values.chunks_exact_mut(shape.head()));
    let new = key.chunks_exact(head_dim).zip(value.chunks_exact(head_dim));
    for ((keys, values), (key, value)) in heads.zip(new) {
        let block = &mut keys[place / BLOCK * BLOCK * head_dim..][..BLOCK * head_dim];
        for (column, key) in block.chunks_exact_mut(BLOCK).zip(key) {
            column[place % BLOCK] = *key;
        }
        values[place * head_dim..][..head_dim].copy_from_slice(value);
    }
}

/// Copies the first `n_tokens` of one cache to another.
///
/// # Panics
/// More tokens than one of them has room for.
pub fn copy_prefix(
    n_tokens: usize,
    (from, keys, values): (CacheShape, &[f32], &[f32]),
    (to, to_keys, to_values): (CacheShape, &mut [f32], &mut [f32]),
) {
    let n_keys = n_tokens.next_multiple_of(BLOCK) * from.head_dim;
    let n_values = n_tokens * from.head_dim;
    for head in 0..from.n_kv_heads {
        let (at, to_at) = (head * from.head(), head * to.head());
        to_keys[to_at..][..n_keys].copy_from_slice(&keys[at..][..n_keys]);
        to_values[to_at..][..n_values].copy_from_slice(&values[at..][..n_values]);
    }
}

/// `softmax(q kᵀ / √head_dim) v` of one token's heads, `[heads · head_dim]`, over the first `n_keys`
/// tokens of a cache. `weights` is room for numbers in between.
///
/// # Panics
/// More keys than there is room for.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma"))]
pub fn attend(
    shape: CacheShape,
    n_keys: usize,
    (keys, values): (&[f32], &[f32]),
    query: &[f32],
    weights: &mut Vec<f32>,
    output: &mut [f32],
) {
    let CacheShape { n_kv_heads, head_dim, .. } = shape;
    let scale = 1.0 / (head_dim as f32).sqrt();
    let n_padded = n_keys.next_multiple_of(BLOCK);
    weights.resize(n_padded, 0.0);
    let n_shared = query.len() / (n_kv_heads * head_dim);
    let heads = query.chunks_exact(head_dim).zip(output.chunks_exact_mut(head_dim));
    for (head, (query, output)) in heads.enumerate() {
        let at = head / n_shared * shape.head();
        score(query, &keys[at..][..n_padded * head_dim], weights);
        let weights = &mut weights[..n_keys];
        let largest = max(weights);
        for weight in weights.iter_mut() {
            *weight = exp((*weight - largest) * scale);
        }
        let share = 1.0 / sum(weights, |weight| weight);
        mix(weights, &values[at..][..n_keys * head_dim], output);
        for y in output.iter_mut() {
            *y *= share;
        }
    }
}

/// `q · k` for the keys of whole blocks.
#[inline(always)]
fn score(query: &[f32], keys: &[f32], scores: &mut [f32]) {
    let blocks = keys.chunks_exact(BLOCK * query.len());
    for (block, scores) in blocks.zip(scores.as_chunks_mut::<BLOCK>().0) {
        let mut even = [0.0; BLOCK];
        let mut odd = [0.0; BLOCK];
        let (columns, _) = block.as_chunks::<BLOCK>();
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
            scores[lane] = even[lane] + odd[lane];
        }
    }
}

/// `Σ wᵢ vᵢ`, as wide as the output.
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
    let mut sums = [0.0; W];
    for (weight, value) in weights.iter().zip(values.chunks(stride)) {
        let value: &[f32; W] = value.first_chunk().expect("values are as wide as the output");
        for (sum, value) in sums.iter_mut().zip(value) {
            *sum += weight * value;
        }
    }
    output[..W].copy_from_slice(&sums);
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
            let shape = CacheShape { n_kv_heads: 2, head_dim, capacity: 48 };
            let width = 2 * head_dim;
            let [mut keys, mut values] = [vec![0.0; shape.len()], vec![0.0; shape.len()]];
            let all: Vec<f32> = (0..2 * width * n_keys).map(number).collect();
            let tokens: Vec<(&[f32], &[f32])> =
                all.chunks_exact(2 * width).map(|token| token.split_at(width)).collect();
            for (place, token) in tokens.iter().enumerate() {
                append(shape, place, (&mut keys, &mut values), *token);
            }
            let query: Vec<f32> = (0..2 * width).map(|i| number(i + 7)).collect();
            let mut output = vec![0.0; 2 * width];
            attend(shape, n_keys, (&keys, &values), &query, &mut Vec::new(), &mut output);
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

    #[test]
    fn a_copied_prefix_is_attended_to_in_the_same_way() {
        let shape = CacheShape { n_kv_heads: 1, head_dim: 4, capacity: 32 };
        let wide = CacheShape { capacity: 64, ..shape };
        let [keys, values]: [Vec<f32>; 2] =
            [3, 5].map(|salt| (0..shape.len()).map(|i| number(i + salt)).collect());
        let [mut to_keys, mut to_values] = [vec![0.0; wide.len()], vec![0.0; wide.len()]];
        copy_prefix(19, (shape, &keys, &values), (wide, &mut to_keys, &mut to_values));
        let query = [0.5, -0.25, 1.0, 2.0];
        let [mut one, mut other] = [[0.0; 4]; 2];
        attend(shape, 19, (&keys, &values), &query, &mut Vec::new(), &mut one);
        attend(wide, 19, (&to_keys, &to_values), &query, &mut Vec::new(), &mut other);
        assert_eq!(one, other);
    }
}
