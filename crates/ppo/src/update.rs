//! The update of policy and value model on a step's completions.

use burn::prelude::*;
use rein_data::encoding::TokenRow;
use rein_model::backend::{LmAutodiffBackend, LmBackend};
use rein_model::guard::finite;
use rein_model::logprobs::{hidden_at, hidden_cells};
use rein_model::tokens::{LearnedTokens, host};
use rein_model::{CausalLm, Learner, ScalarModel};

use crate::PpoError;
use crate::actor_critic::Learners;
use crate::config::PpoConfig;
use crate::demonstrations::imitation_loss;
use crate::diagnostics::Diagnostics;
use crate::experience::Experience;
use crate::hyperparameters::Hyperparameters;
use crate::loss::{MinibatchSize, kl_loss, policy_loss, value_loss};
use crate::rollout::{value_cells, values_at};

/// One update of each network on a minibatch. Returns the gradients' norms and what the minibatch
/// looked like before the update.
///
/// Losses are divided by the tokens of the whole minibatch, so that it can be cut into micro-batches
/// in any way. The networks share nothing: small ones are updated side by side, large ones one after
/// the other, so that there is one gradient at a time; each is clipped by its own norm. A policy with a head
/// for values has both losses, and one gradient. Workers share the rows, and each must have one.
///
/// # Errors
/// A loss or a gradient that isn't finite; that network stays as it was.
pub fn update_minibatch<B: LmAutodiffBackend>(
    learners: &mut Learners<B>,
    rows: &[&Experience],
    config: &PpoConfig,
    now: &Hyperparameters,
    device: &B::Device,
) -> Result<(Norms, Diagnostics), PpoError> {
    let minibatch = Minibatch { rows, demonstrations: &[], config, now, device };
    let is_finite = |loss: f64, norm: f64| loss.is_finite() && norm.is_finite();
    let (norms, seen) = minibatch.update(
        learners,
        &mut |seen, norm| is_finite(seen.policy_loss, norm),
        &mut |seen, norm| is_finite(seen.value_loss, norm),
    );
    finite(now.step, "the policy's loss", seen.policy_loss)?;
    finite(now.step, "the value model's loss", seen.value_loss)?;
    finite(now.step, "the gradient", norms.policy + norms.value.unwrap_or(0.0))?;
    Ok((norms, seen))
}

/// Says whether an update is applied, by what its rows looked like and its gradient's norm.
pub(crate) type Gate<'a> = &'a mut (dyn FnMut(&Diagnostics, f64) -> bool + Send);

/// Rows of an update and how it is done.
pub(crate) struct Minibatch<'a, B: LmBackend> {
    pub(crate) rows: &'a [&'a Experience],
    /// What the policy imitates beside.
    pub(crate) demonstrations: &'a [&'a TokenRow],
    pub(crate) config: &'a PpoConfig,
    pub(crate) now: &'a Hyperparameters,
    pub(crate) device: &'a B::Device,
}

