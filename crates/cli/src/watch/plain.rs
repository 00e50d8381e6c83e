use std::time::{Duration, Instant};

use rein_data::log::{Record, Watcher};

use super::stage_clock::{StageClock, clock};
use super::{evaluated, shown};
use crate::speech;

/// At most one line of progress in this time.
const PAUSE: Duration = Duration::from_secs(2);

/// A line every few seconds, on standard error.
#[derive(Debug, Default)]
pub(crate) struct PlainLines {
    stage: Option<Progress>,
}

#[derive(Debug)]
struct Progress {
    name: String,
    n_steps: usize,
    clock: StageClock,
    last_line: Option<Instant>,
}

impl Watcher for PlainLines {
    fn stage(&mut self, stage: &str, step: usize, n_steps: usize) {
        self.stage = Some(Progress {
            name: stage.to_owned(),
            n_steps,
            clock: StageClock::start(step, n_steps),
            last_line: None,
        });
    }

    fn metrics(&mut self, record: &Record) {
        let evaluation: Vec<String> = evaluated(record).map(|(name, it)| value(name, it)).collect();
        if !evaluation.is_empty() {
            let at = format!("{:<8} {:>5} held-out", record.stage, record.step);
            self.note(&format!("{at}  {}", evaluation.join("  ")));
            return;
        }
        let Some(progress) = self.stage.as_mut().filter(|it| it.name == record.stage) else {
            return;
        };
        let is_last = record.step == progress.n_steps;
        if !is_last && progress.last_line.is_some_and(|last| last.elapsed() < PAUSE) {
            return;
        }
        progress.last_line = Some(Instant::now());
        let line = progress.line(record);
        self.note(&line);
    }

    fn note(&mut self, text: &str) {
        speech::note(text);
    }
}

impl Progress {
    fn line(&self, record: &Record) -> String {
        let values: Vec<String> = shown(record).map(|(name, it)| value(name, it)).collect();
        format!(
            "{:<8} {:>5}/{}  {}  {} elapsed, {} left",
            record.stage,
            record.step,
            self.n_steps,
            values.join("  "),
            clock(self.clock.elapsed()),
            clock(self.clock.left(record.step))
        )
    }
}

fn value(name: &str, value: f64) -> String {
    if value != 0.0 && value.abs() < 1e-2 {
        format!("{name} {value:.1e}")
    } else {
        format!("{name} {value:.3}")
    }
}
