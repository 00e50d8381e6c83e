//! Comma- and tab-separated rows.

use std::cell::Cell;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use csv::{ErrorKind, StringRecord, StringRecordsIntoIter};
use serde_json::{Map, Value};

use super::{MAX_ROW_BYTES, Place, Row};
use crate::{DataError, jsonl};

/// The records of a table, by the names in its first line. All values are texts.
pub(super) struct Table {
    path: PathBuf,
    header: StringRecord,
    records: StringRecordsIntoIter<Capped>,
    /// Bytes that may be read before the next record is whole.
    left: Rc<Cell<u64>>,
    /// The place of the last record.
    line: usize,
    is_broken: bool,
}

impl Table {
    pub(super) fn open(path: &Path, delimiter: u8) -> Result<Self, DataError> {
        let left = Rc::new(Cell::new(MAX_ROW_BYTES));
        let from = Capped { reader: Box::new(jsonl::open(path)?), left: left.clone() };
        // A tab-separated file of plain sentences has quotation marks that quote nothing.
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .quoting(delimiter == b',')
            .from_reader(from);
        let header = reader.headers().map_err(|error| refuse(path, 1, &error))?.clone();
        if header.is_empty() {
            return Err(DataError::file(path, "holds no rows, not even the names of columns"));
        }
        for (place, name) in header.iter().enumerate() {
            if header.iter().take(place).any(|other| other == name) {
                return Err(DataError::line(path, 1, format!("two columns are called `{name}`")));
            }
        }
        let records = reader.into_records();
        Ok(Self { path: path.to_owned(), header, records, left, line: 1, is_broken: false })
    }
}

impl Iterator for Table {
    type Item = Result<Row, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_broken {
            return None;
        }
        self.left.set(MAX_ROW_BYTES);
        let record = match self.records.next()? {
            Ok(record) => record,
            Err(error) => {
                self.is_broken = matches!(error.kind(), ErrorKind::Io(_));
                return Some(Err(refuse(&self.path, self.line + 1, &error)));
            }
        };
        self.line = record.position().map_or(0, csv::Position::line) as usize;
        let cells = self.header.iter().zip(&record);
        let columns: Map<String, Value> =
            cells.map(|(name, cell)| (name.to_owned(), cell.into())).collect();
        Some(Ok(Row { place: Place::Line(self.line), columns }))
    }
}

/// Why a record can't be read, with its line; `line` where the error doesn't say.
pub(crate) fn refuse(path: &Path, line: usize, error: &csv::Error) -> DataError {
    let line = error.position().map_or(line, |it| it.line() as usize);
    let reason = match error.kind() {
        ErrorKind::Io(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            "a row longer than 8 MiB; is a quotation mark left open?".into()
        }
        ErrorKind::Io(error) => error.to_string(),
        ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("{len} values for {expected_len} columns")
        }
        ErrorKind::Utf8 { err, .. } => format!("not UTF-8: {err}"),
        _ => error.to_string(),
    };
    DataError::line(path, line, reason)
}

/// Ends with an error where one record has too many bytes.
struct Capped {
    reader: Box<dyn Read>,
    left: Rc<Cell<u64>>,
}

impl Read for Capped {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left.get() == 0 {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let n_bytes = self.reader.read(buffer)?;
        self.left.set(self.left.get().saturating_sub(n_bytes as u64));
        Ok(n_bytes)
    }
}
