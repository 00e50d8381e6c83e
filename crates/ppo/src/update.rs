//! The update of policy and value model on a step's completions.

use burn::prelude::*;
use rein_data::encoding::TokenRow;
use rein_model::Learner;
use rein_model::backend::{LmAutodiffBackend, LmBackend};
use rein_model::guard::finite;
use rein_model::logprobs::learned_stats;
use rein_model::tokens::{LearnedTokens, host};

use crate::PpoError;
use crate::actor_critic::ActorCritic;
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

/// One update on a minibatch; `step`, counted from 0, is named in errors. Returns the gradient's
/// norm and what the minibatch looked like before the update.
///
/// Losses are divided by the tokens of the whole minibatch, so that it can be cut into micro-batches
/// in any way.
pub fn update_minibatch<B: LmAutodiffBackend>(
    learner: &mut Learner<B, ActorCritic<B>>,
    minibatch: &[&Experience],
    config: &PpoConfig,
    learning_rate: f64,
    step: usize,
    device: &B::Device,
) -> Result<(f64, Diagnostics), PpoError> {
    let n_tokens = minibatch.iter().map(|row| row.old_logprobs.len()).sum::<usize>() as f64;
    let n_values = minibatch.iter().map(|row| row.old_values.len()).sum::<usize>() as f64;
    let mut seen = Diagnostics::default();
    let micro_batches = minibatch.chunks(config.micro_batch_rows);
    let gradients = learner.gradients(micro_batches, |actors, rows| {
        let (policy, value, bonus) = losses(actors, rows, config, &mut seen, device);
        policy.sum() / n_tokens + value.sum() * (f64::from(config.value_coefficient) / n_values)
            - bonus.sum() * (f64::from(config.entropy_coefficient) / n_tokens)
    });
    finite(step, "the loss", seen.policy_loss + seen.value_loss)?;
    Ok((learner.update(step, gradients, learning_rate)?, seen))
}

/// Policy losses, value losses and entropies of some rows.
fn losses<B: LmAutodiffBackend>(
    actors: &ActorCritic<B>,
    rows: &[&Experience],
    config: &PpoConfig,
    seen: &mut Diagnostics,
    device: &B::Device,
) -> (Tensor<B, 1>, Tensor<B, 1>, Tensor<B, 1>) {
    let token_rows: Vec<&TokenRow> = rows.iter().map(|row| &row.tokens).collect();
    let learned = LearnedTokens::<B>::new(&token_rows, device);

    let [old, advantages] =
        [concat(rows, |row| &row.old_logprobs), concat(rows, |row| &row.advantages)];
    let stats = learned_stats(&actors.policy, &learned, config.temperature);
    let new = stats.logprobs;
    seen.see_policy(&host(new.clone().inner()), &old, &advantages, config.clip_range);
    let policy =
        policy_loss(new, vector(&old, device), vector(&advantages, device), config.clip_range);
    let policy = weighted(policy, rows, device);
    seen.policy_loss += total(policy.clone());

    // Without a bonus, the entropy is only looked at: no tape.
    let bonus = match config.entropy_coefficient {
        0.0 => Tensor::from_inner(stats.entropies.inner()),
        _ => stats.entropies,
    };
    seen.entropy += total(bonus.clone());

    let [old, returns] = [concat(rows, |row| &row.old_values), concat(rows, |row| &row.returns)];
    let slots: Vec<usize> = rows.iter().map(|row| row.old_values.len()).collect();
    let cells = value_cells(&learned, &token_rows, &slots);
    let new = values_at(&actors.value, &learned.batch, &cells);
    seen.see_values(&host(new.clone().inner()), &old, &returns, config.clip_range_value);
    let value =
        value_loss(new, vector(&old, device), vector(&returns, device), config.clip_range_value);
    seen.value_loss += total(value.clone());
    (policy, value, bonus)
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
