//! JSON lines, plain or gzipped: any bytes are rows or an error that names the line.

#![no_main]

use std::fs;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use rein_data::example::{Demonstration, Preference};
use rein_data::inputs::{Purpose, Reading, read_inputs};
use rein_data::jsonl;
use serde_json::Value;
use tempfile::NamedTempFile;

static FILE: LazyLock<NamedTempFile> =
    LazyLock::new(|| NamedTempFile::new().expect("a temporary file"));

fuzz_target!(|input: &[u8]| {
    let path = FILE.path();
    fs::write(path, input).expect("writes");
    let _ = jsonl::read::<Demonstration>(path);
    let _ = jsonl::read::<Preference>(path);
    let reading = Reading { tokenizer: None, template: None, purpose: Purpose::Continue };
    let _ = read_inputs(path, reading);
    if let Ok(rows) = jsonl::read::<Value>(path) {
        let lines: String = rows.iter().map(jsonl::line).collect();
        fs::write(path, lines).expect("writes");
        assert_eq!(jsonl::read::<Value>(path).expect("reads what it wrote"), rows);
    }
});
