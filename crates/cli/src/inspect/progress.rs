//! A word from time to time while a large file is read.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

/// How far the reading is, on a terminal, after the first two seconds.
pub(super) struct Progress {
    told: Instant,
    is_terminal: bool,
    has_told: bool,
}

impl Progress {
    const PAUSE: Duration = Duration::from_secs(2);

    pub(super) fn begin() -> Self {
        Self { told: Instant::now(), is_terminal: stderr().is_terminal(), has_told: false }
    }

    pub(super) fn rows(&mut self, n_rows: usize) {
        // Looking at the clock takes longer than many rows do.
        if n_rows.is_multiple_of(64) && self.is_terminal && self.told.elapsed() >= Self::PAUSE {
            self.told = Instant::now();
            self.has_told = true;
            let _ = write!(stderr(), "\r{n_rows} rows");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.has_told {
            let _ = write!(stderr(), "\r\x1b[2K");
        }
    }
}
