use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use rein_data::checkpoint::write_atomically;
use rein_feedback::Store;
use rein_feedback::crowd::mturk::{Import, Review, batches};

use super::{ExportArgs, ProjectArgs, tell};
use crate::speech::print;

/// Tasks go to workers, their answers come back, and whoever worked is paid.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
1. `export` writes a table and a page. On the requester website, make a project of the page
   (\"Design Layout\", as source) and publish a batch with the table. How many workers answer
   each row is set there.
2. `import` reads the table that \"Download CSV\" gives, as often as more has come.
3. `review` fills in whom to approve and whom to reject, by their golden tasks; \"Upload CSV\"
   carries that out.

Example:
  rein feedback mturk export --store judged.sqlite --out batch
  rein feedback mturk import --store judged.sqlite Batch_1_batch_results.csv
  rein feedback check --store judged.sqlite --apply
  rein feedback mturk review --store judged.sqlite Batch_1_batch_results.csv --output paid.csv")]
pub(in crate::feedback) struct MturkArgs {
    #[command(subcommand)]
    command: MturkCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum MturkCommand {
    /// Write the tasks that want answers, and the page to answer on
    Export(ExportArgs),
    /// Read what workers answered
    Import(ImportArgs),
    /// Say whom to pay
    Review(ReviewArgs),
}

#[derive(Clone, Debug, Args)]
struct ImportArgs {
    #[command(flatten)]
    of: ProjectArgs,
    /// The table of results
    #[arg(value_name = "RESULTS")]
    results: PathBuf,
    /// Answers that were rejected, too
    #[arg(long)]
    rejected: bool,
}

#[derive(Clone, Debug, Args)]
struct ReviewArgs {
    #[command(flatten)]
    of: ProjectArgs,
    /// The table of results
    #[arg(value_name = "RESULTS")]
    results: PathBuf,
    /// The table to upload
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Golden tasks somebody must have answered in the table before they are rejected
    #[arg(long, value_name = "N", default_value_t = Review::default().min_golds)]
    min_golds: u64,
    /// Whoever's share of right golden answers is surely below this is rejected
    #[arg(long, value_name = "SHARE", default_value_t = Review::default().accuracy)]
    accuracy: f64,
}

pub(in crate::feedback) fn run(args: &MturkArgs) -> Result<()> {
    match &args.command {
        MturkCommand::Export(args) => export(args),
        MturkCommand::Import(args) => import(args),
        MturkCommand::Review(args) => review(args),
    }
}

fn export(args: &ExportArgs) -> Result<()> {
    let (settings, tasks) = args.tasks()?;
    for batch in batches(&settings, &tasks) {
        let (table, page) = (
            args.file("tasks", batch.n_responses, "csv"),
            args.file("layout", batch.n_responses, "html"),
        );
        write_atomically(&table, batch.input.as_bytes())?;
        write_atomically(&page, batch.layout.as_bytes())?;
        print(&format!("{} tasks: {}, {}\n", batch.n_hits, table.display(), page.display()));
    }
    Ok(())
}

fn import(args: &ImportArgs) -> Result<()> {
    let mut store = Store::open(&args.of.store.path()?)?;
    let import = Import { rejected: args.rejected };
    let done = import.run(&mut store, &args.of.project, &args.results)?;
    tell(&done);
    Ok(())
}

fn review(args: &ReviewArgs) -> Result<()> {
    let store = Store::read(&args.of.store.path()?)?;
    let review = Review { min_golds: args.min_golds, accuracy: args.accuracy };
    let mut table = Vec::new();
    let done = review.write(&store, &args.of.project, &args.results, &mut table)?;
    write_atomically(&args.output, &table)?;
    print(&format!(
        "{}: {} to approve, {} to reject, {} left as they are\n",
        args.output.display(),
        done.n_approved,
        done.n_rejected,
        done.n_left
    ));
    Ok(())
}
