//! Advantage estimators: pure functions on the tokens of completions.
//!
//! A completion is a list of its own length, so there is no padding and no mask. The work is tiny
//! beside the networks', and done on the host in f64.
//!
//! Of a conversation with several [turns](crate::episode), the list holds the policy's own tokens, turn after
//! turn: the token after the last one of a turn is the first one of the next. What others say between belongs
//! to the state and takes no step, so nothing is discounted for it.

use serde::{Deserialize, Serialize};

use crate::preference::online::OnlineLoss;

/// What a token's advantage is: how much better than expected its completion was, and who expected it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum AdvantageEstimator {
    /// [`gae`]: a value model expects. PPO, A2C and TRPO have it.
    #[default]
    Gae,
    /// [`returns`], of which nobody expected anything. REINFORCE, and REINFORCE++ where they are
    /// whitened.
    Returns,
    /// [`returns`] less their mean over all tokens of the step: REINFORCE with a baseline.
    CenteredReturns,
    /// [`group_relative`]: the other completions of the prompt expect. GRPO; not scaled, Dr. GRPO, and
    /// whitened besides, REINFORCE++ with a baseline.
    GroupRelative {
        /// What differences are divided by.
        #[serde(default)]
        scale: Scale,
    },
    /// [`leave_one_out`]: RLOO.
    LeaveOneOut {
        /// Whether the advantages of all completions get mean 0 and deviation 1.
        #[serde(default)]
        standardized: bool,
    },
    /// [`preferred`](crate::preference::online::preferred): the best of a prompt's completions against the
    /// worst, by a loss of pairs. Online DPO.
    Preferred {
        /// What is paid for a pair.
        #[serde(default)]
        loss: OnlineLoss,
        /// How far the policy is held from leaving the reference.
        #[serde(default = "preferred_beta")]
        beta: f64,
    },
}

/// As in TRL's `OnlineDPOConfig`.
fn preferred_beta() -> f64 {
    0.1
}

impl AdvantageEstimator {
    /// Online DPO with the numbers of TRL's `OnlineDPOConfig`.
    pub fn preferred() -> Self {
        Self::Preferred { loss: OnlineLoss::default(), beta: preferred_beta() }
    }

    /// What is wrong with its numbers.
    pub(crate) fn problem(self) -> Option<String> {
        match self {
            Self::Preferred { beta, .. } if !(beta > 0.0 && beta.is_finite()) => {
                Some("`rl.advantage.beta` must be above 0".into())
            }
            _ => None,
        }
    }

    /// Whether it asks a value model.
    pub fn needs_values(self) -> bool {
        matches!(self, Self::Gae)
    }

    /// Whether it compares completions of one prompt.
    pub fn compares(self) -> bool {
        matches!(
            self,
            Self::GroupRelative { .. } | Self::LeaveOneOut { .. } | Self::Preferred { .. }
        )
    }

    /// Whether it is an expectation over the policy's own completions, so that those of another policy must
    /// be weighed. A loss of pairs may be paid for whatever was sampled.
    pub fn is_on_policy(self) -> bool {
        !matches!(self, Self::Preferred { .. })
    }

    /// The variance that whitening divides by, as the algorithm's authors have it.
    pub fn whitens_by(self) -> Variance {
        if self.needs_values() { Variance::Unbiased } else { Variance::Biased }
    }
}

/// What differences from a group's mean are divided by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// The standard deviation of the group (Shao et al., 2024).
    #[default]
    Group,
    /// The standard deviation of all completions of the step.
    Batch,
    /// Nothing, so that prompts of which all completions are alike weigh no more than others (Liu et
    /// al., 2025).
    None,
}

/// Added to standard deviations that are divided by, as in TRL.
const LEAST_DEVIATION: f64 = 1e-4;