impl<B: LmAutodiffBackend> Minibatch<'_, B> {
    /// Updates each network that its gate lets.
    pub(crate) fn update(
        &self,
        learners: &mut Learners<B>,
        policy_gate: Gate<'_>,
        value_gate: Gate<'_>,
    ) -> (Norms, Diagnostics) {
        let Learners { policy, value, halves } = learners;
        let mut of_policy = || self.update_policy(policy, policy_gate);
        let Some(value) = value else {
            let (policy, seen) = of_policy();
            return (Norms { policy, value: None }, seen);
        };
        let mut of_value = || self.update_value(value, value_gate);
        let ((of_policy, mut seen), (of_value, valued)) = match halves {
            Some(halves) => halves.run(of_policy, of_value),
            None => (of_policy(), of_value()),
        };
        seen.add(valued);
        (Norms { policy: of_policy, value: Some(of_value) }, seen)
    }

    /// Updates the value model alone, if there is one; the norm of the policy's gradient is told as 0.
    pub(crate) fn update_value_alone(
        &self,
        learners: &mut Learners<B>,
        gate: Gate<'_>,
    ) -> (Norms, Diagnostics) {
        let value = learners.value.as_mut().map(|value| self.update_value(value, gate));
        let (norm, seen) = value.unzip();
        (Norms { policy: 0.0, value: norm }, seen.unwrap_or_default())
    }

    fn update_policy(
        &self,
        policy: &mut Learner<B, CausalLm<B>>,
        gate: Gate<'_>,
    ) -> (f64, Diagnostics) {
        let Self { rows, demonstrations, config, now, device } = *self;
        let size = MinibatchSize {
            n_tokens: rows.iter().map(|row| row.old_logprobs.len()).sum(),
            n_completions: rows.len(),
            limit: config.max_new_tokens,
        };
        let workers = policy.workers().clone();
        let mine: Vec<&Experience> = workers.share(rows).into_iter().copied().collect();
        let imitated: Vec<&TokenRow> = workers.share(demonstrations).into_iter().copied().collect();
        let n_imitated = demonstrations.iter().map(|row| row.n_learned()).sum::<usize>();
        let n_values = rows.iter().map(|row| row.old_values.len()).sum::<usize>() as f64;
        let value_weight = f64::from(config.value_coefficient) / n_values;
        let ptx = config.ptx.map_or(0.0, |it| it.coefficient) / n_imitated.max(1) as f64;
        let parts = mine.chunks(config.micro_batch_rows).map(Part::Completions);
        let others = imitated.chunks(config.micro_batch_rows).map(Part::Demonstrations);
        let mut seen = Diagnostics::default();
        let gradients = policy.gradients(parts.chain(others), |policy, part| match part {
            Part::Completions(rows) => {
                let Losses { policy, bonus, value } =
                    losses(policy, rows, config, now, &mut seen, device);
                let weights = token_weights(rows, config, &size, device);
                let loss = ((policy - bonus * now.entropy_coefficient) * weights).sum();
                match value {
                    Some(value) => loss + value.sum() * value_weight,
                    None => loss,
                }
            }
            Part::Demonstrations(rows) => imitation_loss(policy, rows, &mut seen, device) * ptx,
        });
        seen.sum_over(&workers);
        let accepts = |norm| gate(&seen, norm);
        (policy.update_if(gradients, now.learning_rate, accepts), seen)
    }

    fn update_value(
        &self,
        value: &mut Learner<B, ScalarModel<B>>,
        gate: Gate<'_>,
    ) -> (f64, Diagnostics) {
        let Self { rows, config, now, device, .. } = *self;
        let n_values = rows.iter().map(|row| row.old_values.len()).sum::<usize>() as f64;
        let workers = value.workers().clone();
        let mine: Vec<&Experience> = workers.share(rows).into_iter().copied().collect();
        let mut seen = Diagnostics::default();
        let gradients = value.gradients(mine.chunks(config.micro_batch_rows), |value, rows| {
            let token_rows: Vec<&TokenRow> = rows.iter().map(|row| &row.tokens).collect();
            let learned = LearnedTokens::<B>::new(&token_rows, device);
            let new = values_at(value, &learned.batch, &slots(&learned, rows));
            let losses = value_losses(new, rows, config, &mut seen, device);
            losses.sum() * (f64::from(config.value_coefficient) / n_values)
        });
        seen.sum_over(&workers);
        let accepts = |norm| gate(&seen, norm);
        (value.update_if(gradients, now.learning_rate, accepts), seen)
    }
}

/// Rows of a forward pass of the policy.
enum Part<'a> {
    Completions(&'a [&'a Experience]),
    Demonstrations(&'a [&'a TokenRow]),
}

/// Euclidean norms of gradients, before they are clipped.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Norms {
    /// Of the policy.
    pub policy: f64,
    /// Of the value model, if there is one.
    pub value: Option<f64>,
}

/// What a policy loses on some rows.
struct Losses<B: LmBackend> {
    /// Of each token.
    policy: Tensor<B, 1>,
    /// The entropy at each token.
    bonus: Tensor<B, 1>,
    /// Of each slot, where the policy has a head for values.
    value: Option<Tensor<B, 1>>,
}

