//! What people see of a download: a bar, once it takes long, and only on a terminal.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::speech;

/// Who waits no longer needs no bar.
const PATIENCE: Duration = Duration::from_secs(2);
const STYLE: &str = "{msg:32!} [{wide_bar}] {bytes}/{total_bytes} {eta:>3} left";

/// How far a download has come.
pub(super) struct Progress {
    bar: ProgressBar,
    begin: Instant,
    is_shown: bool,
    /// Bytes of the files before this one.
    before: u64,
    /// Bytes of this file.
    here: u64,
}

impl Progress {
    /// Nothing yet of so many bytes.
    pub(super) fn new(n_bytes: u64) -> Self {
        let bar = ProgressBar::with_draw_target(Some(n_bytes), ProgressDrawTarget::hidden());
        bar.set_style(ProgressStyle::with_template(STYLE).expect("the template is well formed"));
        Self { bar, begin: Instant::now(), is_shown: false, before: 0, here: 0 }
    }

    /// More turns out to be needed.
    pub(super) fn expect(&mut self, n_bytes: u64) {
        self.bar.inc_length(n_bytes);
    }

    /// The next file.
    pub(super) fn file(&mut self, name: &str) {
        self.before += std::mem::take(&mut self.here);
        self.bar.set_message(name.to_owned());
    }

    /// So much of the file was there already.
    pub(super) fn at(&mut self, n_bytes: u64) {
        self.here = n_bytes;
        self.show();
    }

    /// So much more of the file has come.
    pub(super) fn add(&mut self, n_bytes: u64) {
        self.here += n_bytes;
        self.show();
    }

    fn show(&mut self) {
        if !self.is_shown && self.begin.elapsed() > PATIENCE {
            // Draws nothing where standard error is no terminal.
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
            self.is_shown = true;
        }
        self.bar.set_position(self.before + self.here);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Tells of something that is worth a word.
pub(super) fn note(text: &str) {
    speech::note(&format!("note: {text}"));
}
