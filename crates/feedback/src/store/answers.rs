//! What people say: revisions that take each other's place, of which none is ever changed.

use rusqlite::{OptionalExtension, params};
use serde_json::{Value, json};

use super::Change;
use super::annotators::Annotator;
use super::assign::Asked;
use super::projects::Project;
use crate::error::{FeedbackError, Refusal};
use crate::records::{Annotation, Answer, MAX_TEXT, Shown, Status};

/// How many answers somebody can go back.
pub(super) const UNDOABLE: usize = 10;

/// What somebody does with a task that they were asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// Answers it.
    Answer(Answer),
    /// Keeps what the page holds for later.
    Draft(Value),
    /// Passes it over.
    Skip,
    /// Says that something is wrong with it.
    Flag {
        /// What.
        reason: String,
    },
}

/// What somebody sends.
#[derive(Clone, Debug, PartialEq)]
pub struct Submission {
    /// The task's row.
    pub task: i64,
    /// What is said of it.
    pub said: Said,
    /// The caller's key: sending it twice stores it once.
    pub idem_key: String,
    /// When the page showed it, in milliseconds since 1970.
    pub opened_at: Option<i64>,
    /// For how long it was in sight and somebody was at it.
    pub active_ms: Option<i64>,
}

/// What is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The revision's row.
    pub annotation: i64,
    /// Whether it was there already.
    pub is_replay: bool,
}

/// The newest of somebody's revisions of a task.
struct Standing {
    revision: i64,
    status: Status,
}

