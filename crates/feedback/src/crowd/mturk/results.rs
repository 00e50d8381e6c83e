//! The table of what workers answered.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rein_data::DataError;
use rein_data::rows::{Format, Place, Rows};
use serde_json::{Map, Value};

use super::cells;

/// Larger files are refused, in bytes of cells.
const MAX_FILE: usize = 256 << 20;
/// Longer cells are refused, in bytes.
const MAX_CELL: usize = 1 << 20;

/// What became of a worker's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssignmentStatus {
    /// Nobody looked at it yet.
    Submitted,
    /// It was paid for.
    Approved,
    /// It wasn't.
    Rejected,
}

/// What one worker answered to one HIT.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    /// Where it stands.
    pub place: Place,
    /// Its number (`AssignmentId`).
    pub id: String,
    /// Whose it is (`WorkerId`).
    pub worker: String,
    /// What became of it (`AssignmentStatus`).
    pub status: AssignmentStatus,
    /// What the row of the batch said (`Input.*`), decoded.
    pub inputs: BTreeMap<String, String>,
    /// What the fields of the page held (`Answer.*`), decoded. A choice of several is `field.value` = `true`.
    pub answers: BTreeMap<String, String>,
    /// All columns as they stand in the file.
    pub columns: Map<String, Value>,
}

/// The assignments of a file, one after the other. Memory doesn't grow with the file.
#[derive(Debug)]
pub struct Results {
    path: PathBuf,
    rows: Rows,
    /// Bytes that may still come.
    left: usize,
}

impl Results {
    /// Opens a table of results (CSV, UTF-8, perhaps gzipped), as the website's "Download CSV" gives it, or as
    /// [`super::Review`] writes it.
    ///
    /// # Errors
    /// A file that can't be read.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let rows = Rows::open_as(path, Format::Csv)?;
        Ok(Self { path: path.to_owned(), rows, left: MAX_FILE })
    }

    fn assignment(
        &mut self,
        place: Place,
        columns: Map<String, Value>,
    ) -> Result<Assignment, String> {
        self.count(&columns)?;
        let need = |name: &str| match columns.get(name).and_then(Value::as_str) {
            Some(cell) if !cell.trim().is_empty() => Ok(cell.trim().to_owned()),
            Some(_) => Err(format!("`{name}` is empty")),
            None => {
                Err(format!("no column `{name}`; take the whole table that \"Download CSV\" gives"))
            }
        };
        Ok(Assignment {
            place,
            id: need("AssignmentId")?,
            worker: need("WorkerId")?,
            status: status(&need("AssignmentStatus")?)?,
            inputs: below("Input.", &columns),
            answers: answers(&columns)?,
            columns,
        })
    }

    /// Refuses what is too large.
    fn count(&mut self, columns: &Map<String, Value>) -> Result<(), String> {
        for (name, cell) in columns {
            let n_bytes = cell.as_str().map_or(0, str::len);
            if n_bytes > MAX_CELL {
                return Err(format!("`{name}` has more than {MAX_CELL} bytes"));
            }
            self.left = self.left.checked_sub(n_bytes).ok_or_else(|| {
                format!("the file has more than {MAX_FILE} bytes; split it between two rows")
            })?;
        }
        Ok(())
    }
}

impl Iterator for Results {
    type Item = Result<Assignment, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.rows.next()?.and_then(|row| {
            let place = row.place;
            let read = self.assignment(place, row.columns);
            read.map_err(|reason| place.refuse(&self.path, reason))
        }))
    }
}

fn status(text: &str) -> Result<AssignmentStatus, String> {
    match text {
        "Submitted" => Ok(AssignmentStatus::Submitted),
        "Approved" => Ok(AssignmentStatus::Approved),
        "Rejected" => Ok(AssignmentStatus::Rejected),
        _ => Err("`AssignmentStatus` is neither Submitted, Approved nor Rejected".into()),
    }
}

/// The columns whose name begins so, decoded, without empty ones.
fn below(prefix: &str, columns: &Map<String, Value>) -> BTreeMap<String, String> {
    let cells = columns.iter().filter_map(|(name, cell)| {
        let (name, cell) = (name.strip_prefix(prefix)?, cell.as_str()?);
        (!cell.is_empty()).then(|| (name.to_owned(), cells::decode(cell).into_owned()))
    });
    cells.collect()
}

/// A page of crowd elements can give all fields in one cell of JSON: a list of one object.
const TASK_ANSWERS: &str = "Answer.taskAnswers";

fn answers(columns: &Map<String, Value>) -> Result<BTreeMap<String, String>, String> {
    let mut fields = below("Answer.", columns);
    let Some(cell) = columns.get(TASK_ANSWERS).and_then(Value::as_str) else { return Ok(fields) };
    fields.remove("taskAnswers");
    if !cell.trim().is_empty() {
        // The cell is decoded, or else the texts inside: never both.
        let is_plain = serde_json::from_str::<Value>(cell);
        let (value, decode): (_, fn(&str) -> String) = match is_plain {
            Ok(value) => (value, |text| cells::decode(text).into_owned()),
            Err(_) => {
                let value = serde_json::from_str(&cells::decode(cell));
                let value = value.map_err(|it| format!("`{TASK_ANSWERS}` isn't JSON: {it}"))?;
                (value, str::to_owned)
            }
        };
        let object = value.get(0).unwrap_or(&value);
        let Some(members) = object.as_object() else {
            return Err(format!("`{TASK_ANSWERS}` isn't a list of one object"));
        };
        for (name, value) in members {
            add_field(&mut fields, name, value, decode);
        }
    }
    Ok(fields)
}

/// A field's value, or the values of a choice; what is deeper says nothing to us.
fn add_field(
    fields: &mut BTreeMap<String, String>,
    name: &str,
    value: &Value,
    decode: fn(&str) -> String,
) {
    match value {
        Value::String(text) => drop(fields.insert(name.into(), decode(text))),
        Value::Bool(_) | Value::Number(_) => drop(fields.insert(name.into(), value.to_string())),
        Value::Object(members) => {
            let plain = members.iter().filter(|(_, it)| !it.is_object());
            plain.for_each(|(option, it)| {
                add_field(fields, &format!("{name}.{option}"), it, decode);
            });
        }
        Value::Null | Value::Array(_) => {}
    }
}
