//! JSON lines, plain or gzipped, read with the line in every error.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use crate::DataError;

/// Longer lines are refused.
const MAX_LINE_BYTES: u64 = 8 << 20;

/// Reads one row a line; empty lines are passed over. A file without any row is an error.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, DataError> {
    read_with(path, Ok)
}

/// Reads as [`read`] does and converts each row; why one can't be converted is told with its line.
pub fn read_with<T: DeserializeOwned, U>(
    path: &Path,
    mut convert: impl FnMut(T) -> Result<U, String>,
) -> Result<Vec<U>, DataError> {
    read_numbered(path, |_, row| convert(row))
}

/// Reads as [`read_with`] does; the conversion is told the line, too, counted from 1.
pub fn read_numbered<T: DeserializeOwned, U>(
    path: &Path,
    mut convert: impl FnMut(usize, T) -> Result<U, String>,
) -> Result<Vec<U>, DataError> {
    let mut reader = open(path)?;
    let mut rows = Vec::new();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let n_bytes = reader
            .by_ref()
            .take(MAX_LINE_BYTES + 1)
            .read_until(b'\n', &mut line)
            .map_err(DataError::io(path))?;
        if n_bytes == 0 {
            break;
        }
        if n_bytes as u64 > MAX_LINE_BYTES {
            return Err(DataError::line(path, number, "longer than 8 MiB; is it JSON lines?"));
        }
        if !line.trim_ascii().is_empty() {
            let row = convert(number, parse(path, number, &line)?);
            rows.push(row.map_err(|reason| DataError::line(path, number, reason))?);
        }
    }
    if rows.is_empty() {
        Err(DataError::file(path, "holds no rows; a run needs one at least"))
    } else {
        Ok(rows)
    }
}

/// One row as a line of JSON.
pub fn line(row: &impl Serialize) -> String {
    let mut line = serde_json::to_string(row).expect("rows of the project are plain JSON");
    line.push('\n');
    line
}

/// Opens a text file; gzip is recognised by its first bytes, not by its name.
pub fn open(path: &Path) -> Result<Box<dyn BufRead>, DataError> {
    let mut reader = BufReader::new(File::open(path).map_err(DataError::io(path))?);
    let is_gzip = reader.fill_buf().map_err(DataError::io(path))?.starts_with(&[0x1f, 0x8b]);
    Ok(if is_gzip {
        Box::new(BufReader::new(MultiGzDecoder::new(reader)))
    } else {
        Box::new(reader)
    })
}

fn parse<T: DeserializeOwned>(path: &Path, number: usize, line: &[u8]) -> Result<T, DataError> {
    let text = str::from_utf8(line)
        .map_err(|error| DataError::line(path, number, format!("not UTF-8: {error}")))?;
    serde_json::from_str(text).map_err(|error| {
        // The row is the whole document for serde: its own line number would mislead.
        let reason = error.to_string();
        let reason = reason.split(" at line ").next().unwrap_or(&reason);
        let reason = match error.classify() {
            Category::Data => format!("{reason} (column {})", error.column()),
            _ => format!("not JSON: {reason}; write one whole object on each line"),
        };
        DataError::line(path, number, reason)
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;
    use crate::example::Preference;

    fn file(content: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(content).expect("writes");
        file
    }

    fn refusal(content: &[u8]) -> String {
        let file = file(content);
        let error = read::<Preference>(file.path()).expect_err("is refused").to_string();
        error.replace(file.path().to_str().expect("UTF-8"), "pairs.jsonl")
    }

    #[test]
    fn errors_name_the_line_and_what_is_missing() {
        let good = r#"{"prompt":"p","chosen":"c","rejected":"r"}"#;
        assert_eq!(
            refusal(format!("{good}\n\n{{\"prompt\":\"p\"}}\n").as_bytes()),
            "pairs.jsonl:3: missing field `chosen` (column 14)"
        );
        assert_eq!(
            refusal(format!("{good}\n{{\"prompt\":").as_bytes()),
            "pairs.jsonl:2: not JSON: EOF while parsing a value; write one whole object on each line"
        );
        assert_eq!(refusal(b"\n"), "pairs.jsonl: holds no rows; a run needs one at least");
        assert!(refusal(b"{\"prompt\":\"\xff\"}").starts_with("pairs.jsonl:1: not UTF-8"));
    }

    #[test]
    fn gzip_is_recognised_by_content() {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(b"[1]\n[2,3]\n").expect("compresses");
        let file = file(&gzip.finish().expect("compresses"));
        assert_eq!(read::<Vec<u8>>(file.path()).expect("reads"), [vec![1], vec![2, 3]]);
    }

    proptest! {
        #[test]
        fn rows_survive_writing_and_reading(rows in prop::collection::vec(any::<(String, i64)>(), 1..8)) {
            let content: String = rows.iter().map(line).collect();
            prop_assert_eq!(read::<(String, i64)>(file(content.as_bytes()).path()).expect("reads"), rows);
        }

        #[test]
        fn no_bytes_make_it_panic(content in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read::<Preference>(file(&content).path());
        }
    }
}
