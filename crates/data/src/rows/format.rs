//! Which format a file has.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, Read};
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{DataError, jsonl};

/// A file format for rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One object on each line.
    #[serde(rename = "jsonl")]
    JsonLines,
    /// An array of objects, or an object of which one member is such an array.
    Json,
    /// Comma-separated values with a header line and quotation marks.
    Csv,
    /// Tab-separated values with a header line; quotation marks quote nothing.
    Tsv,
    /// Apache Parquet.
    Parquet,
}

const ALL: [Format; 5] =
    [Format::JsonLines, Format::Json, Format::Csv, Format::Tsv, Format::Parquet];

impl Format {
    /// The format's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::JsonLines => "jsonl",
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Tsv => "tsv",
            Self::Parquet => "parquet",
        }
    }

    /// Parquet says what it is, JSON shows it, and tables are known by their name.
    pub(super) fn detect(path: &Path) -> Result<Self, DataError> {
        let mut magic = [0; 4];
        let mut file = File::open(path).map_err(DataError::io(path))?;
        if file.read_exact(&mut magic).is_ok() && &magic == b"PAR1" {
            return Ok(Self::Parquet);
        }
        let name = path.to_string_lossy().to_lowercase();
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
        if ends(&[".jsonl", ".ndjson"]) {
            return Ok(Self::JsonLines);
        }
        if ends(&[".csv"]) {
            return Ok(Self::Csv);
        }
        if ends(&[".tsv", ".tab"]) {
            return Ok(Self::Tsv);
        }
        let mut reader = jsonl::open(path)?;
        let head = reader.fill_buf().map_err(DataError::io(path))?;
        if head.starts_with(b"PAR1") {
            return Err(DataError::file(path, "is Parquet inside gzip; unpack it first"));
        }
        json_or_lines(head, ends(&[".json"])).ok_or_else(|| {
            let known = ALL.map(Self::name).join("`, `");
            let reason = format!(
                "neither its name nor what it holds says which format it has; known are `{known}`"
            );
            DataError::file(path, reason)
        })
    }
}

/// Many files called `.json` hold lines. An object that ends before another one begins is such a line.
fn json_or_lines(head: &[u8], is_called_json: bool) -> Option<Format> {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    match head.first() {
        Some(b'[') => Some(Format::Json),
        Some(b'{') => {
            let mut values = serde_json::Deserializer::from_slice(head).into_iter();
            let first: Option<Result<serde::de::IgnoredAny, _>> = values.next();
            let rest = head[values.byte_offset()..].trim_ascii_start();
            let is_lines = matches!(first, Some(Ok(_))) && (!rest.is_empty() || !is_called_json);
            Some(if is_lines || !is_called_json { Format::JsonLines } else { Format::Json })
        }
        None if is_called_json => Some(Format::Json),
        None => Some(Format::JsonLines),
        Some(_) => is_called_json.then_some(Format::Json),
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        ALL.into_iter().find(|format| format.name() == name).ok_or_else(|| {
            format!(
                "no format is called `{name}`; there are `{}`",
                ALL.map(Self::name).join("`, `")
            )
        })
    }
}
