//! What was measured step by step, as charts.

use rein_data::log::Record;
use rein_reward::overoptimization::{Curve, Optimization};

use super::chart::{Chart, Mark, Series};
use crate::pipeline::BestOf;

/// All charts of a round, those without a curve among them.
pub(super) fn charts(records: &[Record], best_of: &[BestOf]) -> Vec<Chart> {
    [charts_of_learning(records, best_of), charts_of_training(records)].concat()
}

/// How reinforcement learning went.
fn charts_of_learning(records: &[Record], best_of: &[BestOf]) -> Vec<Chart> {
    let by_step = |metric, name| curve(records, "rl", ["step", metric], name);
    let by_distance = |kl, metric, name| {
        let mut of = curve(records, "rl", [kl, metric], name);
        of.points.iter_mut().for_each(|(kl, _)| *kl = kl.max(0.0).sqrt());
        of
    };
    let gold = by_distance("eval_objective/kl", "eval_rewards/gold/mean", "gold, held-out");
    let fitted = fitted(&gold.points);
    let chart = |title, y_axis, series| Chart {
        title,
        axes: ["step of reinforcement learning", y_axis],
        series,
    };
    vec![
        Chart {
            title: "Reward against distance",
            axes: ["√KL from the policy that was begun with, nats per reply", "reward"],
            series: vec![
                by_distance("objective/kl", "objective/scores", "learned").sorted(),
                gold.sorted(),
                fitted,
                picked("best of n, learned", best_of, |it| Some(it.reward)),
                picked("best of n, gold", best_of, |it| it.gold),
            ],
        },
        chart(
            "Reward",
            "reward",
            vec![
                by_step("objective/scores", "learned"),
                by_step("eval_objective/scores", "learned, held-out"),
                by_step("eval_rewards/gold/mean", "gold, held-out"),
            ],
        ),
        chart("Distance", "nats per reply", vec![by_step("objective/kl", "KL")]),
        chart("Entropy", "nats per token", vec![by_step("policy/entropy_avg", "entropy")]),
        chart("Length", "tokens per reply", vec![by_step("completions/mean_length", "length")]),
    ]
}

/// What picking the best of several replies comes to, over its distance.
fn picked(
    name: &'static str,
    best_of: &[BestOf],
    value: impl Fn(&BestOf) -> Option<f64>,
) -> Series {
    let points = best_of.iter().filter_map(|it| Some((it.kl.sqrt(), value(it)?)));
    Series { name, mark: Mark::Points, points: points.collect() }
}

/// The curve of Gao et al. (2023) that comes closest to the truth, as far as evaluations reach; empty where they are too
/// few, or don't rise and bend as it does.
fn fitted(gold: &[(f64, f64)]) -> Series {
    const N_POINTS: usize = 60;
    let distances = || gold.iter().map(|(d, _)| *d);
    let (nearest, farthest) =
        (distances().fold(f64::INFINITY, f64::min), distances().fold(0.0, f64::max));
    let bends = |(curve, _): &(Curve, f64)| curve.alpha > 0.0 && curve.beta > 0.0;
    let points = match Curve::fit_with_start(Optimization::Rl, gold).filter(bends) {
        Some((curve, start)) => (0..=N_POINTS)
            .map(|it| nearest + (farthest - nearest) * it as f64 / N_POINTS as f64)
            .map(|d| (d, start + curve.gain(d)))
            .collect(),
        None => Vec::new(),
    };
    Series { name: "gold, fitted", mark: Mark::Line, points }
}

/// How the supervised stages went.
fn charts_of_training(records: &[Record]) -> Vec<Chart> {
    let chart = |title, stage, y_axis, metrics: [&str; 2]| {
        let [training, heldout] = metrics;
        let series = vec![
            curve(records, stage, ["step", training], "training").smoothed(),
            curve(records, stage, ["step", heldout], "held-out"),
        ];
        Chart { title, axes: ["step", y_axis], series }
    };
    vec![
        chart("Loss of fine-tuning", "sft", "nats per token", ["loss", "eval_loss"]),
        chart("Loss of the reward model", "reward", "loss", ["loss", "eval_loss"]),
        chart(
            "Accuracy of the reward model",
            "reward",
            "share of judgements",
            ["accuracy", "eval_accuracy"],
        ),
    ]
}

/// What a stage measured, one metric over another or over its steps.
fn curve(records: &[Record], stage: &str, [x, y]: [&str; 2], name: &'static str) -> Series {
    let of_stage = records.iter().filter(|record| record.stage == stage);
    let at = |record: &Record, metric: &str| match metric {
        "step" => Some(record.step as f64),
        _ => record.get(metric),
    };
    let points = of_stage.filter_map(|record| Some((at(record, x)?, at(record, y)?)));
    Series { name, mark: Mark::Line, points: points.collect() }
}
