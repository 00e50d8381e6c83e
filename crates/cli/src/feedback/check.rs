use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use rein_feedback::gates::Gates;
use rein_feedback::{Ruling, Store, Subject, Verdict};

use super::places::StoreArgs;
use crate::speech::print;

/// Which answers shouldn't count.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Rules look at golden tasks, at the time that answers took, at the sides of the page that somebody prefers, at the
same answer many times in a row, and at tasks that were asked twice. What they throw out stays in the store, with
the reason; it is asked again, and comes back when a rule finds otherwise.

Example:
  rein feedback check --run runs/mine --project people --apply")]
pub(super) struct CheckArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// The project
    #[arg(long, value_name = "NAME", default_value = "people")]
    project: String,
    /// Golden tasks somebody must have answered before they are judged by them
    #[arg(long, value_name = "N", default_value_t = Gates::default().min_golds)]
    min_golds: usize,
    /// Whoever's share of right golden answers isn't surely above this is suspended
    #[arg(long, value_name = "SHARE", default_value_t = Gates::default().gold_accuracy)]
    gold_accuracy: f64,
    /// Write it down: dropped answers don't count, and suspended people aren't asked any more
    #[arg(long)]
    apply: bool,
    /// Write a line of JSON for each answer and person concerned here, too
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Says what the rules say, and writes it down if that is wanted.
pub(super) fn run(args: &CheckArgs) -> Result<()> {
    let path = args.store.path()?;
    let gates =
        Gates { min_golds: args.min_golds, gold_accuracy: args.gold_accuracy, ..Gates::default() };
    let rulings = if args.apply {
        gates.apply(&mut Store::open(&path)?, &args.project)?
    } else {
        gates.look(&Store::read(&path)?, &args.project)?
    };
    let about_people = |it: &&Ruling| matches!(it.subject, Subject::Annotator(_));
    for ruling in rulings.iter().filter(about_people) {
        let Subject::Annotator(name) = &ruling.subject else { continue };
        print(&format!(
            "{name}: {} by `{}`: {}\n",
            ruling.verdict.as_str(),
            ruling.rule,
            ruling.reason
        ));
    }
    let n_dropped = rulings.iter().filter(|it| it.verdict == Verdict::Drop).count();
    let done = if args.apply { "" } else { "; `--apply` writes this down" };
    print(&format!("{} rulings, of which {n_dropped} drop single answers{done}\n", rulings.len()));
    if let Some(output) = &args.output {
        let lines: String = rulings.iter().map(line).collect();
        rein_data::checkpoint::write_atomically(output, lines.as_bytes())?;
    }
    Ok(())
}

fn line(ruling: &Ruling) -> String {
    let subject = match &ruling.subject {
        Subject::Annotation(id) => serde_json::json!({ "annotation": id }),
        Subject::Annotator(name) => serde_json::json!({ "annotator": name }),
    };
    let mut line = subject;
    line["rule"] = ruling.rule.as_str().into();
    line["verdict"] = ruling.verdict.as_str().into();
    line["reason"] = ruling.reason.as_str().into();
    rein_data::jsonl::line(&line)
}
