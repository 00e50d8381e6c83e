//! `report.html`: one page, without network, with all that a run came to.

mod chart;
mod tables;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use minijinja::{AutoEscape, Environment, Value, context};
use rein_data::checkpoint::write_atomically;
use rein_data::log::{Record, read_metrics};
use rein_data::run_dir::RunDir;
use rein_reward::overoptimization::{Curve, Optimization};

use crate::pipeline::{BestOf, Evaluation, History, ModelReport, RoundReport};
use chart::{Chart, Mark, Series};

const PAGE: &str = include_str!("page.html");

/// Writes the report of a run and returns its path.
pub(crate) fn write(run: &RunDir, evaluation: &Evaluation, history: &History) -> Result<PathBuf> {
    // Later rounds go on from another policy, from which the best of several replies isn't as far.
    let first = if history.rounds.len() > 1 { Evaluation::load(run)? } else { evaluation.clone() };
    let mut told = vec![(1, records(&run.file("metrics.jsonl"))?)];
    for round in history.rounds.iter().skip(1) {
        let metrics = run.root().join(&round.folder).join("metrics.jsonl");
        told.push((round.number, records(&metrics)?));
    }
    let title = run.root().display().to_string();
    let page = render(&title, &told, &first.best_of, evaluation, history)?;
    let path = run.file("report.html");
    write_atomically(&path, page.as_bytes())?;
    Ok(path)
}

/// What was measured, step by step.
fn records(metrics: &Path) -> Result<Vec<Record>> {
    Ok(if metrics.exists() { read_metrics(metrics)? } else { Vec::new() })
}

/// The page; `told` has the number of each round with what was measured in it, `best_of` what picking replies came to
/// in the first one.
fn render(
    title: &str,
    told: &[(usize, Vec<Record>)],
    best_of: &[BestOf],
    evaluation: &Evaluation,
    history: &History,
) -> Result<String> {
    let drawn = told.iter().map(|(number, records)| {
        let best_of = if *number == 1 { best_of } else { &[] };
        let charts: Vec<Value> = charts(records, best_of)
            .iter()
            .filter(|chart| !chart.is_empty())
            // Charts are our own drawing of numbers; all texts on the page are escaped.
            .map(|chart| chart.draw().map(Value::from_safe_string))
            .collect::<Result<_>>()?;
        Ok(context! { number, charts })
    });
    let curves: Vec<Value> = drawn.collect::<Result<_>>()?;
    let mut page = Environment::new();
    page.set_auto_escape_callback(|_| AutoEscape::Html);
    page.add_template("page", PAGE).context("the report's template")?;
    let models: Vec<Value> = evaluation.models.iter().map(model_row).collect();
    let samples = samples(&evaluation.models);
    let judge = evaluation.judge.as_ref().map(Value::from_serialize);
    let judges = evaluation.models.first().map(|it| &it.judges[..]).unwrap_or_default();
    let judges: Vec<&str> = judges.iter().map(|it| it.by.as_str()).collect();
    page.get_template("page")?
        .render(context! {
            title, curves, models, samples, judge, judges,
            versus => Value::from_serialize(&evaluation.versus),
            best_of => tables::best_of(&evaluation.best_of),
            categories => tables::categories(&evaluation.categories),
            people => evaluation.people.as_ref().map(Value::from_serialize),
            regression => evaluation.regression.as_ref().map(tables::regression),
            rounds => history.rounds.iter().map(round_row).collect::<Vec<_>>(),
        })
        .context("the report")
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.3}"))
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn round_row(round: &RoundReport) -> Value {
    context! {
        number => round.number,
        pairs => round.pairs,
        answers => round.answers,
        judge => round.accuracy.map_or_else(|| "–".to_owned(), percent),
        reward => number(round.reward),
        gold => number(round.gold),
        kl => format!("{:.2}", round.kl),
        wins => percent(round.against_fine_tuned.rate),
        wins_before => percent(round.against_before.rate),
        is_kept => round.verdict.keeps(),
        reason => round.verdict.reason,
    }
}

fn model_row(model: &ModelReport) -> Value {
    context! {
        name => model.name,
        loss => number(model.heldout_loss),
        reward => number(model.reward),
        gold => number(model.gold),
        gold_std => number(model.gold_std),
        judges => model.judges.iter().map(|it| number(Some(it.mean))).collect::<Vec<_>>(),
        kl => format!("{:.2}", model.kl),
        ends => percent(model.ends),
        length => format!("{:.1}", model.length),
        distinct => number(model.diversity.distinct_2),
        self_bleu => number(model.diversity.self_bleu),
        repetition => percent(model.diversity.repetition),
        refusals => percent(model.diversity.refusals),
    }
}

/// Prompt by prompt, what each model wrote.
fn samples(models: &[ModelReport]) -> Vec<Value> {
    let n_samples = models.iter().map(|model| model.samples.len()).min().unwrap_or(0);
    let replies = |sample: usize| -> Vec<Value> {
        let shown = models.iter().map(|model| {
            let shown = &model.samples[sample];
            let score = shown.gold.or(shown.reward).map(|score| format!("{score:+.2}"));
            context! { model => model.name, text => shown.reply, finished => shown.finished, score }
        });
        shown.collect()
    };
    let rows = (0..n_samples).map(|sample| {
        context! { prompt => models[0].samples[sample].prompt, replies => replies(sample) }
    });
    rows.collect()
}

fn charts(records: &[Record], best_of: &[BestOf]) -> Vec<Chart> {
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
            curve(records, stage, ["step", training], "training"),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{Diversity, Shown};

    fn model(name: &str, reply: &str) -> ModelReport {
        let shown = Shown {
            prompt: "<b>hello</b>".into(),
            reply: reply.into(),
            finished: true,
            reward: Some(1.0),
            gold: None,
        };
        ModelReport {
            name: name.into(),
            folder: None,
            heldout_loss: Some(1.5),
            reward: None,
            gold: None,
            gold_std: None,
            judges: Vec::new(),
            kl: 0.0,
            ends: 1.0,
            length: 3.0,
            diversity: Diversity::default(),
            samples: vec![shown],
        }
    }

    fn page(reply: &str, records: Vec<Record>) -> String {
        let models = vec![model("SFT", reply)];
        let evaluation = Evaluation { models, ..Evaluation::default() };
        render("run", &[(1, records)], &[], &evaluation, &History::default()).expect("renders")
    }

    #[test]
    fn what_models_write_is_text_and_never_markup() {
        let attack = "<script>alert(1)</script><img src=x onerror=alert(1)>";
        let page = page(attack, Vec::new());
        assert!(page.contains("&lt;script&gt;alert(1)"));
        assert!(!page.contains("<script") && !page.contains("<img") && !page.contains("<b>hello"));
    }

    #[test]
    fn the_page_asks_for_nothing_from_elsewhere() {
        let record = |step| {
            let values = [("loss".to_owned(), serde_json::json!(1.0 / step as f64))];
            Record { stage: "sft".into(), step, values: values.into_iter().collect() }
        };
        let records: Vec<Record> = (1..20).map(record).collect();
        let page = page("fine", records);
        assert!(page.contains("<svg") && page.contains("Loss of fine-tuning"));
        let names = page.matches("http://www.w3.org/2000/svg").count();
        assert_eq!(page.matches("http:").count() + page.matches("https:").count(), names);
        assert!(!page.contains(" src=") && !page.contains("url("));
    }
}
