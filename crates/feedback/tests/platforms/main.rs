//! Tasks that go to a crowd and come back. `REIN_FIXTURES` names another folder of results.

mod argilla;
mod label_studio;
mod mturk;

use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
    let root = std::env::var_os("REIN_FIXTURES").map_or(own, PathBuf::from);
    root.join("feedback").join(name)
}
