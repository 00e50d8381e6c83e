//! The loop that every training stage runs in: step, log, evaluate, checkpoint, stop, go on.
//!
//! A stage says what a step is and how it is saved ([`Train`]); [`drive`] does the rest, the same
//! for all of them. After any kill, driving the stage again continues from the newest whole
//! checkpoint and ends with the same bits as a run that was never interrupted.
//!
//! Where several workers train together, each drives the stage. The first one writes; what it decides
//! (where to go on, which evaluation is the best) and whether anybody was asked to stop, all hear. Before each
//! checkpoint they compare their weights, which have to be the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use crate::DataError;
use crate::log::{Metrics, RunLog};
use crate::run_dir::{Finished, RunDir};
use crate::workers::Workers;

const PROGRESS: &str = "progress.json";

/// A stage that trains something, step by step.
pub trait Train {
    /// What can go wrong.
    type Error: From<DataError>;

    /// Does step `step`, counted from 0, and says what it measured. `log` is for samples.
    fn step(&mut self, step: usize, log: &mut RunLog) -> Result<Metrics, Self::Error>;

    /// Measures the model on held-out rows. `None` where there are none.
    fn evaluate(&mut self) -> Result<Option<Evaluation>, Self::Error>;

    /// Writes all that a later [`restore`](Self::restore) needs into `folder`.
    fn save(&self, folder: &Path) -> Result<(), Self::Error>;

    /// Becomes what was saved in `folder`.
    fn restore(&mut self, folder: &Path) -> Result<(), Self::Error>;

    /// Whether it may ever have to [go back](Self::must_go_back), so that there has to be a checkpoint before
    /// the first step.
    fn can_go_back(&self) -> bool {
        false
    }

    /// Whether the step that was just done led nowhere: the newest checkpoint is restored, and the stage goes on
    /// from there. It is the stage's to see to it that it doesn't lead there again.
    fn must_go_back(&self) -> bool {
        false
    }

    /// A hash of all that the steps change, which several workers compare before each checkpoint. `None` for
    /// stages that have no weights.
    fn digest(&self) -> Option<Vec<u8>> {
        None
    }
}

/// What an evaluation found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Evaluation {
    /// What to log, under names that begin with `eval_`.
    pub metrics: Metrics,
    /// What decides which checkpoint is the best; higher is better.
    pub score: f64,
}

/// When a stage evaluates, saves and stops.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cadence {
    /// Steps between two held-out evaluations; 0 means none.
    pub evaluate_every: usize,
    /// Steps between two checkpoints; 0 means only at the end.
    pub save_every: usize,
    /// How many of the newest checkpoints are kept, beside the best.
    pub keep_last: usize,
    /// Stop after this many evaluations in a row without a new best; 0 means never.
    pub patience: usize,
    /// Whether the result is the checkpoint with the best evaluation instead of the last one.
    pub use_best: bool,
}

impl Default for Cadence {
    fn default() -> Self {
        Self { evaluate_every: 50, save_every: 50, keep_last: 2, patience: 0, use_best: true }
    }
}

/// Asks a run to stop at the next step: set by Ctrl-C, read by the loop.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Asks to stop.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody asked to stop.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// How driving a stage ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// All is done; the stage's result lies in this checkpoint.
    Finished(PathBuf),
    /// Somebody asked to stop; all that was done lies in a checkpoint.
    Interrupted,
}

/// The loop's own state, saved with each checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Progress {
    step: usize,
    best: Option<Best>,
    /// Evaluations since the best one.
    n_stale: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Best {
    step: usize,
    score: f64,
}

/// What [`drive`] needs to know about the run.
#[derive(Debug)]
pub struct Context<'a> {
    /// Where everything is written.
    pub run: &'a RunDir,
    /// Who is told.
    pub log: &'a mut RunLog,
    /// Who may ask to stop.
    pub interrupt: &'a Interrupt,
    /// Who trains.
    pub workers: &'a Workers,
}

