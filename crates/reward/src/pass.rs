//! A forward pass over some judgements: what their rows score, and what that costs.

use burn::module::Module;
use burn::prelude::*;
use rein_data::seed::Seed;
use rein_model::backend::{LmAutodiffBackend, LmBackend};
use rein_model::tokens::TokenBatch;
use rein_model::{Noise, ScalarModel};

use crate::adversarial::exchange::{self, mean_scores};
use crate::adversarial::{AdversarialConfig, pgd};
use crate::config::RewardConfig;
use crate::encoding::Judgements;
use crate::ensemble::ensemble_losses;
use crate::objective::{Objective, losses, scored_rows};

/// Judgements that a model is asked about at once.
pub(crate) struct Pass<'a> {
    pub(crate) config: &'a RewardConfig,
    pub(crate) objective: &'a Objective,
    pub(crate) judgements: &'a Judgements,
    /// What each judgement counts for, for each head of an ensemble.
    pub(crate) weights: &'a [Vec<f32>],
}

/// What a model made of them.
pub(crate) struct Judged<B: Backend> {
    /// Of each [row](scored_rows), `[rows]`; of an ensemble, the mean.
    pub(crate) scores: Tensor<B, 1>,
    /// `[judgements]`
    pub(crate) losses: Tensor<B, 1>,
}

/// What an update draws, and which tokens attackers never use.
pub(crate) struct Draws {
    pub(crate) noise: Seed,
    pub(crate) exchange: Seed,
    pub(crate) special: Vec<u32>,
}

/// What attackers made of the rows.
pub(crate) struct Attacked<B: Backend> {
    /// What moves embeddings, `[rows · time, hidden]`.
    delta: Option<Tensor<B, 2>>,
    /// The rows with exchanged tokens.
    exchanged: Option<Vec<Vec<u32>>>,
}

impl Pass<'_> {
    /// Lets the config's attackers look at the model as it is.
    pub(crate) fn attacked<B: LmAutodiffBackend>(
        &self,
        model: &ScalarModel<B>,
        draws: &Draws,
        device: &B::Device,
    ) -> Attacked<B::InnerBackend> {
        let Draws { exchange, special, .. } = draws;
        let exchanged = self
            .config
            .exchange
            .map(|it| it.rows(model, self.judgements, special, *exchange, device));
        let delta = self.config.adversarial.map(|it| self.moved(model, it, device));
        Attacked { delta, exchanged }
    }

    /// What the judgements cost, attacks included; scores are those of the rows themselves.
    pub(crate) fn objective<B: LmAutodiffBackend>(
        &self,
        model: &ScalarModel<B>,
        attacked: Attacked<B::InnerBackend>,
        draws: &Draws,
        device: &B::Device,
    ) -> Judged<B> {
        let batch = self.batch::<B>(device);
        let noisy = self.noisy(batch.clone(), draws.noise, model.config().hidden_size);
        let Judged { scores, mut losses } = self.judge(model, &noisy);
        if let (Some(delta), Some(it)) = (attacked.delta, self.config.adversarial) {
            let moved = self.judge(model, &batch.perturbed(Tensor::from_inner(delta))).losses;
            losses = losses * (1.0 - it.weight) + moved * it.weight;
        }
        if let (Some(rows), Some(it)) = (attacked.exchanged, self.config.exchange) {
            let exchanged = mean_scores(model, &TokenBatch::right_padded(&rows, device));
            // Each judgement has its share of the mean over rows.
            let cost = exchange::losses(scores.clone(), exchanged).mean();
            losses = losses + cost * it.weight;
        }
        Judged { scores, losses }
    }

    /// The rows as they are.
    fn batch<B: LmBackend>(&self, device: &B::Device) -> TokenBatch<B> {
        TokenBatch::right_padded(&scored_rows(self.judgements), device)
    }

    /// The rows with noise on their embeddings, if the config asks for it.
    fn noisy<B: LmBackend>(
        &self,
        batch: TokenBatch<B>,
        seed: Seed,
        hidden_size: usize,
    ) -> TokenBatch<B> {
        let Some(alpha) = self.config.neftune_noise_alpha else { return batch };
        let [_, n_time] = batch.dims();
        let rows = scored_rows(self.judgements).into_iter().enumerate();
        let rows = rows.map(|(row, tokens)| (row * n_time, tokens));
        batch.with_noise(Noise { alpha, seed }, rows, hidden_size)
    }

    fn judge<B: LmBackend>(&self, model: &ScalarModel<B>, batch: &TokenBatch<B>) -> Judged<B> {
        let cost = |scores| losses(self.objective, self.judgements, scores);
        if model.heads.is_none() {
            let scores = model.scores(batch);
            return Judged { losses: cost(scores.clone()), scores };
        }
        let heads = model.head_scores(batch);
        let [n_rows, _] = heads.dims();
        Judged {
            scores: heads.clone().mean_dim(1).reshape([n_rows]),
            losses: ensemble_losses(heads, self.weights, cost),
        }
    }

    /// What moves the rows' embeddings to where the model judges worst, `[rows · time, hidden]`.
    fn moved<B: LmAutodiffBackend>(
        &self,
        model: &ScalarModel<B>,
        attack: AdversarialConfig,
        device: &B::Device,
    ) -> Tensor<B::InnerBackend, 2> {
        let model = model.clone().no_grad();
        let batch = self.batch::<B>(device);
        let [n_rows, n_time] = batch.dims();
        let shape = [n_rows * n_time, model.config().hidden_size];
        let radius = attack.epsilon * model.decoder.mean_embedding_norm();
        pgd::ascend::<B>(shape, radius, attack.steps, device, |delta| {
            self.judge(&model, &batch.clone().perturbed(delta)).losses.sum()
        })
    }
}
