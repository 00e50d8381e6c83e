//! Where the stages of a red team lie.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use rein_data::DataError;
use rein_data::checkpoint::write_atomically;
use rein_data::log::RunLog;
use rein_data::run_dir::RunDir;
use rein_data::stage::{Cadence, Context, Interrupt, Outcome, Train, drive};
use rein_data::workers::Workers;
use rein_model::checkpoint::MODEL;
use serde::Serialize;

const SETTINGS: &str = "settings.json";

/// A folder of stages that were, or will be, run with the same settings.
pub(crate) struct Place {
    run: RunDir,
    log: RunLog,
    interrupt: Interrupt,
}

impl Place {
    /// The folder, made if it isn't there. One whose stages had other settings is refused.
    pub(crate) fn open(
        root: &Path,
        settings: &impl Serialize,
        open: impl FnOnce(&RunDir) -> Result<RunLog>,
        interrupt: Interrupt,
    ) -> Result<Self> {
        let run = RunDir::create(root)?;
        let (path, text) = (run.file(SETTINGS), serde_json::to_string_pretty(settings)?);
        if !path.exists() {
            write_atomically(&path, text.as_bytes())?;
        } else if fs::read_to_string(&path).with_context(|| path.display().to_string())? != text {
            let root = root.display();
            bail!("{root}: holds a red team with other settings; remove it, or name another --out");
        }
        let log = open(&run)?;
        Ok(Self { run, log, interrupt })
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.run.file(name)
    }

    /// Runs a stage from where it is, and gives the model that it left; none if somebody asked to stop.
    pub(crate) fn drive<T: Train<Error: From<DataError> + Into<anyhow::Error>>>(
        &mut self,
        name: &str,
        stage: &mut T,
        n_steps: usize,
        cadence: &Cadence,
    ) -> Result<Option<PathBuf>> {
        let Self { run, log, interrupt } = self;
        let workers = Workers::default();
        let mut context = Context { run, log, interrupt, workers: &workers };
        let ended = drive(&mut context, name, stage, n_steps, cadence).map_err(Into::into)?;
        Ok(match ended {
            Outcome::Finished(checkpoint) => Some(checkpoint.join(MODEL)),
            Outcome::Interrupted => None,
        })
    }
}