/// Runs `stage` for `n_steps` steps, from its newest checkpoint if it has one.
pub fn drive<T: Train>(
    context: &mut Context<'_>,
    name: &str,
    stage: &mut T,
    n_steps: usize,
    cadence: &Cadence,
) -> Result<Outcome, T::Error> {
    let checkpoints = context.run.checkpoints(name);
    if let Some(Finished { step, .. }) = context.run.finished(name)? {
        return Ok(Outcome::Finished(checkpoints.path(step)));
    }
    let mut progress = match restore_newest(context, name, stage)? {
        Some(progress) => {
            context.log.note(format!("{name}: resumed after step {}", progress.step));
            progress
        }
        None => Progress::default(),
    };
    if progress == Progress::default() && stage.can_go_back() {
        save(context, name, stage, &progress, cadence)?;
    }
    context.log.begin(name, progress.step, n_steps)?;
    let mut reason = "all steps done";
    while progress.step < n_steps {
        if context.workers.any(context.interrupt.is_set()) {
            save(context, name, stage, &progress, cadence)?;
            return Ok(Outcome::Interrupted);
        }
        let metrics = stage.step(progress.step, context.log)?;
        if stage.must_go_back() {
            progress = go_back(context, name, stage, progress.step, n_steps)?;
            continue;
        }
        progress.step += 1;
        context.log.metrics(name, progress.step, &metrics)?;
        let last = progress.step == n_steps;
        let is_best = (is_due(progress.step, cadence.evaluate_every) || last)
            && cadence.evaluate_every > 0
            && evaluate(context, name, stage, &mut progress)?;
        let stop = cadence.patience > 0 && progress.n_stale >= cadence.patience;
        if is_best || stop || last || is_due(progress.step, cadence.save_every) {
            save(context, name, stage, &progress, cadence)?;
        }
        if stop {
            reason = "no better evaluation for `patience` times";
            break;
        }
    }
    let chosen = progress.best.filter(|_| cadence.use_best).map_or(progress.step, |best| best.step);
    if context.workers.leads() {
        context.run.finish(name, &Finished { step: chosen, reason: reason.to_owned() })?;
    }
    // Whatever comes next reads what the first worker wrote.
    context.workers.meet();
    Ok(Outcome::Finished(checkpoints.path(chosen)))
}

fn is_due(step: usize, every: usize) -> bool {
    every > 0 && step.is_multiple_of(every)
}

/// Restores the newest whole checkpoint, if there is one.
fn restore_newest<T: Train>(
    context: &mut Context<'_>,
    name: &str,
    stage: &mut T,
) -> Result<Option<Progress>, T::Error> {
    let checkpoints = context.run.checkpoints(name);
    let log = &mut *context.log;
    let newest = || checkpoints.latest(|warning| log.note(warning));
    let Some((_, folder)) = context.workers.from_first(newest)? else { return Ok(None) };
    let path = folder.join(PROGRESS);
    let bytes = fs::read(&path).map_err(DataError::io(&path))?;
    let progress: Progress = serde_json::from_slice(&bytes)
        .map_err(|error| DataError::file(&path, error.to_string()))?;
    stage.restore(&folder)?;
    Ok(Some(progress))
}

/// Restores the newest whole checkpoint and forgets what was logged of the steps after it.
fn go_back<T: Train>(
    context: &mut Context<'_>,
    name: &str,
    stage: &mut T,
    step: usize,
    n_steps: usize,
) -> Result<Progress, T::Error> {
    let progress = restore_newest(context, name, stage)?.ok_or_else(|| {
        let folder = context.run.checkpoints(name).path(step);
        DataError::file(&folder, "there is no whole checkpoint to go back to")
    })?;
    context.log.begin(name, progress.step, n_steps)?;
    let (from, to) = (step + 1, progress.step);
    context.log.note(format!("{name}: step {from} led nowhere; went back to step {to}"));
    Ok(progress)
}

