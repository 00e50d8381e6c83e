use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use rein_feedback::Store;
use rein_feedback::rows::{Import, Imported};

use crate::speech::{note, print};

/// Judgements from elsewhere.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
The file (JSON lines, JSON, CSV, TSV, Parquet or Arrow) has TRL's columns: `prompt`, `chosen`, `rejected`, perhaps
`chosen_probability`; `prompt`, `completions`, `ranks`; `prompt`, `completion` and `label` or `score`. `weight` says what a
row counts for, `annotator` who said it. Rows about the same texts are several answers to one question. A file can be
read again when it has grown: rows that are known are passed over.

Examples:
  rein feedback import --store judged.sqlite --project hh --heldout 0.1 hh.jsonl
  rein feedback import --store judged.sqlite --project clicks clicked.jsonl
  rein train --feedback judged.sqlite --set 'feedback.project=\"hh\"'")]
pub(super) struct ImportArgs {
    /// The file of rows
    #[arg(value_name = "ROWS")]
    rows: PathBuf,
    /// The store's file, which is made if there is none
    #[arg(long, value_name = "FILE")]
    store: PathBuf,
    /// The project, which is made if there is none
    #[arg(long, value_name = "NAME", default_value = "people")]
    project: String,
    /// Who said what stands in rows that name nobody
    #[arg(long, value_name = "NAME", default_value = "import")]
    annotator: String,
    /// The share of prompts that are kept to measure with
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    heldout: f64,
}

/// Between two words about how far it is.
const PATIENCE: Duration = Duration::from_secs(2);

/// Reads the rows, and says what became of them.
pub(super) fn run(args: &ImportArgs) -> Result<()> {
    if !(0.0..1.0).contains(&args.heldout) {
        bail!("--heldout {}: a share is at least 0 and below 1", args.heldout);
    }
    let import = Import { annotator: args.annotator.clone(), heldout: args.heldout };
    let mut store = Store::open(&args.store)?;
    let mut last_word = Instant::now();
    let done = import.run(&mut store, &args.project, &args.rows, |n_rows| {
        if last_word.elapsed() >= PATIENCE {
            last_word = Instant::now();
            note(&format!("{n_rows} rows"));
        }
    })?;
    let Imported { n_rows, n_new, n_known, n_identical, n_tasks } = done;
    let others = [(n_known, "known already"), (n_identical, "compare equal texts")];
    let others: String = others
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!(", {count} {what}"))
        .collect();
    print(&format!(
        "{}, project `{}`: {n_new} answers of {n_rows} rows, {n_tasks} new tasks{others}\n",
        args.store.display(),
        args.project
    ));
    Ok(())
}
