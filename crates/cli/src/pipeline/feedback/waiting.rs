//! Waiting for people.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use rein_model::backend::LmAutodiffBackend;

use super::super::Session;
use super::PROJECT;
use crate::commands::launcher;

/// How often answers are counted.
const PAUSE: Duration = Duration::from_secs(1);
/// The name under which progress is told.
const NAME: &str = "answers";

impl<B: LmAutodiffBackend> Session<B> {
    /// Waits until all pairs of the run are answered, but for those that all who answer passed over; false if somebody asked
    /// to stop before.
    pub(super) fn wait_for_people(&mut self) -> Result<bool> {
        let mut told = None;
        loop {
            let counted = || -> Result<[usize; 3]> {
                let store = self.store()?;
                let progress = store.progress(PROJECT)?;
                let counts = [progress.n_done, progress.n_tasks, store.n_given_up(PROJECT)?];
                Ok(counts.map(|it| it as usize))
            };
            let [n_done, n_tasks, n_given_up] = self.workers.from_first(counted)?;
            if told.is_none() && n_done < n_tasks {
                let root = self.root().display().to_string();
                self.log.note(format!(
                    "{n_done} of {n_tasks} pairs are answered; people answer the others by `{} feedback serve --run {root}`",
                    launcher()
                ));
            }
            if told != Some(n_done) {
                self.log.begin(NAME, n_done, n_tasks)?;
                told = Some(n_done);
            }
            if n_done + n_given_up >= n_tasks {
                if n_given_up > 0 {
                    let note = format!("{n_given_up} pairs were passed over by all who answer");
                    self.log.note(note);
                }
                return Ok(true);
            }
            if self.workers.any(self.interrupt.is_set()) {
                return Ok(false);
            }
            self.log.tick()?;
            thread::sleep(PAUSE);
        }
    }
}
