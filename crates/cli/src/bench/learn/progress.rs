//! Stages that run without a dashboard, and what is said meanwhile.

use std::path::PathBuf;

use anyhow::Result;
use rein_data::DataError;
use rein_data::log::{Record, RunLog, Watcher};
use rein_data::run_dir::RunDir;
use rein_data::stage::{Cadence, Context, Interrupt, Outcome, Train, drive};
use rein_data::workers::Workers;

use crate::speech;

/// Runs a stage and returns the checkpoint that it ended with. One that was cut off goes on from its last
/// checkpoint, and one that is done isn't run again.
pub(in crate::bench) fn drive_quietly<T: Train<Error: From<DataError> + Into<anyhow::Error>>>(
    run: &RunDir,
    name: &str,
    stage: &mut T,
    n_steps: usize,
    cadence: &Cadence,
) -> Result<PathBuf> {
    let mut log = RunLog::open(run, Box::new(Quiet))?;
    let (interrupt, workers) = (Interrupt::default(), Workers::default());
    let mut context = Context { run, log: &mut log, interrupt: &interrupt, workers: &workers };
    match drive(&mut context, name, stage, n_steps, cadence).map_err(Into::into)? {
        Outcome::Finished(checkpoint) => Ok(checkpoint),
        Outcome::Interrupted => unreachable!("nobody can ask this stage to stop"),
    }
}

/// Passes on what is worth a line.
pub(in crate::bench) struct Quiet;

impl Watcher for Quiet {
    fn stage(&mut self, _: &str, _: usize, _: usize) {}

    fn metrics(&mut self, _: &Record) {}

    fn note(&mut self, text: &str) {
        speech::note(text);
    }
}
