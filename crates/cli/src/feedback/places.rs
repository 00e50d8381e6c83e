//! Which store and which model are meant.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;
use rein_data::run_dir::RunDir;
use rein_model::checkpoint::MODEL;

use crate::config::Stage;
use crate::pipeline::History;

/// The store of a run has this name.
pub(crate) const STORE: &str = "feedback.sqlite";

#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct StoreArgs {
    /// The store's file
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,
    /// The store of this run
    #[arg(long, value_name = "RUN")]
    run: Option<PathBuf>,
}

impl StoreArgs {
    /// The file; of a run, one that is there.
    pub(super) fn path(&self) -> Result<PathBuf> {
        match (&self.store, &self.run) {
            (Some(store), _) => Ok(store.clone()),
            (None, Some(run)) => store_of(run),
            (None, None) => unreachable!("clap wants one of them"),
        }
    }

    /// Whether a run's store is meant.
    pub(super) fn is_of_run(&self) -> bool {
        self.run.is_some()
    }
}

/// The store of a run, which is there.
pub(super) fn store_of(run: &Path) -> Result<PathBuf> {
    let store = run.join(STORE);
    if !store.is_file() {
        bail!(
            "{}: nobody was asked yet; `rein feedback --run {}` samples replies to judge",
            store.display(),
            run.display()
        );
    }
    Ok(store)
}

/// Where the newest policy of a run stands, the last stage first.
pub(crate) const POLICIES: [Stage; 3] = [Stage::Rl, Stage::Dpo, Stage::Sft];

/// The model's folder: the one that is named, or of a run the newest result of the last of these stages that has one.
pub(crate) fn newest(folder: &Path, stages: &[Stage]) -> Result<PathBuf> {
    if folder.join("config.json").is_file() {
        return Ok(folder.to_path_buf());
    }
    if !folder.join("config.toml").is_file() {
        bail!("{}: neither a model (config.json) nor a run (config.toml)", folder.display());
    }
    if let Some(best) = History::load(folder)?.best() {
        let of_stage = |stage: &Stage| match stage {
            Stage::Rl => Some(best.policy.clone()),
            Stage::Reward => best.reward_model.clone(),
            _ => None,
        };
        if let Some(found) = stages.iter().find_map(of_stage) {
            return Ok(folder.join(found));
        }
    }
    let run = RunDir::join(folder);
    for stage in stages {
        let checkpoints = run.checkpoints(stage.name());
        let step = match run.finished(stage.name())? {
            Some(finished) => Some(finished.step),
            None => checkpoints.steps()?.pop(),
        };
        if let Some(step) = step {
            return Ok(checkpoints.path(step).join(MODEL));
        }
    }
    let names: Vec<&str> = stages.iter().map(|stage| stage.name()).collect();
    bail!("{}: the run has no model of {} yet", folder.display(), names.join(", "))
}