impl Change<'_> {
    /// Stores what somebody says of a task that they were asked, or said something of before.
    ///
    /// A place that was leased is kept; after a lease has ended, an answer is stored as long as nobody else took the
    /// place, so that there are never more answers than the task's overlap asks for.
    pub fn submit(&self, annotator: &str, sent: &Submission) -> Result<Receipt, FeedbackError> {
        let annotator = self.active(annotator)?;
        if let Some(receipt) = self.replay(annotator.id, sent.task, &sent.idem_key)? {
            return Ok(receipt);
        }
        let task = self.task(sent.task)?;
        let kind = self.project_of(task.id)?.settings.kind;
        let standing = self.standing(task.id, annotator.id)?;
        let lease = self.lease(task.id, annotator.id)?;
        let shown = self.shown_to(&annotator.name, task.id)?;
        if let Some(reason) = refusal(&sent.said, &kind, task.responses.len()) {
            return Err(Refusal::BadAnswer(reason).into());
        }
        let had_place = lease.is_some_and(|it| it.is_live)
            || standing.as_ref().is_some_and(|it| it.status == Status::Submitted)
            || task.gold.is_some();
        let takes_place = matches!(sent.said, Said::Answer(_));
        if takes_place && !had_place && !self.has_place(task.id, annotator.id)? {
            return Err(Refusal::Full(task.id).into());
        }
        let (status, payload) = row(&sent.said);
        let revision = standing.map_or(1, |it| it.revision + 1);
        let annotation = self.add_revision(&annotator, sent, revision, status, &payload, &shown)?;
        if status.is_final() {
            self.end_lease(task.id, annotator.id)?;
        }
        self.recount(task.id)?;
        Ok(Receipt { annotation, is_replay: false })
    }

    /// The order in which somebody sees a task's items, or saw them.
    pub(crate) fn shown_to(&self, annotator: &str, task: i64) -> Result<Shown, FeedbackError> {
        let annotator = self.active(annotator)?;
        let lease = self.lease(task, annotator.id)?;
        let standing = self.standing(task, annotator.id)?;
        match (lease, standing) {
            (Some(lease), _) => Ok(lease.shown),
            (None, Some(standing)) => self.shown(task, annotator.id, standing.revision),
            (None, None) => {
                self.n_items(task)?;
                Err(Refusal::NotAsked(task).into())
            }
        }
    }

    /// Takes back the last of what somebody said in a project, whose task is theirs again, and shows it with what they said.
    pub fn undo(
        &self,
        project: &str,
        annotator: &str,
        idem_key: &str,
    ) -> Result<Asked, FeedbackError> {
        let annotator = self.active(annotator)?;
        let project = self.project(project)?;
        check_key(idem_key)?;
        if let Some(task) = self.undone_before(&annotator, idem_key)? {
            return self.asked(task, annotator.id);
        }
        let last = self.undoable(&project, &annotator)?.into_iter().next();
        let Some((task, revision)) = last else {
            return Err(Refusal::NothingToUndo(UNDOABLE).into());
        };
        self.take_back(&project, &annotator, task, revision, idem_key)
    }

    /// The tasks of somebody's last answers, skips and flags that can still be changed, the newest first, and their
    /// revisions.
    pub(super) fn undoable(
        &self,
        project: &Project,
        annotator: &Annotator,
    ) -> Result<Vec<(i64, i64)>, FeedbackError> {
        // Of the newest final revisions, those that still stand.
        let query = "SELECT task_id, revision, status,
                            (SELECT max(revision) FROM annotation AS b
                             WHERE b.task_id = a.task_id AND b.annotator_id = a.annotator_id)
                     FROM annotation AS a JOIN task ON task.id = a.task_id
                     WHERE annotator_id = ?1 AND project_id = ?2
                       AND status IN ('submitted', 'skipped', 'flagged')
                     ORDER BY a.id DESC LIMIT ?3";
        let mut statement = self.connection.prepare_cached(query)?;
        let rows = statement
            .query_map(params![annotator.id, project.id, UNDOABLE as i64], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get::<_, i64>(3)?))
            })?;
        let rows = rows.collect::<rusqlite::Result<Vec<(i64, i64, i64)>>>()?;
        let stands = rows.into_iter().filter(|(_, revision, newest)| revision == newest);
        Ok(stands.map(|(task, revision, _)| (task, revision)).collect())
    }

    /// The task that somebody took back under this key before, and still holds.
    fn undone_before(
        &self,
        annotator: &Annotator,
        key: &str,
    ) -> Result<Option<i64>, FeedbackError> {
        let query = "SELECT annotation.task_id FROM annotation
                     JOIN lease ON lease.task_id = annotation.task_id
                               AND lease.annotator_id = annotation.annotator_id
                     WHERE idem_key = ?1 AND annotation.annotator_id = ?2 AND status = 'undone'";
        let mut statement = self.connection.prepare_cached(query)?;
        let held = statement.query_row(params![key, annotator.id], |row| row.get(0)).optional()?;
        let is_known = "SELECT 1 FROM annotation WHERE idem_key = ?1";
        if held.is_none() && self.connection.prepare_cached(is_known)?.exists([key])? {
            return Err(Refusal::KeyTaken(key.into()).into());
        }
        Ok(held)
    }

    fn take_back(
        &self,
        project: &Project,
        annotator: &Annotator,
        task: i64,
        revision: i64,
        idem_key: &str,
    ) -> Result<Asked, FeedbackError> {
        let shown = self.shown(task, annotator.id, revision)?;
        self.connection
            .prepare_cached(
                "INSERT INTO annotation (task_id, annotator_id, revision, idem_key, payload_json,
                                         shown_json, submitted_at, status)
                 SELECT task_id, annotator_id, revision + 1, ?4, payload_json, shown_json, ?5, 'undone'
                 FROM annotation WHERE task_id = ?1 AND annotator_id = ?2 AND revision = ?3",
            )?
            .execute(params![task, annotator.id, revision, idem_key, self.now])?;
        self.begin_lease(task, annotator.id, &shown, &project.settings)?;
        self.recount(task)?;
        self.asked(task, annotator.id)
    }

    /// Stores answers that were given elsewhere; tells how many are new.
    pub fn annotate(&self, annotations: &[Annotation]) -> Result<usize, FeedbackError> {
        let mut n_new = 0;
        for annotation in annotations {
            n_new += usize::from(self.annotate_one(annotation)?);
        }
        Ok(n_new)
    }

    /// Whether something was stored under a key.
    pub(crate) fn knows(&self, key: &str) -> Result<bool, FeedbackError> {
        let query = "SELECT 1 FROM annotation WHERE idem_key = ?1";
        Ok(self.connection.prepare_cached(query)?.exists([key])?)
    }

    /// Whether somebody, who need not be known, has said something of a task.
    pub(crate) fn has_said(&self, annotator: &str, task: i64) -> Result<bool, FeedbackError> {
        let query = "SELECT 1 FROM annotation JOIN annotator ON annotator.id = annotator_id
                     WHERE external_id = ?1 AND task_id = ?2";
        Ok(self.connection.prepare_cached(query)?.exists(params![annotator, task])?)
    }

    fn annotate_one(&self, said: &Annotation) -> Result<bool, FeedbackError> {
        let annotator = self.annotator(&said.annotator)?;
        if self.replay(annotator.id, said.task, &said.idem_key)?.is_some() {
            return Ok(false);
        }
        let n_items = self.n_items(said.task)?;
        let kind = self.project_of(said.task)?.settings.kind;
        if !said.shown.is_order_of(n_items) {
            let reason = format!("task {} has {n_items} items, shown in another order", said.task);
            return Err(Refusal::BadAnswer(reason).into());
        }
        if let Some(reason) = said.answer.refusal(&kind, n_items) {
            return Err(Refusal::BadAnswer(format!("task {}: {reason}", said.task)).into());
        }
        let revision = self.standing(said.task, annotator.id)?.map_or(1, |it| it.revision + 1);
        let sent = Submission {
            task: said.task,
            said: Said::Answer(said.answer.clone()),
            idem_key: said.idem_key.clone(),
            opened_at: None,
            active_ms: said.active_ms,
        };
        let (status, payload) = row(&sent.said);
        self.add_revision(&annotator, &sent, revision, status, &payload, &said.shown)?;
        self.recount(said.task)?;
        Ok(true)
    }

    /// What was stored under a key before.
    fn replay(
        &self,
        annotator: i64,
        task: i64,
        key: &str,
    ) -> Result<Option<Receipt>, FeedbackError> {
        check_key(key)?;
        let query = "SELECT id, annotator_id, task_id FROM annotation WHERE idem_key = ?1";
        let mut statement = self.connection.prepare_cached(query)?;
        let found: Option<(i64, i64, i64)> = statement
            .query_row([key], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        match found {
            None => Ok(None),
            Some((id, by, of)) if by == annotator && of == task => {
                Ok(Some(Receipt { annotation: id, is_replay: true }))
            }
            Some(_) => Err(Refusal::KeyTaken(key.into()).into()),
        }
    }

    fn standing(&self, task: i64, annotator: i64) -> Result<Option<Standing>, FeedbackError> {
        let query = "SELECT id, revision, status FROM standing
                     WHERE task_id = ?1 AND annotator_id = ?2";
        let mut statement = self.connection.prepare_cached(query)?;
        let found: Option<(i64, i64, String)> = statement
            .query_row([task, annotator], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        found
            .map(|(id, revision, status)| {
                let reason = || format!("status `{status}`");
                let status = Status::parse(&status).ok_or_else(|| FeedbackError::BadRow {
                    what: "annotation",
                    id,
                    reason: reason(),
                })?;
                Ok(Standing { revision, status })
            })
            .transpose()
    }

    fn shown(&self, task: i64, annotator: i64, revision: i64) -> Result<Shown, FeedbackError> {
        let query = "SELECT id, shown_json FROM annotation
                     WHERE task_id = ?1 AND annotator_id = ?2 AND revision = ?3";
        let mut statement = self.connection.prepare_cached(query)?;
        let (id, shown): (i64, String) = statement
            .query_row([task, annotator, revision], |row| Ok((row.get(0)?, row.get(1)?)))?;
        super::read::shown(id, &shown)
    }

    fn add_revision(
        &self,
        annotator: &Annotator,
        sent: &Submission,
        revision: i64,
        status: Status,
        payload: &str,
        shown: &Shown,
    ) -> Result<i64, FeedbackError> {
        self.connection
            .prepare_cached(
                "INSERT INTO annotation (task_id, annotator_id, revision, idem_key, payload_json,
                                         shown_json, submitted_at, status, opened_at, active_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?
            .execute(params![
                sent.task,
                annotator.id,
                revision,
                sent.idem_key,
                payload,
                serde_json::to_string(shown).expect("plain JSON"),
                self.now,
                status.as_str(),
                sent.opened_at,
                sent.active_ms
            ])?;
        Ok(self.connection.last_insert_rowid())
    }

    /// Whether a task is open follows from what people said of it and what rules left of that.
    pub(super) fn recount(&self, task: i64) -> Result<(), FeedbackError> {
        self.connection
            .prepare_cached(
                "UPDATE task SET is_open =
                     (SELECT count(*) FROM counted WHERE task_id = ?1) < overlap
                     AND (SELECT count(*) FROM standing WHERE task_id = ?1 AND status = 'flagged')
                         < ?2
                 WHERE id = ?1",
            )?
            .execute(params![task, self.project_of(task)?.settings.flags])?;
        Ok(())
    }

    pub(super) fn n_items(&self, task: i64) -> Result<usize, FeedbackError> {
        let query = "SELECT count(*) FROM task_item WHERE task_id = ?1";
        let n_items: i64 =
            self.connection.prepare_cached(query)?.query_row([task], |row| row.get(0))?;
        if n_items == 0 {
            return Err(Refusal::NoTask(task).into());
        }
        Ok(n_items as usize)
    }

    pub(crate) fn project_of(&self, task: i64) -> Result<Project, FeedbackError> {
        let query = "SELECT name FROM project
                     WHERE id = (SELECT project_id FROM task WHERE task.id = ?1)";
        let mut statement = self.connection.prepare_cached(query)?;
        let name: Option<String> = statement.query_row([task], |row| row.get(0)).optional()?;
        self.project(&name.ok_or(Refusal::NoTask(task))?)
    }
}

fn check_key(key: &str) -> Result<(), Refusal> {
    if key.is_empty() || key.len() > 256 {
        return Err(Refusal::BadAnswer("`idem_key` has 1 to 256 bytes".into()));
    }
    Ok(())
}

fn refusal(said: &Said, kind: &crate::records::Kind, n_items: usize) -> Option<String> {
    match said {
        Said::Answer(answer) => answer.refusal(kind, n_items),
        Said::Draft(draft) => (draft.to_string().len() > 2 * MAX_TEXT)
            .then(|| format!("a draft has at most {} bytes", 2 * MAX_TEXT)),
        Said::Skip => None,
        Said::Flag { reason } => {
            (reason.len() > MAX_TEXT).then(|| format!("`reason` has more than {MAX_TEXT} bytes"))
        }
    }
}

fn row(said: &Said) -> (Status, String) {
    match said {
        Said::Answer(answer) => {
            (Status::Submitted, serde_json::to_string(answer).expect("plain JSON"))
        }
        Said::Draft(draft) => (Status::Draft, draft.to_string()),
        Said::Skip => (Status::Skipped, json!({}).to_string()),
        Said::Flag { reason } => (Status::Flagged, json!({ "reason": reason }).to_string()),
    }
}
