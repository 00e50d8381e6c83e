use std::io;
use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::Result;

use crate::commands::INTERRUPTED;

/// Ctrl-C: the first stops a reply, the second leaves when the reply has stopped, and a third at once.
/// Where nothing is being said, the first one leaves.
#[derive(Clone, Debug, Default)]
pub(super) struct Interrupts(Arc<State>);

#[derive(Debug, Default)]
struct State {
    is_replying: AtomicBool,
    n_pressed: AtomicUsize,
}

impl Interrupts {
    pub(super) fn catch() -> Result<Self> {
        let interrupts = Self::default();
        let state = interrupts.0.clone();
        let restore = terminal::remember();
        ctrlc::set_handler(move || {
            let is_replying = state.is_replying.load(Ordering::SeqCst);
            if !is_replying || state.n_pressed.fetch_add(1, Ordering::SeqCst) >= 2 {
                restore();
                exit(i32::from(INTERRUPTED));
            }
        })
        .map_err(io::Error::other)?;
        Ok(interrupts)
    }

    /// Does what can be interrupted.
    pub(super) fn during<T>(&self, reply: impl FnOnce() -> T) -> T {
        self.0.n_pressed.store(0, Ordering::SeqCst);
        self.0.is_replying.store(true, Ordering::SeqCst);
        let result = reply();
        self.0.is_replying.store(false, Ordering::SeqCst);
        result
    }

    /// How often it was pressed during the newest reply.
    pub(super) fn n_pressed(&self) -> usize {
        self.0.n_pressed.load(Ordering::SeqCst)
    }
}

/// A line editor puts the terminal into a mode in which nothing else works.
#[cfg(unix)]
mod terminal {
    use std::io::stdin;

    use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

    /// What gives the terminal back as it is now.
    pub(super) fn remember() -> impl Fn() + Send + 'static {
        let modes = tcgetattr(stdin()).ok();
        move || {
            if let Some(modes) = &modes {
                let _ = tcsetattr(stdin(), OptionalActions::Now, modes);
            }
        }
    }
}

#[cfg(not(unix))]
mod terminal {
    pub(super) fn remember() -> impl Fn() + Send + 'static {
        || {}
    }
}
