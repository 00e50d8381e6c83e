//! What is told of a step.

use rein_data::log::Metrics;
use rein_reward::{Reward, Weighted};

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

/// Mean and deviation of a reward's scores as it gave them, and of those of its parts, if it is a mixture: with
/// how each goes along with the sum (Pearson's correlation; 0 where either is constant). Of rules, also the
/// share of completions whose score isn't 0, and how many they couldn't judge.
fn describe_rewards(rows: &[Row], reward: &dyn Reward, metrics: &mut Metrics) {
    let total: Vec<f64> = rows.iter().map(|row| f64::from(row.score)).collect();
    describe_reward(reward, &total, metrics);
    if reward.is_rule() {
        describe_rule(reward, 0, &total, rows, metrics);
    }
    let n_parts = reward.parts().len();
    for (place, Weighted { reward, .. }) in reward.parts().iter().enumerate() {
        let scores = rows.iter().map(|row| row.part_scores.get(place).copied().map(f64::from));
        // Rows that were collected elsewhere may know the sum only.
        let Some(scores) = scores.collect::<Option<Vec<f64>>>() else { continue };
        describe_reward(&**reward, &scores, metrics);
        let name = reward.name();
        if n_parts > 1 {
            metrics.push(format!("rewards/{name}/correlation"), correlation(&scores, &total));
        }
        if reward.is_rule() {
            describe_rule(&**reward, place, &scores, rows, metrics);
        }
    }
}

fn describe_reward(reward: &dyn Reward, scores: &[f64], metrics: &mut Metrics) {
    let (name, average) = (reward.name(), mean(scores));
    let squares: Vec<f64> = scores.iter().map(|it| (it - average).powi(2)).collect();
    metrics.push(format!("rewards/{name}/mean"), average);
    metrics.push(format!("rewards/{name}/std"), mean(&squares).sqrt());
}

fn describe_rule(
    rule: &dyn Reward,
    part: usize,
    scores: &[f64],
    rows: &[Row],
    metrics: &mut Metrics,
) {
    let (name, n_rows) = (rule.name(), rows.len() as f64);
    let n_fired = scores.iter().filter(|score| **score != 0.0).count() as f64;
    metrics.push(format!("rewards/{name}/fired"), n_fired / n_rows);
    let failed = rows.iter().flat_map(|row| &row.failed_parts).filter(|(it, _)| *it == part);
    metrics.push(format!("rewards/{name}/errors"), failed.count() as f64);
}

/// The share of prompts whose completions all have the same score, from which an advantage that compares them
/// learns nothing; under TRL's name, where a prompt has several completions.
pub(crate) fn describe_groups(rows: &[Row], n_samples: usize, metrics: &mut Metrics) {
    if n_samples < 2 || rows.is_empty() {
        return;
    }
    let groups: Vec<&[Row]> = rows.chunks(n_samples).collect();
    let tied = groups.iter().filter(|rows| rows.iter().all(|row| row.score == rows[0].score));
    metrics.push("frac_reward_zero_std", tied.count() as f64 / groups.len() as f64);
}

/// What is said of completions that rules couldn't judge: of each rule, how many, and why the first one.
pub(crate) fn failure_notes(rows: &[Row], reward: &dyn Reward, step: usize) -> Vec<String> {
    let parts = reward.parts();
    let names: Vec<&str> = match parts {
        [] => vec![reward.name()],
        parts => parts.iter().map(|it| it.reward.name()).collect(),
    };
    let note = |(place, name): (usize, &str)| {
        let failed = rows.iter().flat_map(|row| &row.failed_parts).filter(|(it, _)| *it == place);
        let reasons: Vec<&String> = failed.map(|(_, reason)| reason).collect();
        let first = reasons.first()?;
        let (count, n_rows) = (reasons.len(), rows.len());
        Some(format!(
            "rl: step {step}: the rule `{name}` couldn't judge {count} of {n_rows} completions, which have its \
             `default` as their score; the first: {first}"
        ))
    };
    names.into_iter().enumerate().filter_map(note).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn correlation(one: &[f64], other: &[f64]) -> f64 {
    let (mean_one, mean_other) = (mean(one), mean(other));
    let sum = |product: &dyn Fn(f64, f64) -> f64| -> f64 {
        one.iter().zip(other).map(|(a, b)| product(a - mean_one, b - mean_other)).sum()
    };
    let (both, squares) = (sum(&|a, b| a * b), sum(&|a, _| a * a) * sum(&|_, b| b * b));
    if squares > 0.0 { (both / squares.sqrt()).clamp(-1.0, 1.0) } else { 0.0 }
}

/// What an evaluation tells of its rollout: also the means of some metrics, and failures of rewards.
pub(crate) fn describe_evaluation(all: &Metrics, means: &[String]) -> Metrics {
    let always = ["objective/scores", "objective/kl", "completions/mean_length"];
    let of_name = |name: &str| (format!("eval_{name}"), all.get(name).expect("is always told"));
    let mut metrics = Metrics(always.map(of_name).into());
    for (name, value) in &all.0 {
        if means.contains(name) || name.ends_with("/errors") && *value > 0.0 {
            metrics.push(format!("eval_{name}"), *value);
        }
    }
    metrics
}

/// The names of the means that an evaluation tells, too: those of a mixture's parts.
pub(crate) fn evaluated_means(reward: &dyn Reward, mut means: Vec<String>) -> Vec<String> {
    for part in reward.parts() {
        let name = format!("rewards/{}/mean", part.reward.name());
        if !means.contains(&name) {
            means.push(name);
        }
    }
    means
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn correlations_are_those_of_the_textbook() {
        // Distances ±1.5, ±0.5: sums of products 4 and of squares 5.
        let one = [1.0, 2.0, 3.0, 4.0];
        assert!((correlation(&one, &[1.0, 3.0, 2.0, 4.0]) - 0.8).abs() < 1e-12);
        assert!((correlation(&one, &[0.0, -2.0, -4.0, -6.0]) + 1.0).abs() < 1e-12);
        assert_eq!(correlation(&one, &[7.0; 4]), 0.0);
    }
}
