//! Tasks go to a platform where others label, and their answers come back.

pub(super) mod argilla;
pub(super) mod label_studio;
pub(super) mod mturk;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use rein_feedback::crowd::Imported;
use rein_feedback::{FeedbackError, Settings, Split, Store, Task};

use super::places::StoreArgs;
use crate::speech::{note, print};

/// Whose tasks.
#[derive(Clone, Debug, Args)]
struct ProjectArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// The project
    #[arg(long, value_name = "NAME", default_value = "people")]
    project: String,
}

/// What can be done with a platform that teams label on.
#[derive(Clone, Debug, Subcommand)]
enum Exchange {
    /// Write the tasks that want answers, and what the platform shall ask
    Export(ExportArgs),
    /// Read what was answered
    Import(ImportArgs),
}

#[derive(Clone, Debug, Args)]
struct ExportArgs {
    #[command(flatten)]
    of: ProjectArgs,
    /// Tasks with enough answers, too
    #[arg(long)]
    all: bool,
    /// The folder of what is written
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

#[derive(Clone, Debug, Args)]
struct ImportArgs {
    #[command(flatten)]
    of: ProjectArgs,
    /// The platform's export
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Reads a platform's file into a project of a store.
type Read = fn(&mut Store, &str, &Path) -> Result<Imported, FeedbackError>;

impl Exchange {
    /// Does it, by what the platform's own part writes and reads.
    fn run(&self, write: fn(&ExportArgs) -> Result<()>, read: Read) -> Result<()> {
        match self {
            Self::Export(args) => write(args),
            Self::Import(ImportArgs { of, file }) => {
                let mut store = Store::open(&of.store.path()?)?;
                tell(&read(&mut store, &of.project, file)?);
                Ok(())
            }
        }
    }
}

impl ExportArgs {
    /// The project's settings, and the tasks that are sent. The folder is there then.
    fn tasks(&self) -> Result<(Settings, Vec<Task>)> {
        let store = Store::read(&self.of.store.path()?)?;
        let name = &self.of.project;
        let found = store.projects()?.into_iter().find(|it| it.name == *name);
        let found = found
            .with_context(|| format!("{}: there is no project `{name}`", store.path().display()))?;
        let tasks = if self.all { every(&store, name)? } else { wanting(&store, name)? };
        if tasks.is_empty() {
            bail!(
                "{}, project `{name}`: no task wants answers; `--all` exports those that have enough",
                store.path().display()
            );
        }
        fs::create_dir_all(&self.out).with_context(|| self.out.display().to_string())?;
        Ok((found.settings, tasks))
    }

    /// A file for tasks with so many responses.
    fn file(&self, name: &str, n_responses: usize, ending: &str) -> PathBuf {
        self.out.join(format!("{name}-{n_responses}.{ending}"))
    }
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

/// Says what became of the answers.
fn tell(done: &Imported) {
    for it in &done.set_aside {
        note(&format!("answer {} is set aside: {}", it.answer, it.reason));
    }
    print(&format!(
        "{} new answers, {} known already, {} rejected or skipped, {} set aside\n",
        done.n_new,
        done.n_known,
        done.n_rejected,
        done.set_aside.len()
    ));
}