fn losses<B: LmAutodiffBackend>(
    policy: &CausalLm<B>,
    rows: &[&Experience],
    config: &PpoConfig,
    now: &Hyperparameters,
    seen: &mut Diagnostics,
    device: &B::Device,
) -> Losses<B> {
    let token_rows: Vec<&TokenRow> = rows.iter().map(|row| &row.tokens).collect();
    let learned = LearnedTokens::<B>::new(&token_rows, device);
    let hidden = hidden_cells(policy, &learned);
    let value = policy.value_head.is_some().then(|| {
        let new = policy.values(hidden_at(&hidden, &slots(&learned, rows)));
        value_losses(new, rows, config, seen, device)
    });
    let [old, advantages] =
        [concat(rows, |row| &row.old_logprobs), concat(rows, |row| &row.advantages)];
    let before = hidden_at(&hidden, &learned.before);
    let stats = policy.token_stats(before, learned.targets.clone(), now.temperature);
    let new = stats.logprobs;
    let objective = config.objective();
    seen.see_policy(&host(new.clone().inner()), &old, &advantages, objective.clip);
    let lengths: Vec<usize> = rows.iter().map(|row| row.old_logprobs.len()).collect();
    let (old, advantages) = (vector(&old, device), vector(&advantages, device));
    let losses = policy_loss(&objective, new.clone(), old, advantages, &lengths);
    let mut losses = weighted(losses, rows, device);
    seen.policy_loss += total(losses.clone());
    if let Some((coefficients, references)) = penalties(rows, device) {
        losses = losses + kl_loss(config.kl_estimator, new, references) * coefficients;
    }

    // Without a bonus, the entropy is only looked at: no tape.
    let bonus = match now.entropy_coefficient {
        0.0 => Tensor::from_inner(stats.entropies.inner()),
        _ => stats.entropies,
    };
    seen.entropy += total(bonus.clone());
    Losses { policy: losses, bonus, value }
}

/// The cells whose values some rows need.
fn slots<B: LmBackend>(learned: &LearnedTokens<B>, rows: &[&Experience]) -> Vec<usize> {
    let token_rows: Vec<&TokenRow> = rows.iter().map(|row| &row.tokens).collect();
    let counts: Vec<usize> = rows.iter().map(|row| row.old_values.len()).collect();
    value_cells(learned, &token_rows, &counts)
}

/// Losses of the slots of some rows, whose values are now `new`.
fn value_losses<B: LmAutodiffBackend>(
    new: Tensor<B, 1>,
    rows: &[&Experience],
    config: &PpoConfig,
    seen: &mut Diagnostics,
    device: &B::Device,
) -> Tensor<B, 1> {
    let [old, returns] = [concat(rows, |row| &row.old_values), concat(rows, |row| &row.returns)];
    seen.see_values(&host(new.clone().inner()), &old, &returns, config.clip_range_value);
    let losses =
        value_loss(new, vector(&old, device), vector(&returns, device), config.clip_range_value);
    seen.value_loss += total(losses.clone());
    losses
}

/// Losses times their importance weights, where rows have any.
fn weighted<B: LmBackend>(
    losses: Tensor<B, 1>,
    rows: &[&Experience],
    device: &B::Device,
) -> Tensor<B, 1> {
    if rows.iter().all(|row| row.importance.is_none()) {
        return losses;
    }
    let weights = rows.iter().flat_map(|row| match &row.importance {
        Some(weights) => weights.clone(),
        None => vec![1.0; row.old_logprobs.len()],
    });
    losses * vector(&weights.collect::<Vec<_>>(), device)
}

/// What each token of some rows weighs in the loss of its minibatch.
fn token_weights<B: LmBackend>(
    rows: &[&Experience],
    config: &PpoConfig,
    size: &MinibatchSize,
    device: &B::Device,
) -> Tensor<B, 1> {
    let weights = rows.iter().flat_map(|row| {
        let n_tokens = row.old_logprobs.len();
        vec![config.loss_mean.weight(n_tokens, size) as f32; n_tokens]
    });
    vector(&weights.collect::<Vec<_>>(), device)
}

/// What a nat costs at each token, and the reference's log-probabilities, where the KL penalty is part
/// of the loss.
fn penalties<B: LmBackend>(
    rows: &[&Experience],
    device: &B::Device,
) -> Option<(Tensor<B, 1>, Tensor<B, 1>)> {
    let penalties: Option<Vec<_>> = rows.iter().map(|row| row.penalty.as_ref()).collect();
    let penalties = penalties?.into_iter();
    let (coefficients, references): (Vec<_>, Vec<_>) = penalties
        .map(|it| (vec![it.coefficient; it.reference_logprobs.len()], &it.reference_logprobs[..]))
        .unzip();
    Some((vector(&coefficients.concat(), device), vector(&references.concat(), device)))
}

fn concat(rows: &[&Experience], part: fn(&Experience) -> &Vec<f32>) -> Vec<f32> {
    rows.iter().flat_map(|row| part(row)).copied().collect()
}

fn vector<B: LmBackend>(values: &[f32], device: &B::Device) -> Tensor<B, 1> {
    Tensor::from_data(values, device)
}

pub(crate) fn total<B: LmAutodiffBackend>(losses: Tensor<B, 1>) -> f64 {
    f64::from(host(losses.inner().sum())[0])
}
