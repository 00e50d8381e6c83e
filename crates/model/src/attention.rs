//! Causal self-attention with grouped heads.

use burn::prelude::*;
use burn::tensor::activation::softmax;
use rein_kernels::{Heads, ops};

use crate::ModelError;
use crate::backend::LmBackend;
use crate::config::ModelConfig;
use crate::kv_cache::LayerCache;
use crate::linear::Linear;
use crate::lora::Adapter;
use crate::norm::Norm;
use crate::rotary::RotaryTables;
use crate::weights::WeightSource;

/// Is added to scores that attention must not see: finite, so that a pad that sees nothing gives a
/// useless number instead of a NaN.
pub(crate) const HIDDEN: f32 = -1e9;

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
    /// An adapter of queries, keys and values together, side by side, where files store them as one.
    pub adapter: Option<Adapter<B>>,
    head_dim: usize,
    n_kv_heads: usize,
}

/// What a forward pass knows about its tokens, the same for all layers.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings<B: Backend> {
    pub(crate) rotary: Option<RotaryTables<B>>,
    /// The heads, and which of these tokens each sees.
    pub(crate) heads: Heads,
    /// Where there is a cache: which of its columns each token sees.
    pub(crate) mask: Option<Mask<B>>,
}

/// What is added to the scores: 0, or [`HIDDEN`] where a token must not look.
#[derive(Clone, Debug)]
pub(crate) enum Mask<B: Backend> {
    /// The same for all rows, `[1, time · keys]`.
    Shared(Tensor<B, 2>),
    /// One for each row, `[batch, 1, time · keys]`.
    PerRow(Tensor<B, 3>),
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
        let adapter = None;
        Ok(Self { query, key, value, output, query_norm, key_norm, adapter, head_dim, n_kv_heads })
    }

    /// # Shapes
    /// - `input`, returns: `[batch · time, hidden]`
    pub(crate) fn forward(
        &self,
        input: Tensor<B, 2>,
        around: &Surroundings<B>,
        cache: Option<&mut LayerCache<B>>,
    ) -> Tensor<B, 2> {
        let [query, key, value] = self.project(input);
        let query = self.placed(query, self.query_norm.as_ref(), around);
        let key = self.placed(key, self.key_norm.as_ref(), around);
        let mixed = match cache {
            None => ops::attention(query, key, value, &around.heads),
            Some(cache) => {
                let query = self.heads(query / (self.head_dim as f32).sqrt(), around);
                let (key, value) = (self.heads(key, around), self.heads(value, around));
                let (key, value) = cache.extend(key, value);
                attend(query, key, value, around)
            }
        };
        self.output.forward(mixed)
    }

    /// Queries, keys and values.
    fn project(&self, input: Tensor<B, 2>) -> [Tensor<B, 2>; 3] {
        let parts = [&self.query, &self.key, &self.value].map(|it| it.forward(input.clone()));
        match &self.adapter {
            Some(adapter) => add(parts, adapter.forward(input)),
            None => parts,
        }
    }

    /// Adds `sign` times the adapters to the weights.
    pub(crate) fn merge_adapters(&mut self, sign: f32) {
        let Self { query, key, value, output, adapter, .. } = self;
        if let Some(adapter) = adapter.take() {
            let deltas = side_by_side(adapter.product() * sign);
            let parts = [&mut *query, &mut *key, &mut *value].into_iter();
            parts.zip(deltas).for_each(|(part, delta)| part.add_to_weight(delta));
        }
        [query, key, value, output].into_iter().for_each(|it| it.merge_adapter(sign));
    }

    /// Normalised and rotated heads, `[batch · time, heads · head_dim]`.
    fn placed(
        &self,
        mut heads: Tensor<B, 2>,
        norm: Option<&Norm<B>>,
        around: &Surroundings<B>,
    ) -> Tensor<B, 2> {
        let [n_tokens, width] = heads.dims();
        if let Some(norm) = norm {
            let one_a_row = heads.reshape([n_tokens * width / self.head_dim, self.head_dim]);
            heads = norm.forward(one_a_row).reshape([n_tokens, width]);
        }
        if let Some(rotary) = &around.rotary {
            heads = rotary.rotate(heads);
        }
        heads
    }

    /// Heads by the key head they belong to, `[batch, kv_heads, heads / kv_heads, time, head_dim]`.
    /// Keys and values stand alone in their groups. A view: nothing is copied.
    fn heads(&self, placed: Tensor<B, 2>, around: &Surroundings<B>) -> Tensor<B, 5> {
        let n_shared = placed.dims()[1] / (self.n_kv_heads * self.head_dim);
        let Heads { n_batch, n_time, .. } = around.heads;
        let shape = [n_batch, n_time, self.n_kv_heads, n_shared, self.head_dim];
        placed.reshape(shape).permute([0, 2, 3, 1, 4])
    }
}

/// The thirds of a tensor along its last axis.
fn side_by_side<B: LmBackend>(whole: Tensor<B, 2>) -> [Tensor<B, 2>; 3] {
    let width = whole.dims()[1] / 3;
    [0, 1, 2].map(|third| whole.clone().narrow(1, third * width, width))
}

fn add<B: LmBackend>(parts: [Tensor<B, 2>; 3], sum: Tensor<B, 2>) -> [Tensor<B, 2>; 3] {
    let [query, key, value] = parts;
    let [to_query, to_key, to_value] = side_by_side(sum);
    [query + to_query, key + to_key, value + to_value]
}

/// `softmax(q kᵀ) v`, as `[batch · time, heads · head_dim]`; queries are divided by `√d` already.
/// Query heads that share a key head stand on an axis of their own, so that keys and values are
/// broadcast and never repeated.
fn attend<B: LmBackend>(
    query: Tensor<B, 5>,
    key: Tensor<B, 5>,
    value: Tensor<B, 5>,
    around: &Surroundings<B>,
) -> Tensor<B, 2> {
    let [n_batch, n_groups, n_shared, n_time, head_dim] = query.dims();
    let n_keys = key.dims()[3];
    let n_heads = n_groups * n_shared;
    let scores = hide(query.matmul(key.swap_dims(3, 4)), around);
    let scores = scores.reshape([n_batch * n_heads * n_time, n_keys]);
    let weights = softmax(scores, 1).reshape([n_batch, n_groups, n_shared, n_time, n_keys]);
    let mixed = weights.matmul(value).permute([0, 3, 1, 2, 4]);
    mixed.reshape([n_batch * n_time, n_heads * head_dim])
}

fn hide<B: LmBackend>(scores: Tensor<B, 5>, around: &Surroundings<B>) -> Tensor<B, 5> {
    let shape = scores.dims();
    let [n_batch, n_groups, n_shared, n_time, n_keys] = shape;
    let [n_heads, n_cells] = [n_groups * n_shared, n_time * n_keys];
    match &around.mask {
        Some(Mask::Shared(mask)) => {
            (scores.reshape([n_batch * n_heads, n_cells]) + mask.clone()).reshape(shape)
        }
        Some(Mask::PerRow(mask)) => {
            (scores.reshape([n_batch, n_heads, n_cells]) + mask.clone()).reshape(shape)
        }
        None => scores,
    }
}
