//! What was answered elsewhere goes into a store.

use std::collections::BTreeMap;
use std::path::Path;

use rein_data::DataError;
use rein_data::rows::Place;
use serde_json::Value;

use super::given::{Given, given};
use crate::error::{FeedbackError, Refusal};
use crate::records::{Annotation, Settings, Split, Task};
use crate::store::{Change, Role, Store};

/// What became of the answers of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Answers that are new.
    pub n_new: usize,
    /// Answers that were read before.
    pub n_known: usize,
    /// Answers that were rejected, skipped or are still drafts, and weren't read.
    pub n_rejected: usize,
    /// Answers that don't fit what was asked.
    pub set_aside: Vec<SetAside>,
}

/// An answer that can't be used. Workers can send what they like; the others aren't worth less for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// The platform's number of it.
    pub answer: String,
    /// What is wrong.
    pub reason: String,
}

/// A row of a platform's file: what was sent with a task, and what was said of it.
pub(super) struct Sheet {
    pub(super) place: Place,
    pub(super) inputs: BTreeMap<String, String>,
    pub(super) answers: Vec<Filled>,
}

/// An answer as fields that somebody filled in.
pub(super) struct Filled {
    /// The platform's number of it.
    pub(super) id: String,
    /// The platform's number of whoever gave it.
    pub(super) by: String,
    pub(super) fields: BTreeMap<String, String>,
    /// Whether it was rejected, or skipped.
    pub(super) is_rejected: bool,
    /// How long it took.
    pub(super) active_ms: Option<i64>,
    /// What means nothing here: it is kept as an event.
    pub(super) others: Value,
}

/// Reads a file into a project in one transaction. An answer that was read before is passed over. `platform` stands before
/// numbers, so that those of two platforms are never the same.
///
/// # Errors
/// A row that can't be read, or of something else; then nothing is changed.
pub(super) fn import(
    store: &mut Store,
    project: &str,
    platform: &str,
    file: &Path,
    sheets: impl Iterator<Item = Result<Sheet, DataError>>,
) -> Result<Imported, FeedbackError> {
    let (settings, tasks) = asked(store, project)?;
    store.change(|change| {
        let mut done = Imported::default();
        for sheet in sheets {
            let Sheet { place, inputs, answers } = sheet?;
            for filled in answers {
                if filled.is_rejected {
                    done.n_rejected += 1;
                    continue;
                }
                let given = given(&inputs, &filled.fields, &settings, &tasks)
                    .map_err(|reason| place.refuse(file, reason))?;
                let added = add(change, project, platform, filled, given, &mut done);
                added.map_err(|error| match error {
                    FeedbackError::Refused(refusal) => {
                        place.refuse(file, refusal.to_string()).into()
                    }
                    other => other,
                })?;
            }
        }
        Ok(done)
    })
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

/// Longer times are those of somebody who went away, in milliseconds: nobody knows how long it took.
const LONGEST: i64 = 10 * 60 * 1000;

/// How long an answer took, as far as the platform's clock says so; in seconds.
pub(super) fn active_ms(seconds: f64) -> Option<i64> {
    let active = (seconds * 1000.0).round();
    (active >= 0.0 && active <= LONGEST as f64).then_some(active as i64)
}

/// Stores an answer that isn't known yet.
fn add(
    change: &Change<'_>,
    project: &str,
    platform: &str,
    filled: Filled,
    given: Given<'_>,
    done: &mut Imported,
) -> Result<(), FeedbackError> {
    let Given { task, answer, shown } = given;
    let answer = match answer {
        Ok(answer) => answer,
        Err(reason) => {
            done.set_aside.push(SetAside { answer: filled.id, reason });
            return Ok(());
        }
    };
    let [annotator, idem_key] = [&filled.by, &filled.id].map(|it| format!("{platform}{it}"));
    change.add_annotator(&annotator, Role::Person)?;
    let active_ms = filled.active_ms;
    let key = idem_key.clone();
    let annotation =
        Annotation { task: task.id, annotator, answer, shown, idem_key: key, active_ms };
    if change.annotate(&[annotation])? == 0 {
        done.n_known += 1;
        return Ok(());
    }
    done.n_new += 1;
    let kind = platform.trim_end_matches(':');
    let event = serde_json::json!({ "kind": kind, "task": task.id, "columns": filled.others });
    change.add_event(project, None, Some(&idem_key), &event)?;
    Ok(())
}
