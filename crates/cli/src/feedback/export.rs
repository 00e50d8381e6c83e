use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use rein_data::example::{Body, Content, Example};
use rein_data::jsonl;
use rein_feedback::{Split, Store, judged};
use serde_json::{Map, Value, json};

use super::places::StoreArgs;
use crate::speech::print;

/// Rows that models learn from.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Rows have TRL's columns: `prompt`, `chosen`, `rejected` and, where people differ, `chosen_probability`; `prompt`,
`completions`, `ranks`; `prompt`, `completion` and `label` or `score`. `rein train --feedback STORE` reads the store
itself, without any file.")]
pub(super) struct ExportArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// The project
    #[arg(long, value_name = "NAME", default_value = "people")]
    project: String,
    /// Write what is kept to measure with instead of what is trained on
    #[arg(long)]
    heldout: bool,
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
    let split = if args.heldout { Split::Heldout } else { Split::Train };
    let rows = judged(&store, &args.project, split)?;
    let lines: String = rows.iter().map(|row| jsonl::line(&Value::Object(columns(row)))).collect();
    rein_data::checkpoint::write_atomically(&args.output, lines.as_bytes())?;
    print(&format!("{}: {} rows\n", args.output.display(), rows.len()));
    Ok(())
}

/// A row as it stands in a file.
fn columns(Example { body, extra, .. }: &Example) -> Map<String, Value> {
    let text = |content: &Content| content.to_text();
    let row = match body {
        Body::Preference { prompt, chosen, rejected, chosen_probability, .. } => {
            let mut row = json!({
                "prompt": text(prompt), "chosen": text(chosen), "rejected": text(rejected),
            });
            if let Some(probability) = chosen_probability {
                row["chosen_probability"] = json!(probability);
            }
            row
        }
        Body::UnpairedPreference { prompt, completion, label } => {
            json!({ "prompt": text(prompt), "completion": text(completion), "label": label })
        }
        Body::Ranking { prompt, completions, ranks } => {
            let completions: Vec<String> = completions.iter().map(text).collect();
            json!({ "prompt": text(prompt), "completions": completions, "ranks": ranks })
        }
        Body::Scored { prompt, completion, score } => {
            json!({ "prompt": text(prompt), "completion": text(completion), "score": score })
        }
        Body::LanguageModeling(_) | Body::PromptOnly(_) | Body::PromptCompletion { .. } => {
            unreachable!("judgements are none of these")
        }
    };
    let Value::Object(mut row) = row else { unreachable!("an object was made") };
    row.extend(extra.clone());
    row
}
