//! What a run tells while it works: metrics, samples and notes, to files and to whoever watches.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::DataError;
use crate::checkpoint::write_atomically;
use crate::jsonl;
use crate::run_dir::RunDir;
use crate::stopwatch::Stopwatch;
use crate::tensorboard::EventFile;

pub use crate::stopwatch::read_seconds;

/// The metrics of one step of one stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The stage: `sft`, `reward`, `rl`, …
    pub stage: String,
    /// The step, counted from 1.
    pub step: usize,
    /// Values under TRL's names.
    #[serde(flatten)]
    pub values: Map<String, Value>,
}

impl Record {
    /// The metrics `values` after `step`.
    pub fn new(stage: &str, step: usize, values: &Metrics) -> Self {
        let values = values.0.iter().map(|(name, value)| (name.clone(), Value::from(*value)));
        Self { stage: stage.to_owned(), step, values: values.collect() }
    }

    /// One of the values.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.values.get(name)?.as_f64()
    }
}

/// Named values, in the order in which people should see them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Metrics(pub Vec<(String, f64)>);

impl Metrics {
    /// Adds a value.
    pub fn push(&mut self, name: impl Into<String>, value: impl Into<f64>) {
        self.0.push((name.into(), value.into()));
    }

    /// One of the values.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| *value)
    }
}

impl<const N: usize> From<[(&str, f64); N]> for Metrics {
    fn from(values: [(&str, f64); N]) -> Self {
        Self(values.map(|(name, value)| (name.to_owned(), value)).to_vec())
    }
}

/// A completion worth reading.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The stage that made it.
    pub stage: String,
    /// The step that made it.
    pub step: usize,
    /// What was given.
    pub prompt: String,
    /// What the model gave.
    pub completion: String,
    /// What the reward said, before any KL penalty.
    pub score: f64,
    /// Nats between the policy and its reference, summed over the completion.
    pub kl: f64,
}

/// Somebody who watches a run: a dashboard, a terminal, a test.
pub trait Watcher {
    /// A stage begins (or goes on) at `step` of `n_steps`.
    fn stage(&mut self, stage: &str, step: usize, n_steps: usize);
    /// A step of the current stage is done.
    fn metrics(&mut self, record: &Record);
    /// Something worth a line happened.
    fn note(&mut self, text: &str);
}

/// The log of a run: files in its folder, and a watcher.
pub struct RunLog(Option<Open>);

struct Open {
    metrics: Lines,
    samples: Lines,
    events: EventFile,
    stopwatch: Stopwatch,
    watcher: Box<dyn Watcher>,
}

impl RunLog {
    /// Opens the log; what earlier processes of this run wrote stays.
    pub fn open(run: &RunDir, watcher: Box<dyn Watcher>) -> Result<Self, DataError> {
        Ok(Self(Some(Open {
            metrics: Lines::open(run.file("metrics.jsonl"))?,
            samples: Lines::open(run.file("samples.jsonl"))?,
            events: EventFile::create(&run.file("tensorboard"))?,
            stopwatch: Stopwatch::open(run.root())?,
            watcher,
        })))
    }

    /// The log of a worker that leaves telling to the first one.
    pub fn silent() -> Self {
        Self(None)
    }

    /// From now on, time goes to this part of the run, whatever stages it begins; [`read_seconds`] tells how much.
    pub fn spend_on(&mut self, part: &str) -> Result<(), DataError> {
        self.0.as_mut().map_or(Ok(()), |open| open.stopwatch.start(part))
    }

    /// The part is done. One that is not, because the log is dropped, has taken its time, too.
    pub fn spent(&mut self) -> Result<(), DataError> {
        self.0.as_mut().map_or(Ok(()), |open| open.stopwatch.stop())
    }

    /// Something goes on that has no steps: what it took until now isn't lost by a kill.
    pub fn tick(&mut self) -> Result<(), DataError> {
        self.0.as_mut().map_or(Ok(()), |open| open.stopwatch.tick())
    }

