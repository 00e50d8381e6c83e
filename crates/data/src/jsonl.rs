//! JSON lines, plain or gzipped, read with the line in every error.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::DataError;
use crate::rows::{MAX_ROW_BYTES, json};

/// Bytes that are read from disk at a time.
const BUFFER_BYTES: usize = 64 << 10;
/// Some programs begin a text with this.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

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
    let mut lines = Lines::open(path)?;
    let mut rows = Vec::new();
    while let Some(line) = lines.next_line() {
        let (number, line) = line?;
        let row = parse(line).and_then(|row| convert(number, row));
        rows.push(row.map_err(|reason| DataError::line(path, number, reason))?);
    }
    if rows.is_empty() {
        Err(DataError::file(path, "holds no rows; a run needs one at least"))
    } else {
        Ok(rows)
    }
}

/// The lines of a file that aren't empty, one at a time.
pub(crate) struct Lines {
    path: PathBuf,
    reader: Box<dyn BufRead>,
    number: usize,
    line: Vec<u8>,
    is_broken: bool,
}

impl Lines {
    pub(crate) fn open(path: &Path) -> Result<Self, DataError> {
        let reader = open(path)?;
        Ok(Self { path: path.to_owned(), reader, number: 0, line: Vec::new(), is_broken: false })
    }

    /// The next line and its number. Behind a line that is too long, others still come.
    pub(crate) fn next_line(&mut self) -> Option<Result<(usize, &[u8]), DataError>> {
        while !self.is_broken {
            self.number += 1;
            match self.read_line() {
                Ok(0) => break,
                Ok(n_bytes) if n_bytes > MAX_ROW_BYTES => {
                    let reason = "longer than 8 MiB; is it JSON lines?";
                    return Some(Err(DataError::line(&self.path, self.number, reason)));
                }
                Ok(_) if self.line.trim_ascii().is_empty() => {}
                Ok(_) => return Some(Ok((self.number, &self.line))),
                Err(error) => {
                    self.is_broken = true;
                    return Some(Err(DataError::io(&self.path)(error)));
                }
            }
        }
        None
    }

    /// Reads a line and says how long it is; what lies beyond the limit isn't kept.
    fn read_line(&mut self) -> io::Result<u64> {
        self.line.clear();
        let limited = &mut self.reader.by_ref().take(MAX_ROW_BYTES + 1);
        let n_bytes = limited.read_until(b'\n', &mut self.line)? as u64;
        if self.number == 1 && self.line.starts_with(BYTE_ORDER_MARK) {
            self.line.drain(..BYTE_ORDER_MARK.len());
        }
        if n_bytes > MAX_ROW_BYTES && self.line.last() != Some(&b'\n') {
            self.line.clear();
            self.reader.skip_until(b'\n')?;
        }
        Ok(n_bytes)
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
    let file = File::open(path).map_err(DataError::io(path))?;
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, file);
    let is_gzip = reader.fill_buf().map_err(DataError::io(path))?.starts_with(&[0x1f, 0x8b]);
    Ok(if is_gzip {
        Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(reader)))
    } else {
        Box::new(reader)
    })
}

/// Reads strictly first: serde would take the last of two equal keys that no field has.
fn parse<T: DeserializeOwned>(line: &[u8]) -> Result<T, String> {
    json::value(line)?;
    serde_json::from_slice(line).map_err(|error| json::reason(&error))
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
