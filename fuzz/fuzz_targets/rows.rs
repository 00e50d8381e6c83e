//! Data sets in every format but Parquet, whose reader is a library's: any bytes are examples of some
//! schema or errors that name the row.

#![no_main]

use std::fs;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use rein_data::rows::{Format, Rows};
use rein_data::schema::Examples;
use tempfile::NamedTempFile;

static FILE: LazyLock<NamedTempFile> =
    LazyLock::new(|| NamedTempFile::new().expect("a temporary file"));

fuzz_target!(|input: &[u8]| {
    if input.starts_with(b"PAR1") {
        return;
    }
    let path = FILE.path();
    fs::write(path, input).expect("writes");
    for format in [Format::JsonLines, Format::Json, Format::Csv, Format::Tsv] {
        if let Ok(rows) = Rows::open_as(path, format) {
            rows.for_each(drop);
        }
    }
    if let Ok(examples) = Examples::open(path, None) {
        examples.for_each(drop);
    }
});
