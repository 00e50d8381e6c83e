//! What is told of a step.

use rein_data::log::Metrics;

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
    reward: &str,
) -> Metrics {
    let mut metrics = Metrics::default();
    let count = rows.len() as f64;
    let mean = |value: &dyn Fn(&Row, &Shaped) -> f64| {
        rows.iter().zip(shaped).map(|(row, shaped)| value(row, shaped)).sum::<f64>() / count
    };
    let nats = |shaped: &Shaped| shaped.kl.iter().sum::<f64>();
    let surprise = |row: &Row| -row.logprobs.iter().map(|it| f64::from(*it)).sum::<f64>();
    let raw = mean(&|row, _| f64::from(row.score));
    let variance = mean(&|row, _| (f64::from(row.score) - raw).powi(2));
    metrics.push("objective/kl", mean(&|_, shaped| nats(shaped)));
    metrics.push("objective/entropy", mean(&|row, _| surprise(row)));
    metrics.push("objective/non_score_reward", mean(&|_, shaped| -beta * nats(shaped)));
    metrics.push("objective/rlhf_reward", mean(&|_, shaped| shaped.score - beta * nats(shaped)));
    metrics.push("objective/scores", mean(&|_, shaped| shaped.score));
    metrics.push("objective/kl_coef", beta);
    metrics.push(format!("rewards/{reward}/mean"), raw);
    metrics.push(format!("rewards/{reward}/std"), variance.sqrt());
    let unfinished = mean(&|row, _| f64::from(u8::from(!row.finished)));
    metrics.push("val/num_eos_tokens", count * (1.0 - unfinished));
    metrics.push("completions/mean_length", mean(&|row, _| row.logprobs.len() as f64));
    metrics.push("completions/clipped_ratio", unfinished);
    metrics
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
