use rein_kernels::cpu::decode::{self, CacheHeads};

/// Keys and values of one row, all layers.
#[derive(Debug)]
pub(super) struct RowCache {
    /// The tokens whose keys and values are there.
    pub(super) tokens: Vec<u32>,
    heads: CacheHeads,
    /// Numbers of a layer's keys, and of its values.
    n_numbers: usize,
    /// Keys, then values, of each layer.
    data: Vec<f32>,
}

impl RowCache {
    /// An empty cache with room for this many tokens.
    pub(super) fn new(n_layers: usize, heads: CacheHeads, n_tokens: usize) -> Self {
        let n_numbers = heads.n_numbers(n_tokens);
        // Pages that are never written cost nothing.
        Self { tokens: Vec::new(), heads, n_numbers, data: vec![0.0; n_layers * 2 * n_numbers] }
    }

    /// Whether there is room for this many tokens.
    pub(super) fn has_room(&self, n_tokens: usize) -> bool {
        self.heads.n_numbers(n_tokens) <= self.n_numbers
    }

    /// How many tokens at the beginning of `row` are there.
    pub(super) fn n_common(&self, row: &[u32]) -> usize {
        n_common(&self.tokens, row)
    }

    /// Takes over the first tokens of another row's cache.
    pub(super) fn copy_prefix(&mut self, other: &Self, n_tokens: usize) {
        self.tokens.clear();
        self.tokens.extend(&other.tokens[..n_tokens]);
        let n_copied = self.heads.n_numbers(n_tokens);
        if n_copied > 0 {
            let parts = self.data.chunks_exact_mut(self.n_numbers);
            for (to, from) in parts.zip(other.data.chunks_exact(other.n_numbers)) {
                to[..n_copied].copy_from_slice(&from[..n_copied]);
            }
        }
    }

    /// Puts a token's keys and values of one layer at its place.
    pub(super) fn append(&mut self, layer: usize, place: usize, key: &[f32], value: &[f32]) {
        let n = self.n_numbers;
        let cache = self.data[layer * 2 * n..][..2 * n].split_at_mut(n);
        decode::append(self.heads, place, cache, (key, value));
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
        let n = self.n_numbers;
        let cache = self.data[layer * 2 * n..][..2 * n].split_at(n);
        decode::attend(self.heads, n_keys, cache, query, room, output);
    }
}

/// How many tokens two rows have in common at their beginning.
pub(super) fn n_common(one: &[u32], other: &[u32]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}
