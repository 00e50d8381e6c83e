use burn::module::AutodiffModule;
use burn::prelude::*;
use rein_data::encoding::TokenRow;
use rein_data::workers::Workers;
use rein_model::backend::{LmAutodiffBackend, LmBackend};
use rein_model::flat::FlatParams;
use rein_model::guard::finite;
use rein_model::logprobs::{learned_hidden, learned_stats};
use rein_model::optim::Gradients;
use rein_model::tokens::{LearnedTokens, host};
use rein_model::{CausalLm, Learner, Precision};

use super::conjugate::{add_scaled, conjugate_gradient, norm, step_length};
use super::logits::{Logits, divergence};
use super::search::{Outlook, backtrack};
use super::{TrpoConfig, fisher};
use crate::PpoError;
use crate::experience::Experience;
use crate::optimise::RATIO_TOLERANCE;

/// Completions of this worker that say how long the steps of differences are.
const PROBE_ROWS: usize = 8;

/// The completions of an update and how they are looked at.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a, B: LmBackend> {
    /// All of them; each worker computes its share.
    pub rows: &'a [&'a Experience],
    /// Divides the logits, as it did in sampling.
    pub temperature: f32,
    /// Completions of a forward pass; doesn't change the update.
    pub micro_batch_rows: usize,
    /// Where to compute.
    pub device: &'a B::Device,
}

/// What became of an update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// Whether the policy has changed.
    pub accepted: bool,
    /// The mean divergence of the new policy from the old one over the whole vocabulary, in nats a token; 0
    /// if the policy is the old one.
    pub kl: f64,
    /// `Σ ρ A / n` of the old policy.
    pub surrogate_before: f64,
    /// `Σ ρ A / n` of the policy as it is now.
    pub surrogate_after: f64,
    /// The Euclidean norm of the surrogate's gradient.
    pub gradient_norm: f64,
    /// What conjugate gradients left of it, relatively.
    pub cg_residual: f64,
    /// How often the step was shortened; as often as allowed if it was given up.
    pub n_cuts: usize,
}

/// One step of a policy within a trust region around what it is. `step`, counted from 0, is named in errors.
///
/// The surrogate is `Σ w ρ A / n` over all completions' tokens, with `ρ = exp(log π_θ − log π_sampled)`
/// unclipped (Schulman et al., 2015, eq. 14) and importance weights `w` where rows have any. All is computed
/// in f32. Workers share the rows, and each must have one.
///
/// # Errors
/// Rows without tokens, parameters that the policy doesn't have, a gradient that isn't finite, and ratios that
/// aren't 1 before the step; the policy stays as it was.
pub fn update<B: LmAutodiffBackend>(
    policy: &mut Learner<B, CausalLm<B>>,
    batch: &Batch<'_, B>,
    config: &TrpoConfig,
    step: usize,
) -> Result<Update, PpoError> {
    let params = config.parameters.of(policy.module())?;
    let region = Region::new(policy, batch, &params)?;
    let (gradient, error) = region.gradient();
    let gradient_norm = norm(&gradient);
    finite(step, "the gradient", gradient_norm)?;
    if error > RATIO_TOLERANCE {
        return Err(PpoError::RatioNotOne { step: step + 1, error });
    }
    let product = |v: &[f32]| region.fisher_product(v, config.damping);
    let solution = conjugate_gradient(product, &gradient, config.cg_iterations);
    let length = step_length(config.max_kl, solution.curvature);

    let theta = params.values(policy.module());
    let beginning = region.outlook(&theta);
    let point = |scale: f64| {
        let mut point = theta.clone();
        add_scaled(&mut point, scale * length, &solution.x);
        point
    };
    let search = config.search();
    let look = || backtrack(beginning.surrogate, &search, |scale| region.outlook(&point(scale)));
    let accepted = length.is_finite().then(look).flatten();
    if let Some(accepted) = accepted {
        let theta = point(accepted.scale);
        policy.change(|policy| params.with_values(policy, &theta));
    }
    let now = accepted.map_or(beginning, |it| it.outlook);
    Ok(Update {
        accepted: accepted.is_some(),
        kl: now.kl,
        surrogate_before: beginning.surrogate,
        surrogate_after: now.surrogate,
        gradient_norm,
        cg_residual: solution.residual,
        n_cuts: accepted.map_or(search.max_cuts, |it| it.n_cuts),
    })
}

/// A policy and the completions that say where it may go.
struct Region<'a, B: LmAutodiffBackend> {
    /// Nothing but what is to change is trainable.
    policy: CausalLm<B>,
    params: &'a FlatParams,
    batch: &'a Batch<'a, B>,
    /// This worker's rows, a micro-batch each.
    parts: Vec<Vec<&'a Experience>>,
    /// The first of them, in micro-batches too.
    probe: Vec<Vec<&'a Experience>>,
    workers: Workers,
    /// Tokens of all workers' rows.
    n_tokens: f64,
}

