//! Embeds `rein-data`: a loop of your own that survives a kill.

#![allow(clippy::print_stdout, reason = "this is where the program talks")]

use std::fs;
use std::path::Path;

use rein_data::DataError;
use rein_data::log::{Metrics, Record, RunLog, Watcher};
use rein_data::run_dir::RunDir;
use rein_data::stage::{Cadence, Context, Evaluation, Interrupt, Train, drive};
use rein_data::workers::Workers;

/// Something that learns: here, it adds up its steps.
#[derive(Default)]
struct Sum(usize);

impl Train for Sum {
    type Error = DataError;

    fn step(&mut self, step: usize, _: &mut RunLog) -> Result<Metrics, DataError> {
        self.0 += step;
        Ok([("sum", self.0 as f64)].into())
    }

    fn evaluate(&mut self) -> Result<Option<Evaluation>, DataError> {
        Ok(None)
    }

    fn save(&self, folder: &Path) -> Result<(), DataError> {
        let path = folder.join("sum");
        fs::write(&path, self.0.to_string()).map_err(|source| DataError::Io { path, source })
    }

    fn restore(&mut self, folder: &Path) -> Result<(), DataError> {
        let path = folder.join("sum");
        let text = fs::read_to_string(&path).map_err(|source| DataError::Io { path, source })?;
        self.0 = text.parse().expect("the manifest vouches for what was saved");
        Ok(())
    }
}

struct Printer;

impl Watcher for Printer {
    fn stage(&mut self, stage: &str, step: usize, n_steps: usize) {
        println!("{stage}: begins after step {step} of {n_steps}");
    }

    fn metrics(&mut self, record: &Record) {
        println!("step {}: {:?}", record.step, record.get("sum"));
    }

    fn note(&mut self, text: &str) {
        println!("{text}");
    }
}

fn main() -> Result<(), DataError> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let root = folder.path().join("run");
    let run = RunDir::create(&root)?;
    let interrupt = Interrupt::default();
    let cadence = Cadence { evaluate_every: 0, save_every: 2, ..Cadence::default() };
    let mut log = RunLog::open(&run, Box::new(Printer))?;
    let workers = Workers::default();
    let mut context =
        Context { run: &run, log: &mut log, interrupt: &interrupt, workers: &workers };
    // Run this twice on one folder, or kill it in between: it goes on where it was.
    drive(&mut context, "sum", &mut Sum::default(), 5, &cadence)?;
    Ok(())
}
