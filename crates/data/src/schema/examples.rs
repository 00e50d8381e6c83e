//! The examples of a file.

use std::iter::Chain;
use std::option;
use std::path::Path;
use std::sync::Arc;

use super::Schema;
use crate::DataError;
use crate::example::Example;
use crate::rows::{Format, Place, Row, Rows};

/// An example and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Located {
    /// The example.
    pub example: Example,
    /// The file.
    pub path: Arc<Path>,
    /// The line or row.
    pub place: Place,
}

impl Located {
    /// The error of this example.
    pub fn refuse(&self, reason: impl Into<String>) -> DataError {
        self.place.refuse(&self.path, reason)
    }
}

/// The examples of a file, one after the other; an error for each row that holds none.
#[derive(Debug)]
pub struct Examples {
    rows: Chain<option::IntoIter<Result<Row, DataError>>, Rows>,
    path: Arc<Path>,
    format: Format,
    schema: Schema,
    columns: Vec<String>,
    n_skipped: usize,
}

impl Examples {
    /// Opens a file and recognises its format, and its schema unless it is named.
    ///
    /// # Errors
    /// A file without rows, whose first row can't be read, or of no known schema.
    pub fn open(path: &Path, schema: Option<Schema>) -> Result<Self, DataError> {
        let mut rows = Rows::open(path)?;
        let first = rows.next().unwrap_or_else(|| {
            Err(DataError::file(path, "holds no rows; a run needs one at least"))
        })?;
        let schema = schema.map_or_else(|| Schema::recognise(&first.columns), Ok);
        let schema = schema.map_err(|reason| first.place.refuse(path, reason))?;
        let columns = first.columns.keys().cloned().collect();
        let format = rows.format();
        let rows = Some(Ok(first)).into_iter().chain(rows);
        Ok(Self { rows, path: path.into(), format, schema, columns, n_skipped: 0 })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The schema of all its rows.
    pub fn schema(&self) -> Schema {
        self.schema
    }

    /// The columns of its first row.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Pairs passed over so far because their completions are the same.
    pub fn n_skipped(&self) -> usize {
        self.n_skipped
    }
}

impl Iterator for Examples {
    type Item = Result<Located, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Row { place, columns } = match self.rows.next()? {
                Ok(row) => row,
                Err(error) => return Some(Err(error)),
            };
            match self.schema.example(columns) {
                Ok(Some(example)) => {
                    return Some(Ok(Located { example, path: self.path.clone(), place }));
                }
                Ok(None) => self.n_skipped += 1,
                Err(reason) => {
                    let reason = format!("{reason} (the schema is {})", self.schema);
                    return Some(Err(place.refuse(&self.path, reason)));
                }
            }
        }
    }
}
