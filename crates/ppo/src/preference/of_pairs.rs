//! What a policy makes of preference pairs.

use burn::prelude::*;
use rein_data::encoding::TokenRow;
use rein_data::log::Metrics;
use rein_model::CausalLm;
use rein_model::backend::LmBackend;
use rein_model::logprobs::learned_stats;
use rein_model::tokens::{LearnedTokens, host, indices};
use rein_reward::evaluate::pair_accuracy;
use serde::{Deserialize, Serialize};

use crate::preference::config::DpoConfig;
use crate::preference::loss::PairLoss;
use crate::preference::pairs::Pair;

/// A pair, and what the reference gives to its completions, in nats; 0 where there is no reference.
#[derive(Clone, Copy, Debug)]
pub(super) struct Referred<'a> {
    pub(super) pair: &'a Pair,
    pub(super) reference: [f32; 2],
}

impl<'a> Referred<'a> {
    /// Pairs with what the reference gives to each.
    pub(super) fn all(pairs: &'a [Pair], references: &[[f32; 2]]) -> Vec<Self> {
        let each = pairs.iter().zip(references);
        each.map(|(pair, reference)| Self { pair, reference: *reference }).collect()
    }
}

/// What a policy makes of some pairs, `[pairs]` each.
#[derive(Debug)]
pub(super) struct Judged<B: Backend> {
    pub(super) losses: Tensor<B, 1>,
    /// The preferred completions' negative log-probabilities.
    pub(super) nll: Tensor<B, 1>,
    /// Of both sides; per token where the loss takes them so.
    logprobs: [Tensor<B, 1>; 2],
    /// The same less what the reference gives.
    log_ratios: [Tensor<B, 1>; 2],
}

impl<B: LmBackend> Judged<B> {
    /// Asks a policy about both sides in one forward pass.
    pub(super) fn new(
        model: &CausalLm<B>,
        pairs: &[Referred<'_>],
        loss: &PairLoss,
        device: &B::Device,
    ) -> Self {
        let side = |side: usize| pairs.iter().map(move |it| it.pair.sides()[side]);
        let rows: Vec<&TokenRow> = side(0).chain(side(1)).collect();
        let given = completion_logprobs(model, &rows, device);
        let reference = |side: usize| pairs.iter().map(move |it| it.reference[side]);
        let reference: Vec<f32> = reference(0).chain(reference(1)).collect();
        let mut logprobs = given.clone();
        let mut log_ratios = given.clone() - Tensor::from_data(reference.as_slice(), device);
        if loss.loss_type.is_per_token() {
            let lengths: Vec<f32> = rows.iter().map(|row| row.n_learned() as f32).collect();
            let lengths: Tensor<B, 1> = Tensor::from_data(lengths.as_slice(), device);
            logprobs = logprobs / lengths.clone();
            log_ratios = log_ratios / lengths;
        }
        let sides = |of_all: Tensor<B, 1>| {
            [0, 1].map(|side| of_all.clone().narrow(0, side * pairs.len(), pairs.len()))
        };
        let log_ratios = sides(log_ratios);
        let [chosen, rejected] = log_ratios.clone();
        let losses = loss.losses(chosen, rejected);
        let [nll, _] = sides(given.neg());
        Self { losses, nll, logprobs: sides(logprobs), log_ratios }
    }

    /// The numbers of each pair on the host.
    pub(super) fn measured(&self) -> Vec<Measured> {
        let [losses, nll] = [&self.losses, &self.nll].map(|it| host(it.clone()));
        let [chosen, rejected] = self.logprobs.each_ref().map(|it| host(it.clone()));
        let [better, worse] = self.log_ratios.each_ref().map(|it| host(it.clone()));
        let measure = |pair: usize| Measured {
            loss: losses[pair],
            nll: nll[pair],
            logprobs: [chosen[pair], rejected[pair]],
            log_ratios: [better[pair], worse[pair]],
        };
        (0..losses.len()).map(measure).collect()
    }
}

/// Log-probabilities of whole completions: sums over each row's learned tokens, in nats, `[rows]`.
fn completion_logprobs<B: LmBackend>(
    model: &CausalLm<B>,
    rows: &[&TokenRow],
    device: &B::Device,
) -> Tensor<B, 1> {
    let learned = LearnedTokens::new(rows, device);
    let logprobs = learned_stats(model, &learned, 1.0).logprobs;
    let lengths: Vec<usize> = rows.iter().map(|row| row.n_learned()).collect();
    sums(logprobs, &lengths, device)
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

/// What became of one pair, in nats.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Measured {
    loss: f32,
    nll: f32,
    logprobs: [f32; 2],
    log_ratios: [f32; 2],
}

/// The loss of pairs with so many preferred tokens, imitation included.
pub(super) fn total_loss(pairs: &[Measured], n_chosen_tokens: f64, config: &DpoConfig) -> f64 {
    let loss = mean(pairs, |it| it.loss);
    match config.imitation() {
        0.0 => loss,
        weight => loss + weight * nll(pairs, n_chosen_tokens),
    }
}

/// TRL's names. Of equal rewards, an accuracy counts half.
pub(super) fn describe(
    pairs: &[Measured],
    n_chosen_tokens: f64,
    config: &DpoConfig,
    prefix: &str,
) -> Metrics {
    let mut metrics = Metrics::default();
    let mut push = |name: &str, value: f64| metrics.push(format!("{prefix}{name}"), value);
    push("loss", total_loss(pairs, n_chosen_tokens, config));
    if config.imitation() > 0.0 {
        push("nll_loss", nll(pairs, n_chosen_tokens));
    }
    let rewards = [0, 1].map(|side| config.beta * mean(pairs, |it| it.log_ratios[side]));
    let side = |side: usize| pairs.iter().map(|it| it.log_ratios[side]).collect::<Vec<f32>>();
    push("rewards/chosen", rewards[0]);
    push("rewards/rejected", rewards[1]);
    push("rewards/accuracies", pair_accuracy(&side(0), &side(1)).value());
    push("rewards/margins", rewards[0] - rewards[1]);
    push("logps/chosen", mean(pairs, |it| it.logprobs[0]));
    push("logps/rejected", mean(pairs, |it| it.logprobs[1]));
    metrics
}

fn nll(pairs: &[Measured], n_chosen_tokens: f64) -> f64 {
    pairs.iter().map(|it| f64::from(it.nll)).sum::<f64>() / n_chosen_tokens
}

fn mean(pairs: &[Measured], number: impl Fn(&Measured) -> f32) -> f64 {
    pairs.iter().map(|it| f64::from(number(it))).sum::<f64>() / pairs.len() as f64
}
