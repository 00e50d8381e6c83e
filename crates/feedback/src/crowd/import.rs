//! What was answered elsewhere goes into a store.

use std::collections::BTreeMap;

use serde_json::Value;

use super::given::Given;
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

/// By whom an answer is, and what else the platform says of it.
pub(super) struct From<'a> {
    /// Stands before numbers, so that those of two platforms are never the same.
    pub(super) platform: &'a str,
    pub(super) worker: &'a str,
    /// The platform's number of the answer.
    pub(super) answer: &'a str,
    /// How long it took.
    pub(super) active_ms: Option<i64>,
    /// What means nothing here: it is kept as an event.
    pub(super) others: Value,
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
pub(super) fn add(
    change: &Change<'_>,
    project: &str,
    from: &From<'_>,
    given: Given<'_>,
    done: &mut Imported,
) -> Result<(), FeedbackError> {
    let Given { task, answer, shown } = given;
    let answer = match answer {
        Ok(answer) => answer,
        Err(reason) => {
            done.set_aside.push(SetAside { answer: from.answer.into(), reason });
            return Ok(());
        }
    };
    let annotator = format!("{}{}", from.platform, from.worker);
    let idem_key = format!("{}{}", from.platform, from.answer);
    change.add_annotator(&annotator, Role::Person)?;
    let active_ms = from.active_ms;
    let annotation = Annotation {
        task: task.id,
        annotator,
        answer,
        shown,
        idem_key: idem_key.clone(),
        active_ms,
    };
    if change.annotate(&[annotation])? == 0 {
        done.n_known += 1;
        return Ok(());
    }
    done.n_new += 1;
    let kind = from.platform.trim_end_matches(':');
    let event = serde_json::json!({ "kind": kind, "task": task.id, "columns": from.others });
    change.add_event(project, None, Some(&idem_key), &event)?;
    Ok(())
}
