//! The labelling page in a real browser, with a real server and a real store.
//!
//! It needs chromium and chromedriver (on Debian: `apt install chromium chromium-driver`); without them, each test says that
//! it was skipped. `REIN_SCREENSHOTS` names a folder for pictures of every mode.
#![allow(clippy::print_stderr, reason = "a test tells what it skipped")]

mod chromium;
mod page;
mod served;

mod interruptions;
mod keyboard;
mod languages;
mod live;
mod mouse;
mod payloads;
mod pictures;
mod together;
