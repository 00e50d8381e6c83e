//! The update of policy and value model on a step's completions.

use burn::prelude::*;
use rein_data::encoding::TokenRow;
use rein_model::backend::{LmAutodiffBackend, LmBackend};
use rein_model::guard::finite;
use rein_model::logprobs::learned_stats;
use rein_model::tokens::{LearnedTokens, host};
use rein_model::{CausalLm, Learner, ScalarModel};

use crate::PpoError;
use crate::actor_critic::Learners;
use crate::advantage::{Advantages, Mean, gae, whiten};
use crate::config::PpoConfig;
use crate::importance;
use crate::loss::{Diagnostics, policy_loss, value_loss};
use crate::rollout::{Row, value_cells, values_at};
use crate::shaping::{Shaped, Shaping, shape};

/// A completion with all that its update needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Experience {
    /// Prompt and completion.
    pub tokens: TokenRow,
    /// Log-probabilities at sampling time, one to a token.
    pub old_logprobs: Vec<f32>,
    /// Importance weights, one to a token, where another policy sampled them.
    pub importance: Option<Vec<f32>>,
    /// What each token gained, one to a token.
    pub advantages: Vec<f32>,
    /// Values at sampling time, one to a slot.
    pub old_values: Vec<f32>,
    /// What the values should have been, one to a slot.
    pub returns: Vec<f32>,
}

/// Shapes rewards and estimates advantages of a step's rows.
pub fn prepare(
    rows: &[Row],
    config: &PpoConfig,
    kl_coefficient: f64,
) -> (Vec<Shaped>, Vec<Experience>) {
    let shaping = Shaping::new(config, kl_coefficient);
    let mut shaped: Vec<Shaped> = rows.iter().map(|row| shape(row, &shaping)).collect();
    if config.whiten_rewards {
        let mut rewards: Vec<Vec<f64>> =
            shaped.iter_mut().map(|it| std::mem::take(&mut it.rewards)).collect();
        whiten(&mut rewards, Mean::Kept);
        shaped.iter_mut().zip(rewards).for_each(|(it, rewards)| it.rewards = rewards);
    }
    let estimates = rows.iter().zip(&shaped).map(|(row, shaped)| {
        let values = &row.values[..shaped.rewards.len()];
        gae(&shaped.rewards, values, config.gamma, config.lambda)
    });
    let (mut advantages, returns): (Vec<_>, Vec<_>) =
        estimates.map(|Advantages { advantages, returns }| (advantages, returns)).unzip();
    // The slot after the last token has a value and a return, but no token that gained anything.
    for (advantages, row) in advantages.iter_mut().zip(rows) {
        advantages.truncate(row.logprobs.len());
    }
    if config.whiten_advantages {
        whiten(&mut advantages, Mean::Removed);
    }
    let parts = rows.iter().zip(advantages).zip(returns);
    let experience = parts.map(|((row, advantages), returns)| Experience {
        tokens: row.tokens.clone(),
        old_logprobs: row.logprobs.clone(),
        importance: row
            .sampled_logprobs
            .as_ref()
            .map(|sampled| importance::weights(&row.logprobs, sampled, config.importance_cap)),
        advantages: advantages.into_iter().map(|it| it as f32).collect(),
        old_values: row.values[..returns.len()].to_vec(),
        returns: returns.into_iter().map(|it| it as f32).collect(),
    });
    let experience = experience.collect();
    (shaped, experience)
}

/// One update of each network on a minibatch; `step`, counted from 0, is named in errors. Returns the
/// gradients' norms and what the minibatch looked like before the update.
///
/// Losses are divided by the tokens of the whole minibatch, so that it can be cut into micro-batches
/// in any way. The networks share nothing: small ones are updated side by side, large ones one after
/// the other, so that there is one gradient at a time; each is clipped by its own norm. Workers share
/// the rows, and each must have one.
pub fn update_minibatch<B: LmAutodiffBackend>(
    learners: &mut Learners<B>,
    minibatch: &[&Experience],
    config: &PpoConfig,
    learning_rate: f64,
    step: usize,
    device: &B::Device,
) -> Result<(Norms, Diagnostics), PpoError> {
    let Learners { policy, value, halves } = learners;
    let minibatch = Minibatch { rows: minibatch, config, learning_rate, step, device };
    let mut of_policy = || minibatch.update_policy(policy);
    let mut of_value = || minibatch.update_value(value);
    let (of_policy, of_value) = match halves {
        Some(halves) => halves.run(of_policy, of_value),
        None => (of_policy(), of_value()),
    };
    let ((of_policy, mut seen), (of_value, valued)) = (of_policy?, of_value?);
    seen.add(valued);
    Ok((Norms { policy: of_policy, value: of_value }, seen))
}

/// Rows of an update and how it is done.
struct Minibatch<'a, B: LmBackend> {
    rows: &'a [&'a Experience],
    config: &'a PpoConfig,
    learning_rate: f64,
    step: usize,
    device: &'a B::Device,
}

