//! What a model thinks of given tokens.

use burn::prelude::*;

use crate::CausalLm;
use crate::backend::LmBackend;
use crate::tokens::TokenBatch;

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

/// Logits over the tokens that begin at column `first` of each row, and those tokens.
///
/// # Shapes
/// - returns: `[batch · (time − first), vocab]` and `[batch · (time − first)]`
pub fn completion_logits<B: LmBackend>(
    model: &CausalLm<B>,
    batch: &TokenBatch<B>,
    first: usize,
    temperature: f32,
) -> (Tensor<B, 2>, Tensor<B, 1, Int>) {
    assert!(first > 0, "nothing predicts the first token of a row");
    let [n_batch, n_time] = batch.dims();
    let n_tokens = n_time - first;
    let hidden = model.hidden(batch).narrow(1, first - 1, n_tokens);
    let hidden = hidden.reshape([n_batch * n_tokens, model.config().hidden_size]);
    let logits = model.logits(hidden);
    let targets = batch.ids.clone().narrow(1, first, n_tokens).reshape([n_batch * n_tokens]);
    (if temperature == 1.0 { logits } else { logits / temperature }, targets)
}

/// Log-probabilities of the tokens that begin at column `first`, `[batch, time − first]`. Those of
/// pads mean nothing.
pub fn completion_logprobs<B: LmBackend>(
    model: &CausalLm<B>,
    batch: &TokenBatch<B>,
    first: usize,
    temperature: f32,
) -> Tensor<B, 2> {
    let [n_batch, n_time] = batch.dims();
    let (logits, targets) = completion_logits(model, batch, first, temperature);
    token_logprobs(logits, targets).reshape([n_batch, n_time - first])
}

/// `log Σ_v exp(logit_v)`, `[rows, 1]`. The largest logit is taken out first, so nothing overflows.
fn log_sum_exp<B: LmBackend>(logits: Tensor<B, 2>) -> Tensor<B, 2> {
    let largest = logits.clone().detach().max_dim(1);
    (logits - largest.clone()).exp().sum_dim(1).log() + largest
}
