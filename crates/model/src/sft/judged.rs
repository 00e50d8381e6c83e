//! What a model makes of the tokens that it shall learn, and what that costs.

use burn::prelude::*;
use rein_data::encoding::TokenRow;
use rein_data::workers::Workers;
use rein_kernels::ops::TokenStats;

use super::SftConfig;
use crate::backend::LmBackend;
use crate::iq_learn::{chosen_logits, implied_rewards};
use crate::logprobs::{cross_entropy, learned_hidden};
use crate::tokens::{LearnedTokens, host};
use crate::{CausalLm, Noise};

/// What a model makes of the learned tokens of some sequences.
#[derive(Clone)]
pub(super) struct Judged<B: Backend> {
    /// `[tokens]`
    losses: Tensor<B, 1>,
    /// IQ-Learn's, with its coefficient; `[tokens]`, if it is asked for.
    penalties: Option<(Tensor<B, 1>, f64)>,
    stats: TokenStats<B>,
    /// `[tokens]`
    targets: Tensor<B, 1, Int>,
}

impl<B: LmBackend> Judged<B> {
    pub(super) fn new(
        model: &CausalLm<B>,
        sequences: &[Vec<&TokenRow>],
        config: &SftConfig,
        noise: Option<Noise>,
        device: &B::Device,
    ) -> Self {
        let mut learned = LearnedTokens::packed(sequences, device);
        if let Some(noise) = noise {
            learned = learned.with_noise(noise, sequences, model.config().hidden_size);
        }
        let (hidden, targets) = (learned_hidden(model, &learned), learned.targets);
        let stats = model.token_stats(hidden.clone(), targets.clone(), 1.0);
        let losses = cross_entropy(&stats, config.label_smoothing);
        let penalties = config.iq_learn.map(|iq| {
            let chosen = chosen_logits(hidden, model.head_weight(), targets.clone());
            let lengths: Vec<usize> =
                sequences.iter().flatten().map(|row| row.n_learned()).collect();
            let rewards = implied_rewards(chosen, stats.logprobs.clone(), &lengths, iq.gamma);
            (rewards.square(), iq.coefficient)
        });
        Self { losses, penalties, stats, targets }
    }

    /// What is minimised, summed over tokens.
    pub(super) fn loss(self) -> Tensor<B, 1> {
        match self.penalties {
            None => self.losses.sum(),
            Some((penalties, coefficient)) => self.losses.sum() + penalties.sum() * coefficient,
        }
    }
}

/// Sums over learned tokens.
#[derive(Default)]
pub(super) struct Totals {
    /// Of what is minimised.
    pub(super) loss: f64,
    /// Of squared rewards, before their coefficient.
    pub(super) penalty: f64,
    pub(super) n_right: f64,
    pub(super) entropy: f64,
}

impl Totals {
    pub(super) fn add<B: LmBackend>(&mut self, judged: &Judged<B>) {
        let sum =
            |tensor: &Tensor<B, 1>| host(tensor.clone()).into_iter().map(f64::from).sum::<f64>();
        let Judged { losses, penalties, stats, targets } = judged;
        let targets = host(targets.clone().float());
        let right = host(stats.best.clone()).into_iter().zip(targets).filter(|(a, b)| a == b);
        self.loss += sum(losses);
        if let Some((penalties, coefficient)) = penalties {
            let penalty = sum(penalties);
            self.penalty += penalty;
            self.loss += coefficient * penalty;
        }
        self.n_right += right.count() as f64;
        self.entropy += sum(&stats.entropies);
    }

    pub(super) fn sum_over(&mut self, workers: &Workers) {
        let mut sums = [self.loss, self.penalty, self.n_right, self.entropy];
        workers.sum_f64(&mut sums);
        [self.loss, self.penalty, self.n_right, self.entropy] = sums;
    }
}
