//! `report.html`: one page, without network, with all that a run came to.

mod asked;
mod chart;
mod costs;
mod curves;
mod samples;
mod tables;
mod versus;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use minijinja::{AutoEscape, Environment, Value, context};
use rein_data::checkpoint::write_atomically;
use rein_data::log::{Record, read_metrics, read_seconds};
use rein_data::run_dir::RunDir;

use crate::config;
use crate::pipeline::{Asked, BestOf, Evaluation, History, ModelReport, People, RoundReport};

const PAGE: &str = include_str!("page.html");

/// What is known of a round beside what it came to; a run without a loop is one.
struct Round {
    number: usize,
    /// What was measured, step by step.
    records: Vec<Record>,
    /// How long each stage took.
    seconds: BTreeMap<String, f64>,
    asked: Option<Asked>,
    /// What picking the best of several replies came to.
    best_of: Vec<BestOf>,
    /// How often reinforcement learning learns from what it samples.
    epochs: usize,
}

impl Round {
    fn read(number: usize, folder: &Path, config: &str, found: &Evaluation) -> Result<Self> {
        let metrics = folder.join("metrics.jsonl");
        Ok(Self {
            number,
            records: if metrics.exists() { read_metrics(&metrics)? } else { Vec::new() },
            seconds: read_seconds(folder)?,
            asked: found.asked.clone(),
            best_of: found.best_of.clone(),
            epochs: config::load_saved(&folder.join(config))?.rl.epochs,
        })
    }
}

/// Writes the report of a run and returns its path.
pub(crate) fn write(run: &RunDir, evaluation: &Evaluation, history: &History) -> Result<PathBuf> {
    // What was evaluated last may be a later round.
    let first = if history.rounds.len() > 1 { Evaluation::load(run)? } else { evaluation.clone() };
    let mut rounds = vec![Round::read(1, run.root(), "config.toml", &first)?];
    for round in history.rounds.iter().skip(1) {
        let folder = run.root().join(&round.folder);
        let evaluation = Evaluation::load(&RunDir::join(&folder))?;
        // It goes on from another policy, from which the best of several replies isn't as far.
        let evaluation = Evaluation { best_of: Vec::new(), ..evaluation };
        rounds.push(Round::read(round.number, &folder, "round.toml", &evaluation)?);
    }
    let people = People::load(run.root())?;
    let page = render(&run.root().display().to_string(), &rounds, evaluation, history, &people)?;
    let path = run.file("report.html");
    write_atomically(&path, page.as_bytes())?;
    Ok(path)
}

fn render(
    title: &str,
    rounds: &[Round],
    evaluation: &Evaluation,
    history: &History,
    people: &People,
) -> Result<String> {
    let curves: Vec<Value> = rounds.iter().map(curves_of).collect::<Result<_>>()?;
    let mut page = Environment::new();
    page.set_auto_escape_callback(|_| AutoEscape::Html);
    page.add_template("page", PAGE).context("the report's template")?;
    let models = &evaluation.models;
    let judges = models.first().map(|it| &it.judges[..]).unwrap_or_default();
    page.get_template("page")?
        .render(context! {
            title,
            curves,
            models => models.iter().map(model_row).collect::<Vec<_>>(),
            samples => samples::samples(models),
            legend => samples::legend(models),
            judge => evaluation.judge.as_ref().map(Value::from_serialize),
            judges => judges.iter().map(|it| it.by.as_str()).collect::<Vec<_>>(),
            versus => evaluation.versus.iter().map(versus::row).collect::<Vec<_>>(),
            best_of => tables::best_of(&evaluation.best_of),
            categories => tables::categories(&evaluation.categories),
            people => evaluation.people.as_ref().map(Value::from_serialize),
            regression => evaluation.regression.as_ref().map(tables::regression),
            persons => tables::persons(people),
            attacks => tables::attacks(history),
            rounds => history.rounds.iter().map(round_row).collect::<Vec<_>>(),
            asked => asked::rounds(rounds),
            costs => costs::rows(rounds),
        })
        .context("the report")
}

