//! What a model thinks of given tokens.

use burn::prelude::*;
use rein_data::encoding::TokenRow;

use crate::CausalLm;
use crate::backend::LmBackend;
use crate::tokens::{LearnedTokens, host, indices};

/// `log softmax(logits)[target]`
///
/// # Shapes
/// - `logits`: `[rows, vocab]`, already divided by the temperature
/// - `targets`, returns: `[rows]`; in nats
pub fn token_logprobs<B: LmBackend>(
    logits: Tensor<B, 2>,
    targets: Tensor<B, 1, Int>,
) -> Tensor<B, 1> {
    let n_rows = logits.dims()[0];
    let chosen = logits.clone().gather(1, targets.reshape([n_rows, 1]));
    (chosen - log_sum_exp(logits)).reshape([n_rows])
}

/// `H = −Σ_v p_v log p_v` with `p = softmax(logits)`, computed as `log Σ exp z − Σ p z`.
///
/// # Shapes
/// - `logits`: `[rows, vocab]`, already divided by the temperature
/// - returns: `[rows]`; in nats
pub fn entropy<B: LmBackend>(logits: Tensor<B, 2>) -> Tensor<B, 1> {
    let n_rows = logits.dims()[0];
    let shifted = logits.clone() - logits.max_dim(1);
    let exponentials = shifted.clone().exp();
    let total = exponentials.clone().sum_dim(1);
    let mean = (exponentials * shifted).sum_dim(1) / total.clone();
    (total.log() - mean).reshape([n_rows])
}

/// Cross entropy with label smoothing (Szegedy et al., 2016):
/// `(1 − ε) (−log p_target) + ε mean_v(−log p_v)`, one number a row.
///
/// # Shapes
/// - `logits`: `[rows, vocab]`
/// - `targets`, returns: `[rows]`; in nats
pub fn cross_entropy<B: LmBackend>(
    logits: Tensor<B, 2>,
    targets: Tensor<B, 1, Int>,
    label_smoothing: f64,
) -> Tensor<B, 1> {
    let n_rows = logits.dims()[0];
    if label_smoothing == 0.0 {
        return token_logprobs(logits, targets).neg();
    }
    let uniform = (log_sum_exp(logits.clone()) - logits.clone().mean_dim(1)).reshape([n_rows]);
    token_logprobs(logits, targets).neg() * (1.0 - label_smoothing) + uniform * label_smoothing
}

/// Scores over the vocabulary where a token is learned, divided by the temperature,
/// `[tokens, vocab]`.
pub fn learned_logits<B: LmBackend>(
    model: &CausalLm<B>,
    learned: &LearnedTokens<B>,
    temperature: f32,
) -> Tensor<B, 2> {
    let [n_rows, n_time] = learned.batch.dims();
    let hidden =
        model.hidden(&learned.batch).reshape([n_rows * n_time, model.config().hidden_size]);
    let device = learned.batch.ids.device();
    let logits = model.logits(hidden.select(0, indices(&learned.before, &device)));
    if temperature == 1.0 { logits } else { logits / temperature }
}

/// Log-probabilities of the learned tokens of each row, in nats; computed a few rows at a time and
/// without a tape.
pub fn row_logprobs<B: LmBackend>(
    model: &CausalLm<B>,
    rows: &[&TokenRow],
    temperature: f32,
    micro_batch_rows: usize,
    device: &B::Device,
) -> Vec<Vec<f32>> {
    let micro_batches = rows.chunks(micro_batch_rows);
    micro_batches
        .flat_map(|rows| {
            let learned = LearnedTokens::new(rows, device);
            let logits = learned_logits(model, &learned, temperature);
            let flat = host(token_logprobs(logits, learned.targets));
            split(&flat, rows.iter().map(|row| row.n_learned()))
        })
        .collect()
}

/// Cuts a list into parts of these lengths.
pub fn split(flat: &[f32], lengths: impl Iterator<Item = usize>) -> Vec<Vec<f32>> {
    let mut rest = flat;
    lengths
        .map(|length| {
            let (row, after) = rest.split_at(length);
            rest = after;
            row.to_vec()
        })
        .collect()
}

/// `log Σ_v exp(logit_v)`, `[rows, 1]`. The largest logit is taken out first, so nothing overflows.
fn log_sum_exp<B: LmBackend>(logits: Tensor<B, 2>) -> Tensor<B, 2> {
    let largest = logits.clone().detach().max_dim(1);
    (logits - largest.clone()).exp().sum_dim(1).log() + largest
}
