use rein_model::config::ModelConfig;

use super::FLOAT;

/// A forward pass that is trained on.
pub(super) struct Pass {
    pub(super) n_rows: usize,
    /// Tokens of the longest row.
    pub(super) n_time: usize,
    pub(super) has_logits: bool,
    /// Whether what is inside blocks is computed again.
    pub(super) recomputes: bool,
}

impl Pass {
    /// Bytes of what it keeps for its backward pass: some numbers of the residual stream's width and of
    /// the feed-forward layer's for each token and block, or what enters the blocks and one block's
    /// numbers at a time. Attention weights and logits exist for one layer at a time, and whole only on
    /// backends without kernels of their own.
    pub(super) fn kept(&self, model: &ModelConfig) -> u64 {
        let Self { n_rows, n_time, has_logits, recomputes } = *self;
        let of_block = 14 * model.hidden_size + 5 * model.mlp_size;
        let logits = if has_logits { 3 * model.vocab_size } else { 0 };
        let weights = 3 * model.n_heads * n_time;
        let per_token = if recomputes {
            // The head's backward is over before a block is computed again.
            model.n_layers * model.hidden_size + logits.max(of_block + weights)
        } else {
            model.n_layers * of_block + logits.max(weights)
        };
        (n_rows * n_time * per_token) as u64 * FLOAT
    }
}
