//! A stage that is stopped anywhere ends like one that never stopped.

use std::fs;
use std::path::Path;

use rein_data::DataError;
use rein_data::log::{Metrics, Record, RunLog, Watcher};
use rein_data::run_dir::RunDir;
use rein_data::stage::{Cadence, Context, Evaluation, Interrupt, Outcome, Train, drive};
use rein_data::workers::Workers;

const N_STEPS: usize = 20;

/// Adds up its steps; its evaluation peaks at step 12. Can be told to fail or to be interrupted.
struct Sum {
    total: f64,
    fail_at: Option<usize>,
    interrupt_at: Option<(usize, Interrupt)>,
}

impl Sum {
    fn new() -> Self {
        Self { total: 0.0, fail_at: None, interrupt_at: None }
    }
}

impl Train for Sum {
    type Error = DataError;

    fn step(&mut self, step: usize, _: &mut RunLog) -> Result<Metrics, DataError> {
        if self.fail_at == Some(step) {
            return Err(DataError::Invalid("planted".into()));
        }
        if let Some((_, interrupt)) = self.interrupt_at.iter().find(|(at, _)| *at == step) {
            interrupt.set();
        }
        self.total = self.total * 1.1 + step as f64;
        Ok([("total", self.total)].into())
    }

    fn evaluate(&mut self) -> Result<Option<Evaluation>, DataError> {
        let distance = (self.total - PEAK).abs();
        let metrics = [("eval_distance", distance)].into();
        Ok(Some(Evaluation { metrics, score: -distance }))
    }

    fn save(&self, folder: &Path) -> Result<(), DataError> {
        fs::write(folder.join("total"), self.total.to_string())
            .map_err(|source| DataError::Io { path: folder.into(), source })
    }

    fn restore(&mut self, folder: &Path) -> Result<(), DataError> {
        let text = fs::read_to_string(folder.join("total")).expect("was saved");
        self.total = text.parse().expect("is a number");
        Ok(())
    }
}

/// The total after 12 steps.
const PEAK: f64 = 93.842_837_672_1;

struct Nobody;

impl Watcher for Nobody {
    fn stage(&mut self, _: &str, _: usize, _: usize) {}
    fn metrics(&mut self, _: &Record) {}
    fn note(&mut self, _: &str) {}
}

fn cadence(patience: usize, use_best: bool) -> Cadence {
    Cadence { evaluate_every: 3, save_every: 4, keep_last: 2, patience, use_best }
}

fn run(
    root: &Path,
    mut stage: Sum,
    interrupt: &Interrupt,
    cadence: &Cadence,
) -> Result<Outcome, DataError> {
    let marker = root.join("config.toml");
    let run = if marker.exists() { RunDir::open(root)? } else { RunDir::create(root)? };
    fs::write(marker, "").expect("writes");
    let mut log = RunLog::open(&run, Box::new(Nobody))?;
    let workers = Workers::default();
    let mut context = Context { run: &run, log: &mut log, interrupt, workers: &workers };
    drive(&mut context, "sum", &mut stage, N_STEPS, cadence)
}

fn result(root: &Path, cadence: &Cadence) -> (String, String) {
    let outcome = run(root, Sum::new(), &Interrupt::default(), cadence).expect("finishes");
    let Outcome::Finished(folder) = outcome else { panic!("not interrupted") };
    let total = fs::read_to_string(folder.join("total")).expect("reads");
    (total, fs::read_to_string(root.join("metrics.jsonl")).expect("reads"))
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

#[test]
fn failing_anywhere_and_going_on_changes_nothing() {
    let whole = folder();
    let expected = result(whole.path(), &cadence(0, false));
    for fail_at in 0..N_STEPS {
        let folder = folder();
        let stage = Sum { fail_at: Some(fail_at), ..Sum::new() };
        run(folder.path(), stage, &Interrupt::default(), &cadence(0, false)).expect_err("fails");
        assert_eq!(result(folder.path(), &cadence(0, false)), expected, "failed at {fail_at}");
    }
}

#[test]
fn an_interrupt_saves_what_was_done() {
    let folder = folder();
    let interrupt = Interrupt::default();
    let stage = Sum { interrupt_at: Some((6, interrupt.clone())), ..Sum::new() };
    let outcome = run(folder.path(), stage, &interrupt, &cadence(0, false)).expect("stops");
    assert_eq!(outcome, Outcome::Interrupted);
    assert!(folder.path().join("checkpoints/sum/step-000007").exists());
    let whole = self::folder();
    assert_eq!(result(folder.path(), &cadence(0, false)), result(whole.path(), &cadence(0, false)));
}

#[test]
fn the_best_evaluation_can_be_the_result_and_end_the_stage() {
    // Evaluations at 3, 6, 9, 12 (the best), 15, 18, 20.
    for (patience, last_step) in [(0, 20), (2, 18)] {
        let folder = folder();
        let (total, metrics) = result(folder.path(), &cadence(patience, true));
        assert!((total.parse::<f64>().expect("a number") - PEAK).abs() < 1e-6, "{total}");
        assert!(metrics.contains(&format!("\"step\":{last_step},")), "{metrics}");
        assert!(!metrics.contains(&format!("\"step\":{},", last_step + 1)), "{metrics}");
    }
}

#[test]
fn a_finished_stage_is_not_run_again() {
    let folder = folder();
    result(folder.path(), &cadence(0, false));
    let stage = Sum { fail_at: Some(0), ..Sum::new() };
    let outcome = run(folder.path(), stage, &Interrupt::default(), &cadence(0, false));
    assert!(matches!(outcome, Ok(Outcome::Finished(_))));
}