/// Evaluates and says whether this is the best so far.
fn evaluate<T: Train>(
    context: &mut Context<'_>,
    name: &str,
    stage: &mut T,
    progress: &mut Progress,
) -> Result<bool, T::Error> {
    let found = stage.evaluate()?;
    // Decisions hang on the last bit of a score.
    let found = context.workers.from_first(|| Ok::<_, T::Error>(found))?;
    let Some(Evaluation { metrics, score }) = found else { return Ok(false) };
    context.log.metrics(name, progress.step, &metrics)?;
    let is_best = progress.best.as_ref().is_none_or(|best| score > best.score);
    if is_best {
        progress.best = Some(Best { step: progress.step, score });
        progress.n_stale = 0;
    } else {
        progress.n_stale += 1;
    }
    Ok(is_best)
}

fn save<T: Train>(
    context: &mut Context<'_>,
    name: &str,
    stage: &T,
    progress: &Progress,
    cadence: &Cadence,
) -> Result<(), T::Error> {
    context.workers.agree(progress.step, || stage.digest())?;
    if !context.workers.leads() {
        return Ok(());
    }
    let checkpoints = context.run.checkpoints(name);
    if checkpoints.steps()?.contains(&progress.step) {
        return Ok(());
    }
    checkpoints.write(progress.step, |folder| {
        stage.save(folder)?;
        let path = folder.join(PROGRESS);
        let bytes = serde_json::to_vec_pretty(progress).expect("plain JSON");
        fs::write(&path, bytes).map_err(DataError::io(&path)).map_err(T::Error::from)
    })?;
    let best: Vec<usize> = progress.best.iter().map(|best| best.step).collect();
    Ok(checkpoints.prune(cadence.keep_last, &best)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workers::tests::together;

    /// Counts its steps. Of several workers, the second one loses a bit in step 5.
    struct Count {
        total: u64,
        loses: bool,
    }

    impl Train for Count {
        type Error = DataError;

        fn step(&mut self, step: usize, _: &mut RunLog) -> Result<Metrics, DataError> {
            self.total += if self.loses && step == 4 { 0 } else { 1 };
            Ok(Metrics::default())
        }

        fn evaluate(&mut self) -> Result<Option<Evaluation>, DataError> {
            Ok(None)
        }

        fn save(&self, _: &Path) -> Result<(), DataError> {
            Ok(())
        }

        fn restore(&mut self, _: &Path) -> Result<(), DataError> {
            Ok(())
        }

        fn digest(&self) -> Option<Vec<u8>> {
            Some(self.total.to_le_bytes().to_vec())
        }
    }

    /// What each of two workers says, and the steps that have a checkpoint.
    fn drive_two(loses: bool) -> (Vec<Result<Outcome, String>>, Vec<usize>) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let cadence = Cadence { save_every: 3, evaluate_every: 0, ..Cadence::default() };
        let run = RunDir::create(&folder.path().join("run")).expect("creates");
        let outcomes = together(2, |workers| {
            let joined = RunDir::join(run.root());
            let (mut log, interrupt) = (RunLog::silent(), Interrupt::default());
            let mut context =
                Context { run: &joined, log: &mut log, interrupt: &interrupt, workers: &workers };
            let mut stage = Count { total: 0, loses: loses && !workers.leads() };
            drive(&mut context, "count", &mut stage, 9, &cadence).map_err(|it| it.to_string())
        });
        (outcomes, run.checkpoints("count").steps().expect("lists"))
    }

    #[test]
    fn workers_that_differ_are_found_at_the_next_checkpoint_which_is_not_written() {
        let (outcomes, steps) = drive_two(false);
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        assert_eq!(steps, [6, 9]);
        let (outcomes, steps) = drive_two(true);
        for outcome in outcomes {
            let error = outcome.expect_err("they differ");
            assert!(error.contains("step 6: worker 2 of 2 has other weights"), "{error}");
        }
        assert_eq!(steps, [3], "only what was the same everywhere");
    }
}