fn curves_of(round: &Round) -> Result<Value> {
    let charts = curves::charts(&round.records, &round.best_of)
        .into_iter()
        .filter(|chart| !chart.is_empty());
    // Charts are our own drawing of numbers; all texts on the page are escaped.
    let drawn = charts.map(|chart| chart.draw().map(Value::from_safe_string));
    let charts = drawn.collect::<Result<Vec<_>>>()?;
    Ok(context! { number => round.number, charts })
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.3}"))
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// `43.1 to 55.0 %`
fn interval([low, high]: [f64; 2]) -> String {
    format!("{:.1} to {}", 100.0 * low, percent(high))
}

/// `1,234,567`
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy);
    groups.collect::<Vec<_>>().join(",")
}

fn round_row(round: &RoundReport) -> Value {
    context! {
        number => round.number,
        pairs => grouped(round.pairs as u64),
        answers => grouped(round.answers as u64),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{Chosen, Counts, Diversity, Judged, JudgedReply, Shown, ShownToken};

    const ATTACK: &str = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'";

    fn model(name: &str, reply: &str) -> ModelReport {
        let token =
            ShownToken { text: reply.into(), log_ratio: 0.5, kl: 0.25, value: Some(-0.125) };
        let shown = Shown {
            prompt: "<b>hello</b>".into(),
            reply: reply.into(),
            finished: true,
            reward: Some(1.0),
            gold: None,
            tokens: if name == "PPO" { vec![token] } else { Vec::new() },
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

    fn asked(text: &str) -> Asked {
        let reply = JudgedReply { text: text.into(), share: Some(0.75) };
        let judged =
            Judged { prompt: text.into(), replies: vec![reply.clone(), reply], n_answers: 4 };
        let counts = Counts { tasks: 1, answers: 1234 };
        let (chosen, agreement) = (Chosen::All, None);
        Asked { chosen, train: counts, heldout: counts, agreement, shown: vec![judged] }
    }

    fn page(reply: &str, records: Vec<Record>) -> String {
        let models = vec![model("SFT", reply), model("PPO", reply)];
        let evaluation = Evaluation { models, ..Evaluation::default() };
        let seconds = BTreeMap::from([("sft".to_owned(), 83.4)]);
        let (asked, best_of) = (Some(asked(reply)), Vec::new());
        let round = Round { number: 1, records, seconds, asked, best_of, epochs: 1 };
        render("run", &[round], &evaluation, &History::default(), &People::default())
            .expect("renders")
    }

    #[test]
    fn what_models_write_is_text_and_never_markup() {
        let page = page(ATTACK, Vec::new());
        // A prompt, two replies, a token and its row, and what was asked.
        assert!(page.matches("&lt;script&gt;alert(1)").count() >= 7, "{page}");
        assert!(!page.contains("<script") && !page.contains("<img") && !page.contains("<b>hello"));
        assert!(!page.contains("alert(1)&gt;\""), "quotes end no attribute");
    }

    #[test]
    fn tokens_have_colours_and_numbers() {
        let page = page("fine", Vec::new());
        let token = r#"<span class="k2 v0" title="log ratio +0.500, KL 0.250 nats, value -0.125">fine</span>"#;
        assert!(page.contains(token), "{page}");
        assert!(page.contains("KL 0.25 nats, the largest 0.25 at token 1 of 1"));
    }

    #[test]
    fn times_stand_where_they_can_be_told_from_the_rest() {
        let page = page("fine", Vec::new());
        assert_eq!(page.matches("<time>1m 23s</time>").count(), 2, "of the stage and of all");
        assert!(page.contains("<td>1,234</td>") && page.contains("<td>2,468</td>"));
        assert_eq!([7, 1234, 1_000_000].map(grouped), ["7", "1,234", "1,000,000"]);
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
