//! Causal self-attention with grouped heads.

use burn::prelude::*;
use burn::tensor::activation::softmax;

use crate::ModelError;
use crate::backend::LmBackend;
use crate::config::ModelConfig;
use crate::kv_cache::LayerCache;
use crate::linear::Linear;
use crate::norm::Norm;
use crate::rotary::RotaryTables;
use crate::weights::WeightSource;

/// Scores that attention must not see become this before the softmax: finite, so that a pad that
/// sees nothing gives a useless number instead of a NaN.
const HIDDEN: f32 = -1e9;

/// Causal self-attention (Vaswani et al., 2017) with grouped key-value heads (Ainslie et al., 2023).
#[derive(Module, Debug)]
pub struct Attention<B: Backend> {
    /// `[hidden, heads · head_dim]`
    pub query: Linear<B>,
    /// `[hidden, kv_heads · head_dim]`
    pub key: Linear<B>,
    /// `[hidden, kv_heads · head_dim]`
    pub value: Linear<B>,
    /// `[heads · head_dim, hidden]`
    pub output: Linear<B>,
    /// Per-head normalisation of queries (Qwen 3).
    pub query_norm: Option<Norm<B>>,
    /// Per-head normalisation of keys.
    pub key_norm: Option<Norm<B>>,
    head_dim: usize,
}

/// What a forward pass knows about its tokens, the same for all layers.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings<B: Backend> {
    pub(crate) rotary: Option<RotaryTables<B>>,
    /// `[batch or 1, 1, time, past + time]`, true where a token must not look.
    pub(crate) hidden: Option<Tensor<B, 4, Bool>>,
    pub(crate) n_batch: usize,
    pub(crate) n_time: usize,
}

impl<B: LmBackend> Attention<B> {
    pub(crate) fn new(
        config: &ModelConfig,
        source: &mut dyn WeightSource,
        name: &str,
        device: &B::Device,
    ) -> Result<Self, ModelError> {
        let ModelConfig { hidden_size, n_heads, n_kv_heads, head_dim, biases, .. } = *config;
        let mut linear = |part: &str, shape, bias| {
            Linear::new(source, &format!("{name}.{part}"), shape, bias, device)
        };
        let query = linear("query", [hidden_size, n_heads * head_dim], biases.qkv)?;
        let key = linear("key", [hidden_size, n_kv_heads * head_dim], biases.qkv)?;
        let value = linear("value", [hidden_size, n_kv_heads * head_dim], biases.qkv)?;
        let output = linear("output", [n_heads * head_dim, hidden_size], biases.output)?;
        let mut norm = |part: &str| {
            let name = format!("{name}.{part}");
            config.qk_norm.then(|| Norm::new(config, source, &name, head_dim, device)).transpose()
        };
        let (query_norm, key_norm) = (norm("query_norm")?, norm("key_norm")?);
        Ok(Self { query, key, value, output, query_norm, key_norm, head_dim })
    }

    /// # Shapes
    /// - `input`, returns: `[batch · time, hidden]`
    pub(crate) fn forward(
        &self,
        input: Tensor<B, 2>,
        around: &Surroundings<B>,
        cache: Option<&mut LayerCache<B>>,
    ) -> Tensor<B, 2> {
        let query = self.heads(&self.query, self.query_norm.as_ref(), input.clone(), around);
        let key = self.heads(&self.key, self.key_norm.as_ref(), input.clone(), around);
        let value = split_heads(self.value.forward(input), self.head_dim, around).swap_dims(1, 2);
        let (key, value) = match cache {
            Some(cache) => cache.extend(key, value),
            None => (key, value),
        };
        self.output.forward(attend(query, key, value, around))
    }

    /// Projected, normalised and rotated heads, `[batch, heads, time, head_dim]`.
    fn heads(
        &self,
        linear: &Linear<B>,
        norm: Option<&Norm<B>>,
        input: Tensor<B, 2>,
        around: &Surroundings<B>,
    ) -> Tensor<B, 4> {
        let mut heads = split_heads(linear.forward(input), self.head_dim, around);
        if let Some(norm) = norm {
            heads = norm.forward(heads);
        }
        if let Some(rotary) = &around.rotary {
            heads = rotary.rotate(heads);
        }
        heads.swap_dims(1, 2)
    }
}

fn split_heads<B: LmBackend>(
    projected: Tensor<B, 2>,
    head_dim: usize,
    around: &Surroundings<B>,
) -> Tensor<B, 4> {
    let n_heads = projected.dims()[1] / head_dim;
    projected.reshape([around.n_batch, around.n_time, n_heads, head_dim])
}

/// `softmax(q kᵀ / √d) v`. The query heads that share a key head are stacked along time, so that
/// keys and values are never repeated.
fn attend<B: LmBackend>(
    query: Tensor<B, 4>,
    key: Tensor<B, 4>,
    value: Tensor<B, 4>,
    around: &Surroundings<B>,
) -> Tensor<B, 2> {
    let [n_batch, n_heads, n_time, head_dim] = query.dims();
    let [_, n_kv_heads, n_keys, _] = key.dims();
    let stacked = [n_batch, n_kv_heads, n_heads / n_kv_heads * n_time, head_dim];
    let query = (query / (head_dim as f32).sqrt()).reshape(stacked);
    let mut scores = query.matmul(key.swap_dims(2, 3));
    if let Some(hidden) = &around.hidden {
        let shape = [n_batch, n_heads, n_time, n_keys];
        scores = scores.reshape(shape).mask_fill(hidden.clone().expand(shape), HIDDEN);
        scores = scores.reshape([n_batch, n_kv_heads, stacked[2], n_keys]);
    }
    let mixed = softmax(scores, 3).matmul(value).reshape([n_batch, n_heads, n_time, head_dim]);
    mixed.swap_dims(1, 2).reshape([n_batch * n_time, n_heads * head_dim])
}
