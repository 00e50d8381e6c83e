//! Rows of a Parquet file.

mod footer;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use parquet::data_type::AsBytes;
use parquet::errors::ParquetError;
use parquet::file::reader::SerializedFileReader;
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row as Record};
use serde_json::{Map, Number, Value};

use super::{MAX_ROW_BYTES, Place, Row};
use crate::DataError;

/// Files with a larger index are refused before the whole of it becomes structures.
const MAX_FOOTER_BYTES: u64 = 16 << 20;

/// The records of a file, group by group. Pages are unpacked one at a time.
pub(super) struct Records {
    path: PathBuf,
    /// `None` behind the last record and behind an error.
    records: Option<RowIter<'static>>,
    n_rows: usize,
}

impl Records {
    pub(super) fn open(path: &Path) -> Result<Self, DataError> {
        let file = File::open(path).map_err(DataError::io(path))?;
        check_footer(path, &file)?;
        let refuse = |reason| DataError::file(path, reason);
        let reader = guarded(|| SerializedFileReader::new(file)).map_err(refuse)?;
        let records = Some(RowIter::from_file_into(Box::new(reader)));
        Ok(Self { path: path.to_owned(), records, n_rows: 0 })
    }
}

impl Iterator for Records {
    type Item = Result<Row, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let records = self.records.as_mut()?;
        self.n_rows += 1;
        let record = guarded(|| {
            let record = records.next().transpose()?;
            Ok(record.map(|record| object(record, &mut { MAX_ROW_BYTES })).transpose())
        });
        let record = record.and_then(|record| record);
        if !matches!(record, Ok(Some(_))) {
            self.records = None;
        }
        let place = Place::Row(self.n_rows);
        match record {
            Ok(columns) => columns.map(|columns| Ok(Row { place, columns })),
            Err(reason) => Some(Err(place.refuse(&self.path, reason))),
        }
    }
}

/// The Parquet library asserts much of what a damaged file may get wrong; such a panic is an error here.
fn guarded<T>(read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(result) => result.map_err(|error| format!("damaged Parquet: {error}")),
        Err(_) => Err("damaged Parquet: what it holds contradicts itself".into()),
    }
}

/// The last eight bytes say how large the index before them is.
fn check_footer(path: &Path, mut file: &File) -> Result<(), DataError> {
    let mut tail = [0; 8];
    let n_bytes = file.metadata().map_err(DataError::io(path))?.len();
    if n_bytes < 12 {
        return Err(DataError::file(path, "too short for Parquet; was it copied whole?"));
    }
    file.seek(SeekFrom::End(-8)).map_err(DataError::io(path))?;
    file.read_exact(&mut tail).map_err(DataError::io(path))?;
    if &tail[4..] != b"PAR1" {
        return Err(DataError::file(path, "doesn't end as Parquet does; was it copied whole?"));
    }
    let n_footer = u64::from(u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]));
    if n_footer > MAX_FOOTER_BYTES.min(n_bytes - 8) {
        let reason = format!("damaged Parquet: an index of {n_footer} bytes");
        return Err(DataError::file(path, reason));
    }
    let mut footer = vec![0; n_footer as usize];
    file.seek(SeekFrom::End(-8 - n_footer as i64)).map_err(DataError::io(path))?;
    file.read_exact(&mut footer).map_err(DataError::io(path))?;
    file.rewind().map_err(DataError::io(path))?;
    footer::check(&footer)
        .map_err(|reason| DataError::file(path, format!("damaged Parquet: {reason}")))
}

fn object(record: Record, budget: &mut u64) -> Result<Map<String, Value>, String> {
    let columns = record.into_columns().into_iter();
    columns.map(|(name, field)| Ok((name, value(field, budget)?))).collect()
}

/// What JSON would say. Dates are days since 1970, and times count from there or from midnight.
fn value(field: Field, budget: &mut u64) -> Result<Value, String> {
    let n_bytes = match &field {
        Field::Str(text) => text.len() as u64,
        Field::Bytes(bytes) => bytes.len() as u64,
        _ => 8,
    };
    *budget = budget.checked_sub(n_bytes).ok_or("longer than 8 MiB")?;
    Ok(match field {
        Field::Null => Value::Null,
        Field::Bool(it) => it.into(),
        Field::Byte(it) => it.into(),
        Field::Short(it) => it.into(),
        Field::Int(it) => it.into(),
        Field::Long(it) => it.into(),
        Field::UByte(it) => it.into(),
        Field::UShort(it) => it.into(),
        Field::UInt(it) => it.into(),
        Field::ULong(it) => it.into(),
        Field::Float16(it) => number(it.to_f64()),
        Field::Float(it) => number(it.into()),
        Field::Double(it) => number(it),
        Field::Str(it) => it.into(),
        Field::Bytes(it) => text(it.as_bytes())?.into(),
        Field::Group(it) => Value::Object(object(it, budget)?),
        Field::ListInternal(it) => {
            let items = it.elements().iter().cloned().map(|item| value(item, budget));
            Value::Array(items.collect::<Result<_, String>>()?)
        }
        Field::MapInternal(it) => {
            let entries = it.entries().iter().cloned();
            let entry = |(key, it): (Field, Field)| {
                let key = match key {
                    Field::Str(key) => key,
                    other => other.to_string(),
                };
                Ok((key, value(it, budget)?))
            };
            Value::Object(entries.map(entry).collect::<Result<_, String>>()?)
        }
        Field::Date(it) | Field::TimeMillis(it) => it.into(),
        Field::TimeMicros(it) | Field::TimestampMillis(it) | Field::TimestampMicros(it) => {
            it.into()
        }
        Field::Decimal(_) => field.to_string().into(),
    })
}

fn number(value: f64) -> Value {
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

/// Texts of older writers don't say that they are.
fn text(bytes: &[u8]) -> Result<String, String> {
    let text = str::from_utf8(bytes).map_err(|error| format!("not UTF-8: {error}"))?;
    Ok(text.to_owned())
}
