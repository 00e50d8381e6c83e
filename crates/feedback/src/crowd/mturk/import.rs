//! What workers answered goes into a store.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::WORKER;
use super::answers::{Given, given};
use super::results::{Assignment, AssignmentStatus, Results};
use crate::error::{FeedbackError, Refusal};
use crate::records::{Annotation, Settings, Split, Task};
use crate::store::{Change, Role, Store};

/// What is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Import {
    /// Whether answers that were rejected are read, too.
    pub rejected: bool,
}

/// What became of the rows of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Answers that are new.
    pub n_new: usize,
    /// Answers that were read before.
    pub n_known: usize,
    /// Answers that were rejected, and weren't read.
    pub n_rejected: usize,
    /// Answers that don't fit what was asked.
    pub set_aside: Vec<SetAside>,
}

/// An answer that can't be used. Workers can send what they like; the others aren't worth less for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Its assignment.
    pub assignment: String,
    /// What is wrong.
    pub reason: String,
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
                let given = given(&assignment, &settings, &tasks)
                    .map_err(|reason| assignment.place.refuse(file, reason))?;
                let added = add(change, project, &assignment, given, &mut done);
                added.map_err(|error| located(error, file, &assignment))?;
            }
            Ok(done)
        })
    }
}

/// A project's settings and its tasks by name.
pub(super) fn asked(
    store: &Store,
    project: &str,
) -> Result<(Settings, BTreeMap<String, Task>), FeedbackError> {
    let found = store.projects()?.into_iter().find(|it| it.name == project);
    let settings = found.ok_or_else(|| Refusal::NoProject(project.into()))?.settings;
    let mut tasks = store.tasks(project, Split::Train)?;
    tasks.extend(store.tasks(project, Split::Heldout)?);
    Ok((settings, tasks.into_iter().map(|task| (task.external_id.clone(), task)).collect()))
}

fn add(
    change: &Change<'_>,
    project: &str,
    assignment: &Assignment,
    given: Given<'_>,
    done: &mut Imported,
) -> Result<(), FeedbackError> {
    let Given { task, answer, shown } = given;
    let answer = match answer {
        Ok(answer) => answer,
        Err(reason) => {
            done.set_aside.push(SetAside { assignment: assignment.id.clone(), reason });
            return Ok(());
        }
    };
    let annotator = format!("{WORKER}{}", assignment.worker);
    let idem_key = format!("{WORKER}{}", assignment.id);
    change.add_annotator(&annotator, Role::Person)?;
    let annotation =
        Annotation { task: task.id, annotator, answer, shown, idem_key: idem_key.clone() };
    if change.annotate(&[annotation])? == 0 {
        done.n_known += 1;
        return Ok(());
    }
    done.n_new += 1;
    let event = json!({ "kind": "mturk", "task": task.id, "columns": others(&assignment.columns) });
    change.add_event(project, None, Some(&idem_key), &event)?;
    Ok(())
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
