use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use rein_data::checkpoint::write_atomically;
use rein_feedback::crowd::mturk::{Import, Review, batches};
use rein_feedback::{Split, Store, Task};

use super::places::StoreArgs;
use crate::speech::{note, print};

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
pub(super) struct MturkArgs {
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

/// Whose tasks.
#[derive(Clone, Debug, Args)]
struct ProjectArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// The project
    #[arg(long, value_name = "NAME", default_value = "people")]
    project: String,
}

#[derive(Clone, Debug, Args)]
struct ExportArgs {
    #[command(flatten)]
    of: ProjectArgs,
    /// Tasks with enough answers, too
    #[arg(long)]
    all: bool,
    /// The folder of the tables and pages
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
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

pub(super) fn run(args: &MturkArgs) -> Result<()> {
    match &args.command {
        MturkCommand::Export(args) => export(args),
        MturkCommand::Import(args) => import(args),
        MturkCommand::Review(args) => review(args),
    }
}

fn export(args: &ExportArgs) -> Result<()> {
    let store = Store::read(&args.of.store.path()?)?;
    let name = &args.of.project;
    let project = store.projects()?.into_iter().find(|it| it.name == *name);
    let project = project
        .with_context(|| format!("{}: there is no project `{name}`", store.path().display()))?;
    let tasks = if args.all { every(&store, name)? } else { wanting(&store, name)? };
    if tasks.is_empty() {
        bail!(
            "{}, project `{name}`: no task wants answers; `--all` exports those that have enough",
            store.path().display()
        );
    }
    fs::create_dir_all(&args.out).with_context(|| args.out.display().to_string())?;
    for batch in batches(&project.settings, &tasks) {
        let file = |name: &str, ending: &str| {
            args.out.join(format!("{name}-{}.{ending}", batch.n_responses))
        };
        let (table, page) = (file("tasks", "csv"), file("layout", "html"));
        write_atomically(&table, batch.input.as_bytes())?;
        write_atomically(&page, batch.layout.as_bytes())?;
        print(&format!("{} tasks: {}, {}\n", batch.n_hits, table.display(), page.display()));
    }
    Ok(())
}

fn every(store: &Store, project: &str) -> Result<Vec<Task>> {
    let mut tasks = store.tasks(project, Split::Train)?;
    tasks.extend(store.tasks(project, Split::Heldout)?);
    Ok(tasks)
}

/// Tasks with fewer answers than they shall have, and golden ones, which everybody is asked.
fn wanting(store: &Store, project: &str) -> Result<Vec<Task>> {
    let mut n_answers: HashMap<i64, u32> = HashMap::new();
    for answer in store.answers(project)? {
        *n_answers.entry(answer.task).or_default() += 1;
    }
    let has = |task: &Task| n_answers.get(&task.id).copied().unwrap_or_default();
    let mut tasks = every(store, project)?;
    tasks.retain(|task| task.gold.is_some() || has(task) < task.overlap);
    if tasks.iter().all(|task| task.gold.is_some()) {
        tasks.clear();
    }
    Ok(tasks)
}

fn import(args: &ImportArgs) -> Result<()> {
    let mut store = Store::open(&args.of.store.path()?)?;
    let import = Import { rejected: args.rejected };
    let done = import.run(&mut store, &args.of.project, &args.results)?;
    for it in &done.set_aside {
        note(&format!("assignment {} is set aside: {}", it.assignment, it.reason));
    }
    print(&format!(
        "{} new answers, {} known already, {} rejected, {} set aside\n",
        done.n_new,
        done.n_known,
        done.n_rejected,
        done.set_aside.len()
    ));
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
