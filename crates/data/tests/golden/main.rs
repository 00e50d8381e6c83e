//! Numbers of tokenizers and transformers, reproduced. `REIN_FIXTURES` names another folder of them.

mod chat;
#[path = "../../../../fixtures/golden.rs"]
mod golden;
mod tokenizer;
mod trl;

use std::path::PathBuf;

use serde_json::Value;

/// The files right below `tokenizer` that have this key, each with its path. None is a failure.
fn files(key: &str) -> Vec<(PathBuf, Value)> {
    let folder = golden::root().join("tokenizer");
    let entries = std::fs::read_dir(&folder).expect("a folder of fixtures");
    let paths = entries.map(|entry| entry.expect("is readable").path());
    let is_json = |path: &PathBuf| path.extension().is_some_and(|it| it == "json");
    let files = paths.filter(is_json).map(|path| (path.clone(), golden::json(&path)));
    let found: Vec<_> = files.filter(|(_, file)| !file[key].is_null()).collect();
    assert!(!found.is_empty(), "no file with `{key}` in {}", folder.display());
    found
}
