//! Rows of data sets, one after the other, from whatever file holds them.
//!
//! [`Rows::open`] recognises JSON lines, a JSON array of objects (by itself or as a member of one
//! object), comma- and tab-separated tables and Parquet. Text may be gzipped. Memory doesn't grow with
//! the file: one row is held at a time, and a page of each column of Parquet. Limits hold for whatever
//! the file says: 8 MiB for a row, 64 levels of nesting, no key twice, UTF-8 only.

mod array;
mod format;
pub(crate) mod json;
mod parquet;
mod table;

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use self::array::Elements;
use self::parquet::Records;
use self::table::Table;
use crate::DataError;
use crate::jsonl::Lines;

pub use self::format::Format;
pub(crate) use self::table::refuse;

/// Longer rows are refused.
pub(crate) const MAX_ROW_BYTES: u64 = 8 << 20;

/// A row and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Where, for errors.
    pub place: Place,
    /// Its values by column, in the order of the file.
    pub columns: Map<String, Value>,
}

/// A place in a file, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line of a text.
    Line(usize),
    /// A row of a file in which lines mean nothing.
    Row(usize),
}

impl Place {
    /// The error of a row that stands here.
    pub fn refuse(self, path: &Path, reason: impl Into<String>) -> DataError {
        let (path, reason) = (path.to_path_buf(), reason.into());
        match self {
            Self::Line(line) => DataError::Line { path, line, reason },
            Self::Row(row) => DataError::Row { path, row, reason },
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::Row(row) => write!(f, "row {row}"),
        }
    }
}

/// The rows of a file.
///
/// A row that can't be read is an error that names its place. Those behind it still come where the
/// format allows that (JSON lines, tables, and JSON as long as its brackets match), so that all that is
/// wrong with a file can be told at once.
pub struct Rows {
    path: PathBuf,
    format: Format,
    source: Source,
}

enum Source {
    Lines(Lines),
    Elements(Elements),
    Table(Table),
    Records(Records),
}

impl Rows {
    /// Opens a file and recognises its format by what it holds and, between texts, by its name.
    ///
    /// # Errors
    /// A file that can't be read, or whose format isn't known.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        Self::open_as(path, Format::detect(path)?)
    }

    /// Opens a file of this format.
    pub fn open_as(path: &Path, format: Format) -> Result<Self, DataError> {
        let source = match format {
            Format::JsonLines => Source::Lines(Lines::open(path)?),
            Format::Json => Source::Elements(Elements::open(path)?),
            Format::Csv => Source::Table(Table::open(path, b',')?),
            Format::Tsv => Source::Table(Table::open(path, b'\t')?),
            Format::Parquet => Source::Records(Records::open(path)?),
        };
        Ok(Self { path: path.to_owned(), format, source })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its format.
    pub fn format(&self) -> Format {
        self.format
    }

    fn next_line(path: &Path, lines: &mut Lines) -> Option<Result<Row, DataError>> {
        Some(lines.next_line()?.and_then(|(number, line)| {
            let place = Place::Line(number);
            let columns = json::object(line).map_err(|reason| place.refuse(path, reason))?;
            Ok(Row { place, columns })
        }))
    }
}

impl Iterator for Rows {
    type Item = Result<Row, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.source {
            Source::Lines(lines) => Self::next_line(&self.path, lines),
            Source::Elements(elements) => elements.next(),
            Source::Table(table) => table.next(),
            Source::Records(records) => records.next(),
        }
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("path", &self.path).field("format", &self.format).finish()
    }
}

#[cfg(test)]
mod tests;
