//! Fine-tuning as inverse reinforcement learning: logits that are values.
//!
//! A policy `π = softmax(Q)` with `Q` the logits has values `V(s) = log Σ_a exp Q(s, a)`, and the reward that it is
//! optimal for is `r(s, a) = Q(s, a) − γ V(s')`. Imitation leaves `V` free; IQ-Learn's regulariser
//! (Garg et al., 2021), for language models (Wulfmeier et al., 2024), keeps that reward small where experts
//! have been:
//!
//! `L = −E log π(a|s) + c E[(Q(s, a) − γ V(s'))²]`, `V = 0` after a row's last learned token
//!
//! The next state `s'` is where the next learned token is predicted: what others say between turns takes no
//! time. A row that was cut at its length limit ends there as if its last token were the end.

use burn::prelude::*;
use rein_kernels::ops;
use serde::{Deserialize, Serialize};

use crate::backend::LmBackend;

/// How much the regulariser counts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IqLearnConfig {
    /// What a squared reward costs, beside the cross entropy in nats (`c`).
    pub coefficient: f64,
    /// What the next value counts for (`γ`).
    pub gamma: f64,
}

impl Default for IqLearnConfig {
    fn default() -> Self {
        Self { coefficient: 0.1, gamma: 1.0 }
    }
}

impl IqLearnConfig {
    /// What is wrong with these settings, each with its key below `section`.
    pub fn problems(&self, section: &str) -> Vec<String> {
        let mut problems = Vec::new();
        if !(self.coefficient >= 0.0 && self.coefficient.is_finite()) {
            problems.push(format!("`{section}.coefficient` must be at least 0"));
        }
        if !(0.0..=1.0).contains(&self.gamma) {
            problems.push(format!("`{section}.gamma` must be within 0..=1"));
        }
        problems
    }
}

/// The reward that each learned token implies, `Q(s, a) − γ V(s')`.
///
/// # Shapes
/// - `chosen`: `[tokens]`, the logit `Q(s, a)` of each learned token, row by row
/// - `logprobs`: `[tokens]`, `log π(a|s)`, so that `V(s) = Q(s, a) − log π(a|s)`
/// - `lengths`: learned tokens of each row
/// - returns: `[tokens]`
///
/// # Panics
/// Lengths that don't add up to the tokens.
pub fn implied_rewards<B: LmBackend>(
    chosen: Tensor<B, 1>,
    logprobs: Tensor<B, 1>,
    lengths: &[usize],
    gamma: f64,
) -> Tensor<B, 1> {
    let [n_tokens] = chosen.dims();
    assert_eq!(lengths.iter().sum::<usize>(), n_tokens, "each token is of a row");
    if n_tokens < 2 {
        return chosen;
    }
    let device = chosen.device();
    let goes_on = lengths.iter().flat_map(|length| (1..=*length).map(move |it| it < *length));
    let goes_on: Vec<f32> = goes_on.map(|it| f32::from(u8::from(it))).collect();
    let goes_on = Tensor::<B, 1>::from_data(goes_on.as_slice(), &device);
    let values = chosen.clone() - logprobs;
    let end = Tensor::zeros([1], &device);
    let next = Tensor::cat(vec![values.narrow(0, 1, n_tokens - 1), end], 0);
    chosen - next * goes_on * gamma
}

/// The logits of given tokens alone, `h · w_target`; those of others are never computed.
///
/// # Shapes
/// - `hidden`: `[tokens, width]`
/// - `head`: `[vocab, width]` where it `is_tied`, else `[width, vocab]`
/// - `targets`, returns: `[tokens]`
pub fn chosen_logits<B: LmBackend>(
    hidden: Tensor<B, 2>,
    (head, is_tied): (Tensor<B, 2>, bool),
    targets: Tensor<B, 1, Int>,
) -> Tensor<B, 1> {
    let [n_tokens, _] = hidden.dims();
    let table = if is_tied { head } else { head.transpose() };
    (hidden * ops::embed(table, targets)).sum_dim(1).reshape([n_tokens])
}