/// Rewards to go, `G_t = Σ_l γ^l r_{t+l}` (Williams, 1992).
///
/// # Shapes
/// - `rewards`, returns: one number for each token of one completion
pub fn returns(rewards: &[f64], gamma: f32) -> Vec<f64> {
    let gamma = f64::from(gamma);
    let mut to_go = rewards.to_vec();
    for token in (1..to_go.len()).rev() {
        to_go[token - 1] += gamma * to_go[token];
    }
    to_go
}

/// `(s_i − mean of its group) / (std + 1e-4)` with the unbiased deviation (Shao et al., 2024, §4.1.2).
/// 0 in a group of equal scores, and in one of a single completion.
///
/// # Shapes
/// - `scores`, returns: one number for each completion; `group_size` of them in turn share a prompt
pub fn group_relative(scores: &[f64], group_size: usize, scale: Scale) -> Vec<f64> {
    let all = deviation(scores);
    let groups = scores.chunks(group_size);
    groups
        .flat_map(|group| {
            let mean = mean(group);
            let is_even = group.iter().all(|score| *score == group[0]);
            let divisor = match scale {
                Scale::Group => deviation(group) + LEAST_DEVIATION,
                Scale::Batch => all + LEAST_DEVIATION,
                Scale::None => 1.0,
            };
            group.iter().map(move |score| if is_even { 0.0 } else { (score - mean) / divisor })
        })
        .collect()
}

/// `s_i −` the mean of the group's other scores (Kool et al., 2019; Ahmadian et al., 2024).
/// 0 in a group of equal scores, and in one of a single completion.
///
/// # Shapes
/// - those of [`group_relative`]
pub fn leave_one_out(scores: &[f64], group_size: usize) -> Vec<f64> {
    let differences = group_relative(scores, group_size, Scale::None).into_iter().enumerate();
    let share = |index: usize| {
        let count = group_size.min(scores.len() - index / group_size * group_size) as f64;
        if count > 1.0 { count / (count - 1.0) } else { 0.0 }
    };
    differences.map(|(index, difference)| difference * share(index)).collect()
}

/// `(x − mean) / (std + 1e-4)` with the unbiased deviation.
pub fn standardize(values: &mut [f64]) {
    let (mean, deviation) = (mean(values), deviation(values));
    values.iter_mut().for_each(|it| *it = (*it - mean) / (deviation + LEAST_DEVIATION));
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The unbiased standard deviation; 0 of a single value.
fn deviation(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    if count < 2.0 { 0.0 } else { (variance(values) * count / (count - 1.0)).sqrt() }
}

/// What GAE says of one completion.
#[derive(Clone, Debug, PartialEq)]
pub struct Advantages {
    /// What each token gained over expectation.
    pub advantages: Vec<f64>,
    /// What the value model should have said: advantage + value.
    pub returns: Vec<f64>,
}

/// Generalised advantage estimation (Schulman et al., 2016, eq. 16).
///
/// `Â_t = Σ_l (γλ)^l δ_{t+l}`, with `δ_t = r_t + γ V_{t+1} − V_t` and `V = 0` after the last token.
///
/// # Shapes
/// - `rewards`, `values`, returns: one number for each token of one completion
pub fn gae(rewards: &[f64], values: &[f32], gamma: f32, lambda: f32) -> Advantages {
    assert_eq!(rewards.len(), values.len(), "each token has a reward and a value");
    let (gamma, lambda) = (f64::from(gamma), f64::from(lambda));
    let mut advantages = vec![0.0; rewards.len()];
    let (mut next_value, mut next_advantage) = (0.0, 0.0);
    for token in (0..rewards.len()).rev() {
        let value = f64::from(values[token]);
        let delta = rewards[token] + gamma * next_value - value;
        advantages[token] = delta + gamma * lambda * next_advantage;
        (next_value, next_advantage) = (value, advantages[token]);
    }
    let returns = advantages.iter().zip(values).map(|(gain, value)| gain + f64::from(*value));
    Advantages { returns: returns.collect(), advantages }
}

/// Whether whitening takes out the mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mean {
    /// The mean becomes 0.
    Removed,
    /// The mean stays as it was.
    Kept,
}

