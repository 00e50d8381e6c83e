//! What workers answered goes into a store.

use std::path::Path;

use serde_json::{Map, Value};

use super::WORKER;
use super::results::{Assignment, AssignmentStatus, Results};
use crate::crowd::import::{Filled, Imported, Sheet, active_ms, import};
use crate::error::FeedbackError;
use crate::store::Store;

/// What is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Import {
    /// Whether answers that were rejected are read, too.
    pub rejected: bool,
}

impl Import {
    /// Reads results of a project's batches in one transaction. An assignment that was read before is passed over, so that a
    /// file can be read again when more has come. Columns that mean nothing here are kept as events.
    ///
    /// # Errors
    /// A file that can't be read, and a row of another batch; then nothing is changed.
    pub fn run(
        &self,
        store: &mut Store,
        project: &str,
        file: &Path,
    ) -> Result<Imported, FeedbackError> {
        let sheets = Results::open(file)?.map(|assignment| Ok(self.sheet(assignment?)));
        import(store, project, WORKER, file, sheets)
    }

    fn sheet(&self, assignment: Assignment) -> Sheet {
        let filled = Filled {
            is_rejected: assignment.status == AssignmentStatus::Rejected && !self.rejected,
            active_ms: work_time(&assignment.columns),
            others: others(&assignment.columns).into(),
            id: assignment.id,
            by: assignment.worker,
            fields: assignment.answers,
        };
        Sheet { place: assignment.place, inputs: assignment.inputs, answers: vec![filled] }
    }
}

/// How long it took, by a clock that goes on while a worker is away.
fn work_time(columns: &Map<String, Value>) -> Option<i64> {
    let seconds = columns.get("WorkTimeInSeconds").and_then(Value::as_str)?;
    active_ms(seconds.trim().parse().ok()?)
}

/// All but what was asked.
fn others(columns: &Map<String, Value>) -> Map<String, Value> {
    let others = columns.iter().filter(|(name, _)| !name.starts_with("Input."));
    others.map(|(name, value)| (name.clone(), value.clone())).collect()
}