impl<B: LmAutodiffBackend> Minibatch<'_, B> {
    fn update_policy(
        &self,
        policy: &mut Learner<B, CausalLm<B>>,
    ) -> Result<(f64, Diagnostics), PpoError> {
        let Self { rows, config, learning_rate, step, device } = *self;
        let n_tokens = rows.iter().map(|row| row.old_logprobs.len()).sum::<usize>() as f64;
        let workers = policy.workers().clone();
        let mine: Vec<&Experience> = workers.share(rows).into_iter().copied().collect();
        let mut seen = Diagnostics::default();
        let gradients = policy.gradients(mine.chunks(config.micro_batch_rows), |policy, rows| {
            let (losses, bonus) = policy_losses(policy, rows, config, &mut seen, device);
            losses.sum() / n_tokens
                - bonus.sum() * (f64::from(config.entropy_coefficient) / n_tokens)
        });
        seen.sum_over(&workers);
        finite(step, "the policy's loss", seen.policy_loss)?;
        Ok((policy.update(step, gradients, learning_rate)?, seen))
    }

    fn update_value(
        &self,
        value: &mut Learner<B, ScalarModel<B>>,
    ) -> Result<(f64, Diagnostics), PpoError> {
        let Self { rows, config, learning_rate, step, device } = *self;
        let n_values = rows.iter().map(|row| row.old_values.len()).sum::<usize>() as f64;
        let workers = value.workers().clone();
        let mine: Vec<&Experience> = workers.share(rows).into_iter().copied().collect();
        let mut seen = Diagnostics::default();
        let gradients = value.gradients(mine.chunks(config.micro_batch_rows), |value, rows| {
            let losses = value_losses(value, rows, config, &mut seen, device);
            losses.sum() * (f64::from(config.value_coefficient) / n_values)
        });
        seen.sum_over(&workers);
        finite(step, "the value model's loss", seen.value_loss)?;
        Ok((value.update(step, gradients, learning_rate)?, seen))
    }
}

/// Euclidean norms of gradients, before they are clipped.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Norms {
    /// Of the policy.
    pub policy: f64,
    /// Of the value model.
    pub value: f64,
}

/// Losses and entropies of the tokens of some rows.
fn policy_losses<B: LmAutodiffBackend>(
    policy: &CausalLm<B>,
    rows: &[&Experience],
    config: &PpoConfig,
    seen: &mut Diagnostics,
    device: &B::Device,
) -> (Tensor<B, 1>, Tensor<B, 1>) {
    let token_rows: Vec<&TokenRow> = rows.iter().map(|row| &row.tokens).collect();
    let learned = LearnedTokens::<B>::new(&token_rows, device);
    let [old, advantages] =
        [concat(rows, |row| &row.old_logprobs), concat(rows, |row| &row.advantages)];
    let stats = learned_stats(policy, &learned, config.temperature);
    let new = stats.logprobs;
    seen.see_policy(&host(new.clone().inner()), &old, &advantages, config.clip_range);
    let losses =
        policy_loss(new, vector(&old, device), vector(&advantages, device), config.clip_range);
    let losses = weighted(losses, rows, device);
    seen.policy_loss += total(losses.clone());

    // Without a bonus, the entropy is only looked at: no tape.
    let bonus = match config.entropy_coefficient {
        0.0 => Tensor::from_inner(stats.entropies.inner()),
        _ => stats.entropies,
    };
    seen.entropy += total(bonus.clone());
    (losses, bonus)
}

/// Losses of the slots of some rows.
fn value_losses<B: LmAutodiffBackend>(
    value: &ScalarModel<B>,
    rows: &[&Experience],
    config: &PpoConfig,
    seen: &mut Diagnostics,
    device: &B::Device,
) -> Tensor<B, 1> {
    let token_rows: Vec<&TokenRow> = rows.iter().map(|row| &row.tokens).collect();
    let learned = LearnedTokens::<B>::new(&token_rows, device);
    let [old, returns] = [concat(rows, |row| &row.old_values), concat(rows, |row| &row.returns)];
    let slots: Vec<usize> = rows.iter().map(|row| row.old_values.len()).collect();
    let cells = value_cells(&learned, &token_rows, &slots);
    let new = values_at(value, &learned.batch, &cells);
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

fn concat(rows: &[&Experience], part: fn(&Experience) -> &Vec<f32>) -> Vec<f32> {
    rows.iter().flat_map(|row| part(row)).copied().collect()
}

fn vector<B: LmBackend>(values: &[f32], device: &B::Device) -> Tensor<B, 1> {
    Tensor::from_data(values, device)
}

fn total<B: LmAutodiffBackend>(losses: Tensor<B, 1>) -> f64 {
    f64::from(host(losses.inner().sum())[0])
}
