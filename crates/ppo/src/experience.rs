//! What a step's completions are worth: rewards of tokens, advantages and returns.

use rein_data::encoding::TokenRow;

use crate::advantage::{
    AdvantageEstimator, Advantages, Mean, gae, group_relative, leave_one_out, returns, standardize,
    whiten,
};
use crate::config::{KlPlacement, PpoConfig};
use crate::hyperparameters::Hyperparameters;
use crate::importance;
use crate::preference::online::{log_ratios, preferred};
use crate::rollout::Row;
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
    /// Values at sampling time, one to a slot; none without a value model.
    pub old_values: Vec<f32>,
    /// What the values should have been, one to a slot.
    pub returns: Vec<f32>,
    /// The KL penalty, if it is a part of the loss.
    pub penalty: Option<Penalty>,
}

/// A KL penalty that is a part of the loss.
#[derive(Clone, Debug, PartialEq)]
pub struct Penalty {
    /// What a nat costs.
    pub coefficient: f32,
    /// What the frozen reference gave to each token.
    pub reference_logprobs: Vec<f32>,
}

/// Shapes rewards and estimates advantages of a step's rows, of which `samples_per_prompt` in turn
/// complete the same prompt.
pub fn prepare(
    rows: &[Row],
    config: &PpoConfig,
    now: &Hyperparameters,
) -> (Vec<Shaped>, Vec<Experience>) {
    let shaping = Shaping::new(config, now.kl_coefficient);
    let mut shaped: Vec<Shaped> = rows.iter().map(|row| shape(row, &shaping)).collect();
    if config.whiten_rewards {
        let mut rewards: Vec<Vec<f64>> =
            shaped.iter_mut().map(|it| std::mem::take(&mut it.rewards)).collect();
        whiten(&mut rewards, Mean::Kept, config.advantage.whitens_by());
        shaped.iter_mut().zip(rewards).for_each(|(it, rewards)| it.rewards = rewards);
    }
    let estimates = estimate(rows, &shaped, config, now).into_iter();
    let (mut advantages, returns): (Vec<_>, Vec<_>) =
        estimates.map(|Advantages { advantages, returns }| (advantages, returns)).unzip();
    // The slot after the last token has a value and a return, but no token that gained anything.
    for (advantages, row) in advantages.iter_mut().zip(rows) {
        advantages.truncate(row.logprobs.len());
    }
    if config.whiten_advantages {
        whiten(&mut advantages, Mean::Removed, config.advantage.whitens_by());
    }
    let parts = rows.iter().zip(advantages).zip(returns);
    let experience =
        parts.map(|((row, advantages), returns)| part(row, advantages, returns, &shaping, config));
    let experience = experience.collect();
    (shaped, experience)
}

/// Advantages of each row's slots, not whitened, and returns where there are values.
fn estimate(
    rows: &[Row],
    shaped: &[Shaped],
    config: &PpoConfig,
    now: &Hyperparameters,
) -> Vec<Advantages> {
    let group_size = config.samples_per_prompt;
    let totals = || shaped.iter().map(|it| it.rewards.iter().sum()).collect::<Vec<f64>>();
    let to_go = || shaped.iter().map(|it| returns(&it.rewards, now.gamma)).collect::<Vec<_>>();
    let advantages = match config.advantage {
        AdvantageEstimator::Gae => return expected(rows, shaped, now),
        AdvantageEstimator::Returns => to_go(),
        AdvantageEstimator::CenteredReturns => centered(to_go()),
        AdvantageEstimator::GroupRelative { scale } => {
            on_all_tokens(&group_relative(&totals(), group_size, scale), shaped)
        }
        AdvantageEstimator::LeaveOneOut { standardized } => {
            let mut advantages = leave_one_out(&totals(), group_size);
            if standardized {
                standardize(&mut advantages);
            }
            on_all_tokens(&advantages, shaped)
        }
        AdvantageEstimator::Preferred { loss, beta } => {
            let scores: Vec<f64> = shaped.iter().map(|it| it.score).collect();
            let advantages = preferred(&scores, &log_ratios(rows), group_size, loss, beta);
            on_all_tokens(&advantages, shaped)
        }
    };
    let alone = |advantages| Advantages { advantages, returns: Vec::new() };
    advantages.into_iter().map(alone).collect()
}

/// [`gae`] of each row.
fn expected(rows: &[Row], shaped: &[Shaped], now: &Hyperparameters) -> Vec<Advantages> {
    let pairs = rows.iter().zip(shaped);
    pairs
        .map(|(row, shaped)| {
            let values = &row.values[..shaped.rewards.len()];
            gae(&shaped.rewards, values, now.gamma, now.lambda)
        })
        .collect()
}

/// Less the mean over all tokens.
fn centered(mut rows: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    let count = rows.iter().map(Vec::len).sum::<usize>() as f64;
    let mean = rows.iter().flatten().sum::<f64>() / count;
    rows.iter_mut().flatten().for_each(|it| *it -= mean);
    rows
}

/// Every token has what its completion gained.
fn on_all_tokens(advantages: &[f64], shaped: &[Shaped]) -> Vec<Vec<f64>> {
    let rows = shaped.iter().zip(advantages);
    rows.map(|(shaped, advantage)| vec![*advantage; shaped.rewards.len()]).collect()
}

fn part(
    row: &Row,
    advantages: Vec<f64>,
    returns: Vec<f64>,
    shaping: &Shaping,
    config: &PpoConfig,
) -> Experience {
    let penalty = (config.kl_placement == KlPlacement::Loss).then(|| Penalty {
        coefficient: shaping.kl_coefficient as f32,
        reference_logprobs: row.reference_logprobs.clone(),
    });
    Experience {
        tokens: row.tokens.clone(),
        old_logprobs: row.logprobs.clone(),
        importance: row
            .sampled_logprobs
            .as_ref()
            .filter(|_| config.advantage.is_on_policy())
            .map(|sampled| importance::weights(&row.logprobs, sampled, config.importance_cap)),
        advantages: advantages.into_iter().map(|it| it as f32).collect(),
        old_values: row.values[..returns.len()].to_vec(),
        returns: returns.into_iter().map(|it| it as f32).collect(),
        penalty,
    }
}
