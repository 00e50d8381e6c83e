//! The operations on tensors, differentiable where the backend has a tape.

use burn::prelude::*;

use crate::composed::{primitive, tensor};
use crate::kernels::Kernels;
use crate::settings::{AdamW, Gelu, HeadLayout, Heads, Precision};

/// The rows of a table with these ids.
///
/// # Shapes
/// - `table`: `[entries, width]`
/// - `ids`: `[tokens]`
/// - returns: `[tokens, width]`
pub fn embed<B: Kernels>(table: Tensor<B, 2>, ids: Tensor<B, 1, Int>) -> Tensor<B, 2> {
    tensor(B::embed(primitive(table), ids.into_primitive()))
}

/// Without a bias `x / √(mean(x²) + ε) · w` (Zhang and Sennrich, 2019), with one
/// `(x − mean) / √(var + ε) · w + b` (Ba et al., 2016), of each row.
///
/// # Shapes
/// - `input`, returns: `[rows, width]`
/// - `weight`, `bias`: `[width]`
pub fn norm<B: Kernels>(
    input: Tensor<B, 2>,
    weight: Tensor<B, 1>,
    bias: Option<Tensor<B, 1>>,
    eps: f32,
) -> Tensor<B, 2> {
    tensor(B::norm(primitive(input), primitive(weight), bias.map(primitive), eps))
}

/// Rotates the pairs `(x_i, x_{i + pairs})` of each head (Su et al., 2021); what lies beyond twice
/// the pairs passes.
///
/// # Shapes
/// - `heads`, returns: `[tokens, heads · head_dim]`
/// - `cos`, `sin`: `[tokens, pairs]`; nothing flows back into them
pub fn rotate<B: Kernels>(
    heads: Tensor<B, 2>,
    [cos, sin]: [Tensor<B, 2>; 2],
    head_dim: usize,
) -> Tensor<B, 2> {
    tensor(B::rotate(primitive(heads), [primitive(cos), primitive(sin)], head_dim, false))
}

/// `gate · σ(gate) · up` (Shazeer, 2020), number by number.
pub fn swiglu<B: Kernels>(gate: Tensor<B, 2>, up: Tensor<B, 2>) -> Tensor<B, 2> {
    tensor(B::swiglu(primitive(gate), primitive(up)))
}

/// The Gaussian error linear unit, number by number.
pub fn gelu<B: Kernels>(input: Tensor<B, 2>, kind: Gelu) -> Tensor<B, 2> {
    tensor(B::gelu_unit(primitive(input), kind))
}

/// `x W + b`, and gradients through it, with factors of this precision.
///
/// # Shapes
/// - `input`: `[rows, in]`
/// - `weight`: `[in, out]`, `bias`: `[out]`
/// - returns: `[rows, out]`
pub fn linear<B: Kernels>(
    input: Tensor<B, 2>,
    weight: Tensor<B, 2>,
    bias: Option<Tensor<B, 1>>,
    precision: Precision,
) -> Tensor<B, 2> {
    tensor(B::project(primitive(input), primitive(weight), bias.map(primitive), precision))
}

/// Causal self-attention, `softmax(q kᵀ / √d) v` (Vaswani et al., 2017), with grouped heads
/// (Ainslie et al., 2023).
///
/// # Shapes
/// - `query`, returns: `[batch · time, heads · head_dim]`
/// - `key`, `value`: `[batch · time, kv_heads · head_dim]`
pub fn attention<B: Kernels>(
    query: Tensor<B, 2>,
    key: Tensor<B, 2>,
    value: Tensor<B, 2>,
    heads: &Heads,
) -> Tensor<B, 2> {
    tensor(B::causal_attention([primitive(query), primitive(key), primitive(value)], heads).0)
}

/// What `softmax(h W / temperature)` says about tokens; no tensor of `[tokens, vocabulary]` is kept.
#[derive(Clone, Debug)]
pub struct TokenStats<B: Backend> {
    /// `log p_target` in nats, `[tokens]`.
    pub logprobs: Tensor<B, 1>,
    /// `−Σ p log p` in nats, `[tokens]`.
    pub entropies: Tensor<B, 1>,
    /// The mean of `log p` over the vocabulary, `[tokens]`.
    pub mean_logprobs: Tensor<B, 1>,
    /// The most probable token, the first of several, as a number; nothing flows back through it.
    /// `[tokens]`
    pub best: Tensor<B, 1>,
}

/// The statistics of tokens' successors.
///
/// # Shapes
/// - `hidden`: `[tokens, width]`
/// - `head`: as its layout says
/// - `targets`: `[tokens]`
pub fn token_stats<B: Kernels>(
    hidden: Tensor<B, 2>,
    head: Tensor<B, 2>,
    targets: Tensor<B, 1, Int>,
    layout: HeadLayout,
) -> TokenStats<B> {
    let n_tokens = hidden.dims()[0];
    let (hidden, head) = (primitive(hidden), primitive(head));
    let (stats, _) = B::token_stats(hidden, head, targets.into_primitive(), layout);
    let stats = tensor::<B, 2>(stats);
    let column = |column| stats.clone().narrow(1, column, 1).reshape([n_tokens]);
    let [logprobs, entropies, mean_logprobs, best] = [0, 1, 2, 3].map(column);
    TokenStats { logprobs, entropies, mean_logprobs, best }
}

/// Weights and moments after one step of AdamW (Loshchilov and Hutter, 2019), in place where nobody
/// else holds them. Moments are f32 or, both of them, bf16, and remain what they are.
///
/// # Shapes
/// - all: `[numbers]`
pub fn adamw<B: Kernels>(
    weights: Tensor<B, 1>,
    grad: Tensor<B, 1>,
    [first, second]: [Tensor<B, 1>; 2],
    step: &AdamW,
) -> (Tensor<B, 1>, [Tensor<B, 1>; 2]) {
    let moments = [primitive(first), primitive(second)];
    let (weights, moments) = B::adamw(primitive(weights), primitive(grad), moments, step);
    (tensor(weights), moments.map(tensor))
}

/// `Σ x²`, `[1]`.
pub fn sum_of_squares<B: Kernels>(values: Tensor<B, 1>) -> Tensor<B, 1> {
    tensor(B::sum_of_squares(primitive(values)))
}
