//! What can be learned from, and how a policy and its reference are asked about it.

use std::fmt::Debug;

use burn::prelude::*;
use rein_data::DataError;
use rein_data::encoding::TokenRow;
use rein_data::log::Metrics;
use rein_data::workers::Workers;
use rein_model::CausalLm;
use rein_model::backend::LmBackend;
use rein_model::logprobs::learned_hidden;
use rein_model::tokens::{LearnedTokens, indices};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::preference::config::DpoConfig;

/// What somebody said of completions: a [`Pair`](super::pairs::Pair) or a
/// [`Label`](super::labels::Label).
pub trait Judgement: Clone + Debug {
    /// What messages call it.
    const NAME: &'static str;
    /// Whether it compares two completions.
    const IS_PAIR: bool;
    /// What is written down of one.
    type Measured: Serialize + DeserializeOwned;

    /// The rows about whose completions the reference is asked.
    fn rows(&self) -> [&TokenRow; 2];

    /// Those of them that the policy learns from, the one that can be imitated first.
    fn learned(&self) -> Vec<&TokenRow>;

    /// The number that all losses of a batch share: KTO's reference point, in nats. Each worker asks the
    /// policy about its share.
    ///
    /// # Errors
    /// What another worker sent can't be read.
    fn reference_point<B: LmBackend>(
        _policy: &CausalLm<B>,
        _batch: &[Referred<'_, Self>],
        _micro_batch_rows: usize,
        _workers: &Workers,
        _device: &B::Device,
    ) -> Result<f64, DataError> {
        Ok(0.0)
    }

    /// Asks the policy about a part of a batch in one forward pass.
    fn judge<B: LmBackend>(
        policy: &CausalLm<B>,
        part: &[Referred<'_, Self>],
        whole: &Whole,
        config: &DpoConfig,
        device: &B::Device,
    ) -> Judged<B, Self::Measured>;

    /// The metrics of a whole batch under TRL's names, the loss among them.
    fn describe(
        seen: &[Self::Measured],
        whole: &Whole,
        config: &DpoConfig,
        prefix: &str,
    ) -> Metrics;
}

/// A judgement, and what the reference gives to the completions of its rows, in nats; 0 where there is no
/// reference.
#[derive(Debug)]
pub struct Referred<'a, J> {
    pub(super) judgement: &'a J,
    pub(super) reference: [f32; 2],
}

/// A copy is one of references, whatever is judged.
impl<J> Clone for Referred<'_, J> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<J> Copy for Referred<'_, J> {}

impl<'a, J> Referred<'a, J> {
    /// Judgements with what the reference gives to each.
    pub(super) fn all(judgements: &'a [J], references: &[[f32; 2]]) -> Vec<Self> {
        let each = judgements.iter().zip(references);
        each.map(|(judgement, &reference)| Self { judgement, reference }).collect()
    }
}

/// What the parts of a batch must know of the whole, so that their losses add up to its mean.
#[derive(Clone, Copy, Debug)]
pub struct Whole {
    pub(super) n_judgements: f64,
    /// Tokens of the completions that can be imitated.
    pub(super) n_imitated: f64,
    /// See [`Judgement::reference_point`].
    pub(super) reference_point: f64,
}

/// What a policy makes of a part of a batch.
#[derive(Debug)]
pub struct Judged<B: Backend, M> {
    /// The part's share of the batch's loss, `[1]`.
    pub(super) loss: Tensor<B, 1>,
    pub(super) seen: Vec<M>,
}

/// What a model gives to whole completions: sums over each row's learned tokens, `[rows]`.
pub(super) struct CompletionStats<B: Backend> {
    /// In nats.
    pub(super) logprobs: Tensor<B, 1>,
    /// In nats.
    pub(super) entropies: Tensor<B, 1>,
    /// Of the mean scores over the vocabulary.
    pub(super) logits: Tensor<B, 1>,
}

/// What a model gives to the completions of some rows.
pub(super) fn completion_stats<B: LmBackend>(
    model: &CausalLm<B>,
    rows: &[&TokenRow],
    device: &B::Device,
) -> CompletionStats<B> {
    let learned = LearnedTokens::new(rows, device);
    let hidden = learned_hidden(model, &learned);
    let stats = model.token_stats(hidden.clone(), learned.targets.clone(), 1.0);
    let lengths: Vec<usize> = rows.iter().map(|row| row.n_learned()).collect();
    let [logprobs, entropies, logits] =
        [stats.logprobs, stats.entropies.detach(), model.mean_logits(hidden)]
            .map(|flat| sums(flat, &lengths, device));
    CompletionStats { logprobs, entropies, logits }
}

/// Sums over parts of these lengths, which lie one after the other, `[parts]`.
fn sums<B: LmBackend>(flat: Tensor<B, 1>, lengths: &[usize], device: &B::Device) -> Tensor<B, 1> {
    let (n_parts, longest) = (lengths.len(), lengths.iter().copied().max().unwrap_or(0));
    let mut begin = 0;
    let (mut places, mut counts) = (Vec::new(), Vec::new());
    for &length in lengths {
        // Beyond its end, a part has the first cell, which doesn't count there.
        places.extend((0..longest).map(|it| if it < length { begin + it } else { 0 }));
        counts.extend((0..longest).map(|it| f32::from(u8::from(it < length))));
        begin += length;
    }
    let counts: Tensor<B, 1> = Tensor::from_data(counts.as_slice(), device);
    let cells = flat.select(0, indices(&places, device)) * counts;
    cells.reshape([n_parts, longest]).sum_dim(1).reshape([n_parts])
}

/// The mean of a number over those of some judgements.
pub(super) fn mean<'a, M: 'a>(
    seen: impl IntoIterator<Item = &'a M>,
    number: impl Fn(&M) -> f32,
) -> f64 {
    let (mut sum, mut count) = (0.0, 0.0);
    for it in seen {
        sum += f64::from(number(it));
        count += 1.0;
    }
    sum / count
}
