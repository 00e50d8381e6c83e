//! Advantage estimators: pure functions on the tokens of completions.
//!
//! A completion is a list of its own length, so there is no padding and no mask. The work is tiny
//! beside the networks', and done on the host in f64.

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

/// `(x − mean) / √(var + 1e-8)` over the tokens of all completions, with the unbiased variance, as
/// TRL computes it; [`Mean::Kept`] adds the mean again. A single token is left as it is.
pub fn whiten(rows: &mut [Vec<f64>], mean_is: Mean) {
    let count = rows.iter().map(Vec::len).sum::<usize>() as f64;
    if count < 2.0 {
        return;
    }
    let mean = rows.iter().flatten().sum::<f64>() / count;
    let squares = rows.iter().flatten().map(|value| (value - mean).powi(2)).sum::<f64>();
    let scale = (squares / (count - 1.0) + 1e-8).sqrt().recip();
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
    let mean = values.iter().sum::<f64>() / values.len() as f64;
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
            whiten(&mut rows, Mean::Removed);
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
