//! What is told of a step.

use rein_data::log::Metrics;
use rein_reward::Reward;

use crate::advantage::explained_variance;
use crate::diagnostics::Diagnostics;
use crate::experience::Experience;
use crate::rollout::Row;
use crate::shaping::Shaped;

/// TRL's names, with means over real tokens only.
pub(crate) fn describe_rollout(
    rows: &[Row],
    shaped: &[Shaped],
    beta: f64,
    reward: &dyn Reward,
) -> Metrics {
    let mut metrics = Metrics::default();
    let count = rows.len() as f64;
    let mean = |value: &dyn Fn(&Row, &Shaped) -> f64| {
        rows.iter().zip(shaped).map(|(row, shaped)| value(row, shaped)).sum::<f64>() / count
    };
    let nats = |shaped: &Shaped| shaped.kl.iter().sum::<f64>();
    let surprise = |row: &Row| -row.logprobs.iter().map(|it| f64::from(*it)).sum::<f64>();
    metrics.push("objective/kl", mean(&|_, shaped| nats(shaped)));
    metrics.push("objective/entropy", mean(&|row, _| surprise(row)));
    metrics.push("objective/non_score_reward", mean(&|_, shaped| -beta * nats(shaped)));
    metrics.push("objective/rlhf_reward", mean(&|_, shaped| shaped.score - beta * nats(shaped)));
    metrics.push("objective/scores", mean(&|_, shaped| shaped.score));
    metrics.push("objective/kl_coef", beta);
    describe_rewards(rows, reward, &mut metrics);
    let unfinished = mean(&|row, _| f64::from(u8::from(!row.finished)));
    metrics.push("val/num_eos_tokens", count * (1.0 - unfinished));
    metrics.push("completions/mean_length", mean(&|row, _| row.logprobs.len() as f64));
    metrics.push("completions/clipped_ratio", unfinished);
    let n_turns = mean(&|row, _| row.tokens.turns().len() as f64);
    if n_turns > 1.0 {
        metrics.push("completions/mean_turns", n_turns);
    }
    metrics
}

/// Mean and deviation of a reward's scores as it gave them, and of those of its parts, if it is a mixture.
fn describe_rewards(rows: &[Row], reward: &dyn Reward, metrics: &mut Metrics) {
    let mut tell = |name: &str, scores: Vec<f64>| {
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let average = mean(&scores);
        let squares: Vec<f64> = scores.iter().map(|it| (it - average).powi(2)).collect();
        metrics.push(format!("rewards/{name}/mean"), average);
        metrics.push(format!("rewards/{name}/std"), mean(&squares).sqrt());
    };
    tell(reward.name(), rows.iter().map(|row| f64::from(row.score)).collect());
    for (place, part) in reward.parts().iter().enumerate() {
        let scores = rows.iter().map(|row| row.part_scores.get(place).copied().map(f64::from));
        // Rows that were collected elsewhere may know the sum only.
        if let Some(scores) = scores.collect() {
            tell(part.reward.name(), scores);
        }
    }
}

/// How well the values foresaw the returns, if there are any.
pub(crate) fn describe_values(rows: &[Row], experience: &[Experience], metrics: &mut Metrics) {
    let (mut values, mut returns) = (Vec::new(), Vec::new());
    for (row, experience) in rows.iter().zip(experience) {
        returns.extend(experience.returns.iter().map(|it| f64::from(*it)));
        values.extend(row.values[..experience.returns.len()].iter().map(|it| f64::from(*it)));
    }
    if !values.is_empty() {
        metrics.push("critic/vf_explained_var", explained_variance(&returns, &values));
    }
}

/// Means over what an update saw of each network, if it was one's turn.
pub(crate) fn describe_update(seen: &Diagnostics, metrics: &mut Metrics) {
    if seen.n_tokens > 0.0 {
        metrics.push("policy/approxkl_avg", seen.approx_kl / seen.n_tokens);
        metrics.push("policy/clipfrac_avg", seen.n_clipped / seen.n_tokens);
        metrics.push("policy/entropy_avg", seen.entropy / seen.n_tokens);
        metrics.push("loss/policy_avg", seen.policy_loss / seen.n_tokens);
        metrics.push("val/ratio", seen.ratio / seen.n_tokens);
        metrics.push("val/ratio_var", seen.ratio_variance());
    }
    if seen.n_values > 0.0 {
        metrics.push("loss/value_avg", seen.value_loss / seen.n_values);
        metrics.push("val/clipfrac_avg", seen.n_values_clipped / seen.n_values);
    }
    if seen.n_imitated > 0.0 {
        metrics.push("loss/ptx_avg", seen.imitation_loss / seen.n_imitated);
    }
}
