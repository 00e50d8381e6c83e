use anyhow::Result;
use clap::Args;
use rein_feedback::{Project, Store};

use super::places::StoreArgs;
use crate::speech::print;

/// How far a store's projects are.
#[derive(Clone, Debug, Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    store: StoreArgs,
}

/// Tells of each project what was asked and answered, and by whom.
pub(super) fn run(args: &StatusArgs) -> Result<()> {
    let store = Store::read(&args.store.path()?)?;
    for project in store.projects()? {
        print(&told(&store, &project)?);
    }
    Ok(())
}

fn told(store: &Store, project: &Project) -> Result<String> {
    let progress = store.progress(&project.name)?;
    let mut text = format!(
        "{} ({}): {} of {} tasks done, {} answers, {} passed over, {} flagged\n",
        project.name,
        project.settings.kind.name(),
        progress.n_done,
        progress.n_tasks,
        progress.n_answers,
        progress.n_skipped,
        progress.n_flagged
    );
    for (name, n_answers) in &progress.by_annotator {
        text += &format!("  {name}: {n_answers}\n");
    }
    Ok(text)
}
