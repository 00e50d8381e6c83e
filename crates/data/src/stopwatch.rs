//! How long the stages of a run have worked, over all processes that worked on it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::DataError;
use crate::checkpoint::write_atomically;

/// The file within the run's folder.
const FILE: &str = "seconds.json";
/// What is lost at most, where a process is killed.
const PERIOD: Duration = Duration::from_secs(5);

/// Wall-clock time by stage, kept in `seconds.json`: in a file of its own, because checkpoints and metrics are the
/// same however long they took.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    path: PathBuf,
    seconds: BTreeMap<String, f64>,
    running: Option<(String, Instant)>,
}

/// Seconds that each stage of the run in this folder has taken; empty where nobody looked at the clock.
///
/// # Errors
/// A file that can't be read or isn't a table of numbers.
pub fn read_seconds(folder: &Path) -> Result<BTreeMap<String, f64>, DataError> {
    let path = folder.join(FILE);
    if !path.exists() {
        return Ok(BTreeMap::new());
    }
    let bytes = fs::read(&path).map_err(DataError::io(&path))?;
    serde_json::from_slice(&bytes).map_err(|error| {
        DataError::file(&path, format!("{error}; without the file, times begin anew"))
    })
}

impl Stopwatch {
    /// Goes on from what earlier processes have spent.
    pub(crate) fn open(folder: &Path) -> Result<Self, DataError> {
        let seconds = read_seconds(folder)?;
        Ok(Self { path: folder.join(FILE), seconds, running: None })
    }

    /// From now on, time is the stage's.
    pub(crate) fn start(&mut self, stage: &str) -> Result<(), DataError> {
        self.stop()?;
        self.running = Some((stage.to_owned(), Instant::now()));
        Ok(())
    }

    /// Writes what has gone by, every few seconds.
    pub(crate) fn tick(&mut self) -> Result<(), DataError> {
        match &self.running {
            Some((_, since)) if since.elapsed() >= PERIOD => self.save(),
            _ => Ok(()),
        }
    }

    /// From now on, time is nobody's.
    pub(crate) fn stop(&mut self) -> Result<(), DataError> {
        self.save()?;
        self.running = None;
        Ok(())
    }

    fn save(&mut self) -> Result<(), DataError> {
        let Some((stage, since)) = &mut self.running else { return Ok(()) };
        let now = Instant::now();
        let spent = now.duration_since(std::mem::replace(since, now)).as_secs_f64();
        *self.seconds.entry(stage.clone()).or_default() += spent;
        let bytes = serde_json::to_vec_pretty(&self.seconds).expect("plain JSON");
        write_atomically(&self.path, &bytes)
    }
}

impl Drop for Stopwatch {
    /// A stage that failed or was interrupted has taken time, too.
    fn drop(&mut self) {
        // Whatever else ends the run is what people must hear of.
        let _ = self.stop();
    }
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;

    use super::*;

    const NAP: Duration = Duration::from_millis(20);

    #[test]
    fn times_of_stages_add_up_over_processes() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let read = || read_seconds(folder.path()).expect("reads");
        assert!(read().is_empty());
        for _ in 0..2 {
            let mut watch = Stopwatch::open(folder.path()).expect("opens");
            watch.start("sft").expect("starts");
            sleep(NAP);
            watch.start("rl").expect("starts");
            sleep(NAP);
            drop(watch);
        }
        let least = 2.0 * NAP.as_secs_f64();
        assert_eq!(read().keys().collect::<Vec<_>>(), ["rl", "sft"]);
        assert!(read().values().all(|it| *it >= least), "{:?}", read());
    }

    #[test]
    fn time_between_stages_is_nobodys() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut watch = Stopwatch::open(folder.path()).expect("opens");
        watch.start("sft").expect("starts");
        watch.stop().expect("stops");
        let before = read_seconds(folder.path()).expect("reads");
        sleep(NAP);
        watch.tick().expect("ticks");
        drop(watch);
        assert_eq!(read_seconds(folder.path()).expect("reads"), before);
    }

    #[test]
    fn a_damaged_file_is_named() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join(FILE), "{\"sft\": \"long\"}").expect("writes");
        let error = Stopwatch::open(folder.path()).expect_err("is refused").to_string();
        assert!(error.contains(FILE) && error.contains("begin anew"), "{error}");
    }
}