/// Which variance whitening divides by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variance {
    /// That of a sample, plus 1e-8, as in TRL.
    Unbiased,
    /// That of all there is, at least 1e-8, as in OpenRLHF's REINFORCE++ (Hu, 2025).
    Biased,
}

/// `(x − mean) / √var` over the tokens of all completions; [`Mean::Kept`] adds the mean again. A
/// single token is left as it is.
pub fn whiten(rows: &mut [Vec<f64>], mean_is: Mean, by: Variance) {
    let count = rows.iter().map(Vec::len).sum::<usize>() as f64;
    if count < 2.0 {
        return;
    }
    let mean = rows.iter().flatten().sum::<f64>() / count;
    let squares = rows.iter().flatten().map(|value| (value - mean).powi(2)).sum::<f64>();
    let variance = match by {
        Variance::Unbiased => squares / (count - 1.0) + 1e-8,
        Variance::Biased => (squares / count).max(1e-8),
    };
    let scale = variance.sqrt().recip();
    let kept = if mean_is == Mean::Kept { mean } else { 0.0 };
    for value in rows.iter_mut().flatten() {
        *value = (*value - mean) * scale + kept;
    }
}

/// `1 − Var(returns − values) / Var(returns)`: 1 for a perfect value model, 0 for one that knows
/// only the mean. NaN where all returns are equal.
pub fn explained_variance(returns: &[f64], values: &[f64]) -> f64 {
    let errors: Vec<f64> = returns.iter().zip(values).map(|(it, value)| it - value).collect();
    1.0 - variance(&errors) / variance(returns)
}

fn variance(values: &[f64]) -> f64 {
    let mean = mean(values);
    values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn completion() -> impl Strategy<Value = (Vec<f64>, Vec<f32>)> {
        prop::collection::vec((-2.0..2.0_f64, -2.0..2.0_f32), 1..12)
            .prop_map(|tokens| tokens.into_iter().unzip())
    }

    proptest! {
        #[test]
        fn lambda_one_is_the_monte_carlo_return_minus_the_value((rewards, values) in completion()) {
            let got = gae(&rewards, &values, 1.0, 1.0);
            for token in 0..rewards.len() {
                let to_go: f64 = rewards[token..].iter().sum();
                prop_assert!((got.advantages[token] - (to_go - f64::from(values[token]))).abs() < 1e-9);
                prop_assert!((got.returns[token] - to_go).abs() < 1e-9);
            }
        }

        #[test]
        fn lambda_zero_is_the_td_error((rewards, values) in completion()) {
            let got = gae(&rewards, &values, 0.9, 0.0);
            for token in 0..rewards.len() {
                let next = values.get(token + 1).map_or(0.0, |value| f64::from(*value));
                let delta = rewards[token] + f64::from(0.9_f32) * next - f64::from(values[token]);
                prop_assert!((got.advantages[token] - delta).abs() < 1e-9);
            }
        }

        #[test]
        fn whitening_gives_mean_zero_and_variance_one(
            mut rows in prop::collection::vec(prop::collection::vec(-5.0..5.0_f64, 0..6), 2..6)
        ) {
            let count = rows.iter().map(Vec::len).sum::<usize>();
            prop_assume!(count > 2 && rows.iter().flatten().any(|it| (it - rows.concat()[0]).abs() > 0.1));
            whiten(&mut rows, Mean::Removed, Variance::Unbiased);
            let flat = rows.concat();
            prop_assert!((flat.iter().sum::<f64>() / count as f64).abs() < 1e-9);
            prop_assert!((variance(&flat) * count as f64 / (count - 1) as f64 - 1.0).abs() < 1e-4);
        }
    }

    #[test]
    fn a_perfect_value_model_explains_all() {
        assert_eq!(explained_variance(&[1.0, 2.0], &[1.0, 2.0]), 1.0);
        assert_eq!(explained_variance(&[1.0, 2.0], &[7.0, 7.0]), 0.0);
    }
}
