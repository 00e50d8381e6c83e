use rein_kernels::cpu::decode::{self, BLOCK, CacheShape};

use super::weights::HeadShape;

/// Keys and values of one row, all layers.
#[derive(Debug)]
pub(super) struct RowCache {
    /// The tokens whose keys and values are there.
    pub(super) tokens: Vec<u32>,
    shape: CacheShape,
    /// Keys, then values, of each layer.
    data: Vec<f32>,
}

impl RowCache {
    /// An empty cache with room for this many tokens.
    pub(super) fn new(n_layers: usize, heads: HeadShape, n_tokens: usize) -> Self {
        let HeadShape { n_kv_heads, head_dim, .. } = heads;
        let shape = CacheShape { n_kv_heads, head_dim, capacity: n_tokens.next_multiple_of(BLOCK) };
        // Pages that are never written cost nothing.
        Self { tokens: Vec::new(), shape, data: vec![0.0; n_layers * 2 * shape.len()] }
    }

    /// Tokens that there is room for.
    pub(super) fn capacity(&self) -> usize {
        self.shape.capacity
    }

    /// How many tokens at the beginning of `row` are there.
    pub(super) fn n_common(&self, row: &[u32]) -> usize {
        n_common(&self.tokens, row)
    }

    /// Takes over the first tokens of another row's cache.
    pub(super) fn copy_prefix(&mut self, other: &Self, n_tokens: usize) {
        self.tokens.clear();
        self.tokens.extend(&other.tokens[..n_tokens]);
        if n_tokens == 0 {
            return;
        }
        let layers = self.data.chunks_exact_mut(2 * self.shape.len());
        for (to, from) in layers.zip(other.data.chunks_exact(2 * other.shape.len())) {
            let (to_keys, to_values) = to.split_at_mut(self.shape.len());
            let (keys, values) = from.split_at(other.shape.len());
            let to = (self.shape, to_keys, to_values);
            decode::copy_prefix(n_tokens, (other.shape, keys, values), to);
        }
    }

    /// Puts a token's keys and values of one layer at its place.
    pub(super) fn append(&mut self, layer: usize, place: usize, key: &[f32], value: &[f32]) {
        let n = self.shape.len();
        let (keys, values) = self.data[layer * 2 * n..][..2 * n].split_at_mut(n);
        decode::append(self.shape, place, (keys, values), (key, value));
    }

    /// What the heads of a token see of the first `n_keys` tokens.
    pub(super) fn attend(
        &self,
        layer: usize,
        n_keys: usize,
        query: &[f32],
        room: &mut Vec<f32>,
        output: &mut [f32],
    ) {
        let n = self.shape.len();
        let cache = self.data[layer * 2 * n..][..2 * n].split_at(n);
        decode::attend(self.shape, n_keys, cache, query, room, output);
    }
}

/// How many tokens two rows have in common at their beginning.
pub(super) fn n_common(one: &[u32], other: &[u32]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}
