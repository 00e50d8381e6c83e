//! What a model thinks of given tokens.

use burn::prelude::*;
use rein_data::encoding::TokenRow;
use rein_kernels::ops::TokenStats;

use crate::CausalLm;
use crate::backend::LmBackend;
use crate::tokens::{LearnedTokens, host, indices};

/// Cross entropy with label smoothing (Szegedy et al., 2016):
/// `(1 − ε) (−log p_target) + ε mean_v(−log p_v)`, in nats, `[tokens]`.
pub fn cross_entropy<B: LmBackend>(stats: &TokenStats<B>, label_smoothing: f64) -> Tensor<B, 1> {
    let losses = stats.logprobs.clone().neg();
    if label_smoothing == 0.0 {
        return losses;
    }
    losses * (1.0 - label_smoothing) - stats.mean_logprobs.clone() * label_smoothing
}

/// What a model gives to the learned tokens, its scores divided by the temperature.
pub fn learned_stats<B: LmBackend>(
    model: &CausalLm<B>,
    learned: &LearnedTokens<B>,
    temperature: f32,
) -> TokenStats<B> {
    model.token_stats(learned_hidden(model, learned), learned.targets.clone(), temperature)
}

/// A model's scores where it predicts the learned tokens, divided by the temperature, `[tokens, vocab]`:
/// for what needs the whole distribution, a few rows at a time.
pub fn learned_logits<B: LmBackend>(
    model: &CausalLm<B>,
    learned: &LearnedTokens<B>,
    temperature: f32,
) -> Tensor<B, 2> {
    model.logits(learned_hidden(model, learned)) / temperature
}

/// A model's hidden states where it predicts the learned tokens, `[tokens, hidden]`.
pub fn learned_hidden<B: LmBackend>(
    model: &CausalLm<B>,
    learned: &LearnedTokens<B>,
) -> Tensor<B, 2> {
    hidden_at(&hidden_cells(model, learned), &learned.before)
}

/// Hidden states of all cells of a batch, `[batch · time, hidden]`.
pub fn hidden_cells<B: LmBackend>(model: &CausalLm<B>, learned: &LearnedTokens<B>) -> Tensor<B, 2> {
    let [n_rows, n_time] = learned.batch.dims();
    model.hidden(&learned.batch).reshape([n_rows * n_time, model.config().hidden_size])
}

/// Some of them.
pub fn hidden_at<B: LmBackend>(hidden: &Tensor<B, 2>, cells: &[usize]) -> Tensor<B, 2> {
    hidden.clone().select(0, indices(cells, &hidden.device()))
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
            let flat = host(learned_stats(model, &learned, temperature).logprobs);
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
