use burn::prelude::*;
use burn::tensor::ops::FloatTensor;

use super::{primitive, tensor};
use crate::kernels::AttentionSeen;
use crate::settings::Heads;

/// Is added to scores that attention must not see: finite, so that a pad that sees nothing gives a
/// useless number instead of a NaN.
const HIDDEN: f32 = -1e9;

/// [`Kernels::causal_attention`](crate::Kernels::causal_attention)
pub fn attention<B: Backend>(
    [query, key, value]: [FloatTensor<B>; 3],
    heads: &Heads,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let [query, key, value] = [query, key, value].map(|it| apart::<B>(tensor(it), heads));
    let scores = scores(query, key, heads);
    let largest = scores.clone().max_dim(4);
    let exponentials = (scores - largest.clone()).exp();
    let total = exponentials.clone().sum_dim(4);
    let output = (exponentials / total.clone()).matmul(value);
    (primitive(together(output, heads)), primitive(together(total.log() + largest, heads)))
}

/// [`Kernels::causal_attention_backward`](crate::Kernels::causal_attention_backward)
///
/// The weights are computed again from the logarithms: with `p` the weights and `g` the gradient,
/// `dv = pᵀ g` and `ds = p (g vᵀ − Σ g o)`.
pub fn attention_backward<B: Backend>(
    [query, key, value]: [FloatTensor<B>; 3],
    seen: AttentionSeen<B>,
    heads: &Heads,
) -> [FloatTensor<B>; 3] {
    let [query, key, value, output, grad] =
        [query, key, value, seen.output, seen.grad].map(|it| apart::<B>(tensor(it), heads));
    let logs = apart_by(tensor::<B, 2>(seen.logs), heads, 1);
    let weights = (scores(query.clone(), key.clone(), heads) - logs).exp();
    let mean = (grad.clone() * output).sum_dim(4);
    let slopes = grad.clone().matmul(value.swap_dims(3, 4)) - mean;
    let slopes = weights.clone() * slopes * heads.scale();
    let of_query = slopes.clone().matmul(key);
    // Heads that share keys and values add up.
    let of_key = slopes.swap_dims(3, 4).matmul(query).sum_dim(2);
    let of_value = weights.swap_dims(3, 4).matmul(grad).sum_dim(2);
    [of_query, of_key, of_value].map(|it| primitive(together(it, heads)))
}

/// Heads by the key head they belong to, `[batch, kv_heads, heads / kv_heads, time, head_dim]`. Keys
/// and values stand alone in their groups, so that they are broadcast and never repeated.
fn apart<B: Backend>(tokens: Tensor<B, 2>, heads: &Heads) -> Tensor<B, 5> {
    apart_by(tokens, heads, heads.head_dim)
}

fn apart_by<B: Backend>(tokens: Tensor<B, 2>, heads: &Heads, width: usize) -> Tensor<B, 5> {
    let n_shared = tokens.dims()[1] / (heads.n_kv_heads * width);
    let shape = [heads.n_batch, heads.n_time, heads.n_kv_heads, n_shared, width];
    tokens.reshape(shape).permute([0, 2, 3, 1, 4])
}

/// The reverse of [`apart`].
fn together<B: Backend>(parts: Tensor<B, 5>, heads: &Heads) -> Tensor<B, 2> {
    let [_, n_groups, n_shared, _, width] = parts.dims();
    let shape = [heads.n_batch * heads.n_time, n_groups * n_shared * width];
    parts.permute([0, 3, 1, 2, 4]).reshape(shape)
}

/// `q kᵀ / √d`, hidden where a token must not look.
fn scores<B: Backend>(query: Tensor<B, 5>, key: Tensor<B, 5>, heads: &Heads) -> Tensor<B, 5> {
    let device = query.device();
    let scores = (query * heads.scale()).matmul(key.swap_dims(3, 4));
    let Heads { n_batch, n_time, ref begins, .. } = *heads;
    let is_plain = begins.iter().all(|begin| *begin == 0);
    let n_rows = if is_plain { 1 } else { n_batch };
    let cells = mask_cells(&begins[..n_rows * n_time], n_time);
    let mask = TensorData::new(cells, [n_rows, 1, 1, n_time, n_time]);
    scores + Tensor::from_data(mask, &device)
}

/// Each token sees its row up to itself, and nothing else.
fn mask_cells(begins: &[usize], n_time: usize) -> Vec<f32> {
    let mut cells = vec![HIDDEN; begins.len() * n_time];
    let queries = (0..n_time).cycle();
    for ((begin, query), keys) in begins.iter().zip(queries).zip(cells.chunks_exact_mut(n_time)) {
        // A pad on the left lies before the row's beginning.
        if *begin <= query {
            keys[*begin..=query].fill(0.0);
        }
    }
    cells
}