impl<'a, B: LmAutodiffBackend> Region<'a, B> {
    fn new(
        policy: &Learner<B, CausalLm<B>>,
        batch: &'a Batch<'a, B>,
        params: &'a FlatParams,
    ) -> Result<Self, PpoError> {
        let n_tokens: usize = batch.rows.iter().map(|row| row.old_logprobs.len()).sum();
        if n_tokens == 0 {
            return Err(PpoError::Invalid("the completions of an update have no tokens".into()));
        }
        let workers = policy.workers().clone();
        let mine: Vec<&Experience> = workers.share(batch.rows).into_iter().copied().collect();
        let cut = |rows: &[&'a Experience]| {
            rows.chunks(batch.micro_batch_rows).map(<[_]>::to_vec).collect()
        };
        let (parts, probe) = (cut(&mine), cut(&mine[..mine.len().min(PROBE_ROWS)]));
        let policy = policy.module().clone().with_precision(Precision::F32);
        let policy = params.alone_trainable(policy);
        Ok(Self { policy, params, batch, parts, probe, workers, n_tokens: n_tokens as f64 })
    }

    /// `∇ Σ w ρ A / n`, and the largest `|ρ − 1|`.
    fn gradient(&self) -> (Vec<f32>, f64) {
        let Batch { temperature, device, .. } = *self.batch;
        let mut error = 0.0;
        let mut gradients = Gradients::of(&self.policy, &self.parts, |policy, rows| {
            let learned = learned(rows, device);
            let new = learned_stats(policy, &learned, temperature).logprobs;
            let [old, gains] = [old_logprobs(rows), gains(rows)];
            let ratios = ratios(&host(new.clone().inner()), &old);
            error = ratios.iter().fold(error, |most: f64, ratio| (ratio - 1.0).abs().max(most));
            let [old, gains] = [old, gains].map(|it| Tensor::from_data(&it[..], device));
            ((new - old).exp() * gains).sum() / self.n_tokens
        });
        gradients.sum_over(&self.workers);
        (self.params.gradient(&gradients), self.workers.largest(error))
    }

    /// `(F / n + λ I) v`
    fn fisher_product(&self, v: &[f32], damping: f64) -> Vec<f32> {
        let Self { policy, params, parts, probe, workers, .. } = self;
        let step = fisher::difference_step(&policy.valid(), params, v, probe, self.logits());
        let step = -workers.largest(-step);
        let (taped, valid) = (self.logits(), self.logits());
        let mut product = fisher::product(policy, params, v, step, parts, taped, valid);
        product.sum_over(&self.workers);
        let mut product = self.params.gradient(&product);
        product.iter_mut().for_each(|it| *it = (f64::from(*it) / self.n_tokens) as f32);
        add_scaled(&mut product, damping, v);
        product
    }

    /// Of some rows' tokens, with or without a tape.
    fn logits<C: LmBackend<Device = B::Device>>(
        &self,
    ) -> impl Fn(&CausalLm<C>, &Vec<&Experience>) -> Logits<C> {
        let Batch { temperature, device, .. } = *self.batch;
        let trains_head = ["embedding", "head.weight"].map(|it| self.params.holds(it));
        move |policy, rows| {
            let (head, tied) = policy.head_weight();
            let hidden = learned_hidden(policy, &learned(rows, device));
            let trains_head = trains_head[usize::from(!tied)];
            Logits { hidden, head, tied, trains_head, temperature }
        }
    }

    /// Surrogate and divergence at a point, looked at one micro-batch at a time.
    fn outlook(&self, theta: &[f32]) -> Outlook {
        let (old, logits) = (self.policy.valid(), self.logits());
        let new = self.params.with_values(old.clone(), theta);
        let mut sums = [0.0; 2];
        for rows in &self.parts {
            let targets = learned(rows, self.batch.device).targets;
            let [nats, logprobs] = divergence(&logits(&old, rows), &logits(&new, rows), targets);
            let ratios = ratios(&host(logprobs), &old_logprobs(rows));
            let gains = ratios.iter().zip(gains(rows)).map(|(it, gain)| it * f64::from(gain));
            sums[0] += gains.sum::<f64>();
            sums[1] += total(&host(nats));
        }
        self.workers.sum_f64(&mut sums);
        let [surrogate, kl] = sums.map(|sum| sum / self.n_tokens);
        Outlook { surrogate, kl }
    }
}

fn learned<B: LmBackend>(rows: &[&Experience], device: &B::Device) -> LearnedTokens<B> {
    let rows: Vec<&TokenRow> = rows.iter().map(|row| &row.tokens).collect();
    LearnedTokens::new(&rows, device)
}

/// `ρ`, in double precision.
fn ratios(new: &[f32], old: &[f32]) -> Vec<f64> {
    new.iter().zip(old).map(|(new, old)| (f64::from(*new) - f64::from(*old)).exp()).collect()
}

fn total(values: &[f32]) -> f64 {
    values.iter().map(|it| f64::from(*it)).sum()
}

fn old_logprobs(rows: &[&Experience]) -> Vec<f32> {
    rows.iter().flat_map(|row| &row.old_logprobs).copied().collect()
}

/// Advantages times importance weights, where rows have any.
fn gains(rows: &[&Experience]) -> Vec<f32> {
    let of_row = |row: &&Experience| match &row.importance {
        Some(weights) => row.advantages.iter().zip(weights).map(|(a, w)| a * w).collect(),
        None => row.advantages.clone(),
    };
    rows.iter().flat_map(of_row).collect()
}
