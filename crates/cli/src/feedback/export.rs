use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use rein_data::example::{Body, Content, Example};
use rein_data::jsonl;
use rein_feedback::aggregate::Aggregation;
use rein_feedback::{Split, Store, judged, said};
use serde_json::{Map, Value, json};

use super::places::StoreArgs;
use crate::speech::print;

/// Rows that models learn from.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Rows have TRL's columns: `prompt`, `chosen`, `rejected` and, where people differ, `chosen_probability`; `prompt`,
`completions`, `ranks`; `prompt`, `completion` and `label` or `score`. `rein train --feedback STORE` reads the store
itself, without any file.

With `--each`, a row is one answer, and says whose (`annotator`); `rein feedback import` reads such files back without loss.
With `--events`, a line is what a page or a program reported, as it came: clicks, conversations, times.

Examples:
  rein feedback export --run runs/mine --output pairs.jsonl --aggregation dawid_skene
  rein feedback export --store judged.sqlite --each --output answers.jsonl")]
pub(super) struct ExportArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// The project
    #[arg(long, value_name = "NAME", default_value = "people")]
    project: String,
    /// Write what is kept to measure with instead of what is trained on
    #[arg(long)]
    heldout: bool,
    /// How many people's labels of one pair become one: by share of votes, or by what a model believes
    #[arg(long, value_name = "METHOD", default_value = "share", value_parser = aggregation())]
    aggregation: Aggregation,
    /// Write each answer by itself
    #[arg(long, conflicts_with = "aggregation")]
    each: bool,
    /// Write the events that were reported, as they came
    #[arg(long, conflicts_with_all = ["aggregation", "each", "heldout"])]
    events: bool,
    /// The file of JSON lines
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

/// Writes what people said of a project.
pub(super) fn run(args: &ExportArgs) -> Result<()> {
    let store = Store::read(&args.store.path()?)?;
    if !store.projects()?.iter().any(|it| it.name == args.project) {
        bail!("{}: there is no project `{}`", store.path().display(), args.project);
    }
    let rows = rows(args, &store)?;
    let lines: String = rows.iter().map(jsonl::line).collect();
    rein_data::checkpoint::write_atomically(&args.output, lines.as_bytes())?;
    print(&format!("{}: {} rows\n", args.output.display(), rows.len()));
    Ok(())
}

fn rows(args: &ExportArgs, store: &Store) -> Result<Vec<Value>> {
    if args.events {
        return Ok(store.events(&args.project)?);
    }
    let split = if args.heldout { Split::Heldout } else { Split::Train };
    let examples = if args.each {
        said(store, &args.project, split)?
    } else {
        judged(store, &args.project, split, args.aggregation)?
    };
    Ok(examples.iter().map(|row| Value::Object(columns(row))).collect())
}

/// Reads the name of a method.
fn aggregation() -> impl TypedValueParser<Value = Aggregation> {
    PossibleValuesParser::new(Aggregation::ALL.map(Aggregation::name)).map(|name| {
        let found = Aggregation::ALL.into_iter().find(|it| it.name() == name);
        found.expect("it is one of the possible values")
    })
}

/// A number with no more digits than it needs.
fn short(number: f32) -> Value {
    json!(number.to_string().parse::<f64>().ok())
}

/// A row as it stands in a file.
fn columns(Example { body, extra, .. }: &Example) -> Map<String, Value> {
    let text = |content: &Content| json!(content);
    let row = match body {
        Body::Preference { prompt, chosen, rejected, margin, chosen_probability } => {
            let mut row = json!({
                "prompt": text(prompt), "chosen": text(chosen), "rejected": text(rejected),
            });
            if let Some(probability) = chosen_probability {
                row["chosen_probability"] = short(*probability);
            }
            if let Some(margin) = margin {
                row["margin"] = short(*margin);
            }
            row
        }
        Body::UnpairedPreference { prompt, completion, label } => {
            json!({ "prompt": text(prompt), "completion": text(completion), "label": label })
        }
        Body::Ranking { prompt, completions, ranks } => {
            let completions: Vec<Value> = completions.iter().map(text).collect();
            json!({ "prompt": text(prompt), "completions": completions, "ranks": ranks })
        }
        Body::Scored { prompt, completion, score } => {
            json!({ "prompt": text(prompt), "completion": text(completion), "score": short(*score) })
        }
        Body::LanguageModeling(_) | Body::PromptOnly(_) | Body::PromptCompletion { .. } => {
            unreachable!("judgements are none of these")
        }
    };
    let Value::Object(mut row) = row else { unreachable!("an object was made") };
    row.extend(extra.clone());
    row
}
