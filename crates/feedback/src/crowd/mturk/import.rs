//! What workers answered goes into a store.

use std::path::Path;

use serde_json::{Map, Value};

use super::WORKER;
use super::results::{Assignment, AssignmentStatus, Results};
use crate::crowd::given::given;
use crate::crowd::import::{From, Imported, active_ms, add, asked};
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
        let (settings, tasks) = asked(store, project)?;
        store.change(|change| {
            let mut done = Imported::default();
            for assignment in Results::open(file)? {
                let assignment = assignment?;
                if assignment.status == AssignmentStatus::Rejected && !self.rejected {
                    done.n_rejected += 1;
                    continue;
                }
                let given = given(&assignment.inputs, &assignment.answers, &settings, &tasks)
                    .map_err(|reason| assignment.place.refuse(file, reason))?;
                let from = From {
                    platform: WORKER,
                    worker: &assignment.worker,
                    answer: &assignment.id,
                    active_ms: work_time(&assignment.columns),
                    others: others(&assignment.columns).into(),
                };
                let added = add(change, project, &from, given, &mut done);
                added.map_err(|error| located(error, file, &assignment))?;
            }
            Ok(done)
        })
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

/// Says on which row somebody was refused.
fn located(error: FeedbackError, file: &Path, assignment: &Assignment) -> FeedbackError {
    match error {
        FeedbackError::Refused(refusal) => {
            assignment.place.refuse(file, refusal.to_string()).into()
        }
        other => other,
    }
}