    /// Begins a stage after `step` steps. What the log holds of later steps, written before a kill
    /// by a process that didn't reach the next checkpoint, is taken out: it will be written again.
    pub fn begin(&mut self, stage: &str, step: usize, n_steps: usize) -> Result<(), DataError> {
        let Some(open) = &mut self.0 else { return Ok(()) };
        let keep = |row: &Value| row["stage"] != stage || row["step"].as_u64() <= Some(step as u64);
        open.metrics.retain(keep)?;
        open.samples.retain(keep)?;
        open.watcher.stage(stage, step, n_steps);
        Ok(())
    }

    /// Logs a step's metrics.
    pub fn metrics(&mut self, stage: &str, step: usize, values: &Metrics) -> Result<(), DataError> {
        let Some(open) = &mut self.0 else { return Ok(()) };
        let record = Record::new(stage, step, values);
        open.metrics.append(&record)?;
        open.events.scalars(&record)?;
        open.watcher.metrics(&record);
        open.stopwatch.tick()
    }

    /// Logs a sample.
    pub fn sample(&mut self, sample: &Sample) -> Result<(), DataError> {
        self.0.as_mut().map_or(Ok(()), |open| open.samples.append(sample))
    }

    /// Tells the watcher something.
    pub fn note(&mut self, text: impl AsRef<str>) {
        if let Some(open) = &mut self.0 {
            open.watcher.note(text.as_ref());
        }
    }
}

impl std::fmt::Debug for RunLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = self.0.as_ref().map(|open| &open.metrics.path);
        f.debug_struct("RunLog").field("metrics", &path).finish_non_exhaustive()
    }
}

/// A file of JSON lines that grows.
#[derive(Debug)]
struct Lines {
    path: PathBuf,
    file: File,
}

impl Lines {
    fn open(path: PathBuf) -> Result<Self, DataError> {
        let file = OpenOptions::new().create(true).append(true).open(&path);
        Ok(Self { file: file.map_err(DataError::io(&path))?, path })
    }

    fn append(&mut self, row: &impl Serialize) -> Result<(), DataError> {
        self.file.write_all(jsonl::line(row).as_bytes()).map_err(DataError::io(&self.path))
    }

    /// Keeps the rows that `keep` says; a line that a kill cut in the middle goes too.
    fn retain(&mut self, keep: impl Fn(&Value) -> bool) -> Result<(), DataError> {
        let content = fs::read_to_string(&self.path).map_err(DataError::io(&self.path))?;
        let kept: String = content
            .split_inclusive('\n')
            .filter(|line| serde_json::from_str(line).is_ok_and(|row| keep(&row)))
            .collect();
        if kept != content {
            write_atomically(&self.path, kept.as_bytes())?;
            *self = Self::open(self.path.clone())?;
        }
        Ok(())
    }
}

/// Reads the metrics of a run.
pub fn read_metrics(path: &Path) -> Result<Vec<Record>, DataError> {
    jsonl::read(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nobody;

    impl Watcher for Nobody {
        fn stage(&mut self, _: &str, _: usize, _: usize) {}
        fn metrics(&mut self, _: &Record) {}
        fn note(&mut self, _: &str) {}
    }

    #[test]
    fn a_resumed_stage_forgets_what_came_after_its_checkpoint() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let run = RunDir::create(folder.path()).expect("creates");
        let mut log = RunLog::open(&run, Box::new(Nobody)).expect("opens");
        for (stage, step) in [("sft", 1), ("sft", 2), ("rl", 1), ("rl", 2), ("rl", 3)] {
            log.metrics(stage, step, &[("loss", 0.5)].into()).expect("logs");
        }
        let path = run.file("metrics.jsonl");
        let cut = format!("{}{{\"stage\":\"rl\",\"st", fs::read_to_string(&path).expect("reads"));
        fs::write(&path, cut).expect("writes");
        log.begin("rl", 1, 3).expect("begins");
        log.metrics("rl", 2, &[("loss", f64::NAN)].into()).expect("logs");
        let rows = read_metrics(&path).expect("reads");
        let steps: Vec<_> = rows.iter().map(|row| (row.stage.as_str(), row.step)).collect();
        assert_eq!(steps, [("sft", 1), ("sft", 2), ("rl", 1), ("rl", 2)]);
        assert_eq!([rows[0].get("loss"), rows[3].get("loss")], [Some(0.5), None]);
    }
}
