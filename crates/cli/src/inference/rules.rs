//! Scores rows by rules, without any model.

use std::path::Path;

use anyhow::{Context, Result, bail};
use rein_data::DataError;
use rein_data::example::Completion;
use rein_data::rows::{Place, Row, Rows};
use rein_reward::inverse::{FeatureReward, FeaturesSource};
use rein_reward::{Gold, Reward, RewardError, RewardKind, RewardSource, Verdict, Weighted};
use serde_json::{Map, Value, json};

use super::{Output, ScoreArgs};
use crate::config;
use crate::http::HttpClient;

/// Scores the rows of a file by the rules of another.
pub(crate) fn score_by_rules(args: &ScoreArgs) -> Result<()> {
    let path = args.rules.as_deref().context("`--rules` or `--model` says what scores")?;
    if args.batch_size == 0 {
        bail!("`--batch-size` is 0; it must be above 0");
    }
    let rules = rewards(path)?;
    let rows = completions(&args.input)?;
    let mut output = Output::open(args.output.as_deref(), "score", rows.len())?;
    let mut tallies = vec![Tally::default(); rules.len()];
    let mut n_done = 0;
    for batch in rows.chunks(args.batch_size) {
        let asked: Vec<Completion> = batch.iter().map(|(_, it)| it.clone()).collect();
        let judged = rules.iter().map(|it| it.reward.verdicts(&asked));
        let judged = judged.collect::<Result<Vec<_>, _>>();
        let judged = judged.map_err(|error| placed(error, &args.input, batch, n_done))?;
        let lines: Vec<Value> = (0..batch.len()).map(|row| line(&rules, &judged, row)).collect();
        output.write(&lines, lines.len())?;
        tallies.iter_mut().zip(&judged).for_each(|(tally, judged)| tally.add(judged));
        n_done += batch.len();
    }
    for (rule, tally) in rules.iter().zip(&tallies) {
        output.note(&tally.describe(rule.reward.name()));
    }
    Ok(())
}

/// The rewards of a file, without their weights' sum: each is told by itself.
fn rewards(path: &Path) -> Result<Vec<Weighted>> {
    let client = HttpClient::shared();
    let reward = |RewardSource { kind, weight, .. }: RewardSource| -> Result<Weighted> {
        let reward: Box<dyn Reward> = match &kind {
            RewardKind::Rule(rule) => Box::new(rule.build(&client)?),
            RewardKind::Gold => Box::new(Gold),
            RewardKind::Features(FeaturesSource { path: Some(weights) }) => {
                Box::new(FeatureReward::load(weights)?)
            }
            RewardKind::Features(_) => bail!(
                "{}: `rewards` holds \"features\", but here no run has any; name their `path`",
                path.display()
            ),
            RewardKind::Model | RewardKind::LogRatio(_) => bail!(
                "{}: `rewards` holds \"{}\", but here no model is asked; leave it out, or score with \
                 `--model`",
                path.display(),
                kind.name()
            ),
        };
        Ok(Weighted { weight, reward })
    };
    config::load_rules(path)?.into_iter().map(reward).collect()
}

/// The rows of a file as completions, with all their columns.
fn completions(path: &Path) -> Result<Vec<(Place, Completion)>> {
    let completion = |row: Result<Row, DataError>| -> Result<(Place, Completion)> {
        let Row { place, columns } = row?;
        match completion(columns) {
            Some(completion) => Ok((place, completion)),
            None => {
                let reason = "a row has a `completion` or a `text`, or else `messages`, of which the last one is scored";
                Err(place.refuse(path, reason).into())
            }
        }
    };
    let rows = Rows::open(path)?.map(completion).collect::<Result<Vec<_>>>()?;
    if rows.is_empty() {
        bail!("{}: holds no rows to score", path.display());
    }
    Ok(rows)
}

fn completion(columns: Map<String, Value>) -> Option<Completion> {
    let text_in = |name| columns.get(name).and_then(text_of);
    let (prompt, text) = match text_in("completion").or_else(|| text_in("text")) {
        Some(text) => (text_in("prompt").unwrap_or_default(), text),
        None => {
            let (last, before) = columns.get("messages")?.as_array()?.split_last()?;
            (text_of(&Value::from(before))?, last["content"].as_str()?.to_owned())
        }
    };
    let flag = columns.get("finished").and_then(Value::as_bool);
    let finished = flag.unwrap_or(columns.get("finish_reason") != Some(&"length".into()));
    Some(Completion { prompt, text, finished, columns: columns.into(), ..Completion::default() })
}

/// A text, or the texts of messages, a line each.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(messages) => {
            let texts = messages.iter().map(|it| it["content"].as_str());
            Some(texts.collect::<Option<Vec<_>>>()?.join("\n"))
        }
        _ => None,
    }
}

/// The error of a rule at a row, which stands at a line.
fn placed(
    error: RewardError,
    path: &Path,
    batch: &[(Place, Completion)],
    n_done: usize,
) -> anyhow::Error {
    let RewardError::Rule { rule, row, prompt, fault } = error else { return error.into() };
    let place = format!("{}, {}", path.display(), batch[row].0);
    let row = row + n_done;
    anyhow::Error::from(RewardError::Rule { rule, row, prompt, fault }).context(place)
}

fn line(rules: &[Weighted], judged: &[Vec<Verdict>], row: usize) -> Value {
    let mut total = 0.0;
    let mut told = Map::new();
    for (Weighted { weight, reward }, verdicts) in rules.iter().zip(judged) {
        let Verdict { score, reason, failed } = &verdicts[row];
        total += f64::from(*weight) * f64::from(*score);
        let mut verdict = json!({ "score": shortest(*score), "reason": reason });
        if *failed {
            verdict["failed"] = true.into();
        }
        told.insert(reward.name().to_owned(), verdict);
    }
    json!({ "score": shortest(total as f32), "rules": told })
}

/// A score as its shortest decimal has it.
fn shortest(score: f32) -> f64 {
    score.to_string().parse().unwrap_or(f64::from(score))
}

/// What a rule said of all rows.
#[derive(Clone, Copy, Default)]
struct Tally {
    sum: f64,
    n_fired: usize,
    n_failed: usize,
    n_rows: usize,
}

impl Tally {
    fn add(&mut self, verdicts: &[Verdict]) {
        for Verdict { score, failed, .. } in verdicts {
            self.sum += f64::from(*score);
            self.n_fired += usize::from(*score != 0.0);
            self.n_failed += usize::from(*failed);
            self.n_rows += 1;
        }
    }

    fn describe(&self, name: &str) -> String {
        let Self { sum, n_fired, n_failed, n_rows } = *self;
        let mean = sum / n_rows as f64;
        let failed =
            if n_failed > 0 { format!(", {n_failed} couldn't be judged") } else { String::new() };
        format!("{name}: {mean:.3} in the mean; not 0 for {n_fired} of {n_rows} rows{failed}")
    }
}
