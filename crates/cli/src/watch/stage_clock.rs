use std::time::{Duration, Instant};

/// How long a stage has run and will run.
#[derive(Clone, Copy, Debug)]
pub(super) struct StageClock {
    first_step: usize,
    n_steps: usize,
    start: Instant,
}

impl StageClock {
    /// Starts now, after `first_step` steps.
    pub(super) fn start(first_step: usize, n_steps: usize) -> Self {
        Self { first_step, n_steps, start: Instant::now() }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// The time left after `step`, if the others take as long as those so far.
    pub(super) fn left(&self, step: usize) -> Duration {
        let n_done = step.saturating_sub(self.first_step).max(1);
        self.elapsed().mul_f64(self.n_steps.saturating_sub(step) as f64 / n_done as f64)
    }
}

/// `2:03`
pub(super) fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}
