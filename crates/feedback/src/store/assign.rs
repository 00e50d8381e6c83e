//! Who is asked what next.
//!
//! A task has as many places as its overlap asks for. An answer takes one for good, a lease until it ends. Of the tasks
//! with a free place, the one of the highest priority is asked first, and of those of one priority the one whose answer tells most; some are chosen at random whatever their priority, so
//! that what is learned of a model stays honest; some are golden: everybody is asked them, as if they were any others; and
//! some pairs come a second time, with their sides exchanged.

use rand::{Rng, RngExt};
use rein_data::seed::Seed;
use rusqlite::{OptionalExtension, params};
use serde_json::Value;

use super::Change;
use super::annotators::Annotator;
use super::projects::Project;
use crate::error::FeedbackError;
use crate::records::{Answer, NewTask, Settings, Shown, Task};

/// A task as somebody is asked it.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// The task.
    pub task: Task,
    /// The order of its items on the page.
    pub shown: Shown,
    /// What the page held when it was left.
    pub draft: Option<Value>,
    /// What was said before it was taken back.
    pub answer: Option<Answer>,
    /// Until when it is kept, in milliseconds since 1970.
    pub expires_at: i64,
}

/// That somebody is asked something.
pub(super) struct Lease {
    pub(super) shown: Shown,
    pub(super) is_live: bool,
}

/// Tasks of project `?1` that annotator `?2` can be asked at `?3`.
const FREE: &str = "
    is_open = 1 AND gold_json IS NULL AND repeats IS NULL AND project_id = ?1
    AND NOT EXISTS (SELECT 1 FROM standing
                    WHERE task_id = task.id AND annotator_id = ?2
                      AND status IN ('submitted', 'skipped', 'flagged'))
    AND (SELECT count(*) FROM counted WHERE task_id = task.id)
        + (SELECT count(*) FROM lease
           WHERE task_id = task.id AND annotator_id <> ?2 AND expires_at > ?3) < overlap";

/// Golden tasks of project `?1` that annotator `?2` hasn't said anything of.
const GOLD: &str = "
    gold_json IS NOT NULL AND project_id = ?1
    AND NOT EXISTS (SELECT 1 FROM standing
                    WHERE task_id = task.id AND annotator_id = ?2
                      AND status IN ('submitted', 'skipped', 'flagged'))";

impl Change<'_> {
    /// The task that somebody shall judge now: the one they hold already, or another one; `None` if nothing is left for
    /// them. It is theirs until it is answered or the project's lease ends.
    pub fn next(&self, project: &str, annotator: &str) -> Result<Option<Asked>, FeedbackError> {
        let project = self.project(project)?;
        let annotator = self.active(annotator)?;
        if let Some((task, shown)) = self.held(&project, &annotator)? {
            self.begin_lease(task, annotator.id, &shown, &project.settings)?;
            return self.asked(task, annotator.id).map(Some);
        }
        let seed = Seed::new(project.settings.seed).child(&project.name).child(&annotator.name);
        let mut rng = seed.index(self.n_said(&project, &annotator)?).rng();
        if let Some((task, shown)) = self.again(&project, &annotator, &mut rng)? {
            self.begin_lease(task, annotator.id, &shown, &project.settings)?;
            return self.asked(task, annotator.id).map(Some);
        }
        let Some(task) = self.choose(&project, &annotator, &mut rng)? else { return Ok(None) };
        let order = seed.child("order").index(task as u64);
        let shown = shuffled(self.n_items(task)?, &mut order.rng());
        self.begin_lease(task, annotator.id, &shown, &project.settings)?;
        self.asked(task, annotator.id).map(Some)
    }

    /// Adds a task and asks it of somebody, before all others.
    pub fn ask_now(
        &self,
        project: &str,
        annotator: &str,
        task: &NewTask,
    ) -> Result<Asked, FeedbackError> {
        self.add_tasks(project, std::slice::from_ref(task))?;
        let project = self.project(project)?;
        let annotator = self.active(annotator)?;
        let id = self.task_named(&project, &task.external_id)?;
        if self.lease(id, annotator.id)?.is_none() {
            let seed = Seed::new(project.settings.seed).child("order").child(&annotator.name);
            let shown = shuffled(task.responses.len(), &mut seed.index(id as u64).rng());
            self.begin_lease(id, annotator.id, &shown, &project.settings)?;
        }
        self.asked(id, annotator.id)
    }

    fn choose(
        &self,
        project: &Project,
        annotator: &Annotator,
        rng: &mut impl Rng,
    ) -> Result<Option<i64>, FeedbackError> {
        let Settings { gold_share, random_share, .. } = project.settings;
        let [golden, at_random] = [gold_share, random_share].map(|it| rng.random_bool(it));
        if golden && let Some(task) = self.any(GOLD, project, annotator, rng)? {
            return Ok(Some(task));
        }
        if at_random {
            return self.any(FREE, project, annotator, rng);
        }
        let query = format!(
            "SELECT id FROM task WHERE {FREE} ORDER BY priority DESC, information DESC, id LIMIT 1"
        );
        let mut statement = self.connection.prepare_cached(&query)?;
        let arguments = params![project.id, annotator.id, self.now];
        Ok(statement.query_row(arguments, |row| row.get(0)).optional()?)
    }

    /// One of some tasks, each as probable as the others.
    fn any(
        &self,
        which: &str,
        project: &Project,
        annotator: &Annotator,
        rng: &mut impl Rng,
    ) -> Result<Option<i64>, FeedbackError> {
        // All parameters appear, so that they can be bound alike.
        let query = format!("SELECT id FROM task WHERE {which} AND ?3 = ?3 ORDER BY id");
        let mut statement = self.connection.prepare_cached(&query)?;
        let rows =
            statement.query_map(params![project.id, annotator.id, self.now], |row| row.get(0))?;
        let tasks = rows.collect::<rusqlite::Result<Vec<i64>>>()?;
        Ok((!tasks.is_empty()).then(|| tasks[rng.random_range(0..tasks.len())]))
    }

    /// What somebody was asked and hasn't answered.
    fn held(
        &self,
        project: &Project,
        annotator: &Annotator,
    ) -> Result<Option<(i64, Shown)>, FeedbackError> {
        let query = "SELECT task_id, shown_json FROM lease JOIN task ON task.id = task_id
                     WHERE annotator_id = ?1 AND expires_at > ?2 AND project_id = ?3
                     ORDER BY issued_at DESC LIMIT 1";
        let mut statement = self.connection.prepare_cached(query)?;
        let found: Option<(i64, String)> = statement
            .query_row(params![annotator.id, self.now, project.id], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        found.map(|(task, shown)| Ok((task, super::read::shown(task, &shown)?))).transpose()
    }

    /// How often somebody said something in a project.
    fn n_said(&self, project: &Project, annotator: &Annotator) -> Result<u64, FeedbackError> {
        let query = "SELECT count(*) FROM annotation JOIN task ON task.id = task_id
                     WHERE annotator_id = ?1 AND project_id = ?2";
        let mut statement = self.connection.prepare_cached(query)?;
        let count: i64 = statement.query_row([annotator.id, project.id], |row| row.get(0))?;
        Ok(count as u64)
    }

    /// Whether a task has a free place for somebody who doesn't hold one.
    pub(super) fn has_place(&self, task: i64, annotator: i64) -> Result<bool, FeedbackError> {
        let query = "SELECT (SELECT count(*) FROM counted WHERE task_id = ?1)
                          + (SELECT count(*) FROM lease
                             WHERE task_id = ?1 AND annotator_id <> ?2 AND expires_at > ?3)
                          < overlap FROM task WHERE id = ?1";
        let mut statement = self.connection.prepare_cached(query)?;
        Ok(statement.query_row(params![task, annotator, self.now], |row| row.get(0))?)
    }

    pub(super) fn lease(&self, task: i64, annotator: i64) -> Result<Option<Lease>, FeedbackError> {
        let query = "SELECT shown_json, expires_at > ?3 FROM lease
                     WHERE task_id = ?1 AND annotator_id = ?2";
        let mut statement = self.connection.prepare_cached(query)?;
        let found: Option<(String, bool)> = statement
            .query_row(params![task, annotator, self.now], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        found
            .map(|(shown, is_live)| Ok(Lease { shown: super::read::shown(task, &shown)?, is_live }))
            .transpose()
    }

    pub(super) fn begin_lease(
        &self,
        task: i64,
        annotator: i64,
        shown: &Shown,
        settings: &Settings,
    ) -> Result<(), FeedbackError> {
        let expires_at = self.now + 60_000 * i64::from(settings.lease_minutes);
        self.connection
            .prepare_cached(
                "INSERT INTO lease (task_id, annotator_id, shown_json, issued_at, expires_at)
                 VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (task_id, annotator_id) DO UPDATE SET expires_at = ?5",
            )?
            .execute(params![
                task,
                annotator,
                serde_json::to_string(shown).expect("plain JSON"),
                self.now,
                expires_at
            ])?;
        Ok(())
    }

    pub(super) fn end_lease(&self, task: i64, annotator: i64) -> Result<(), FeedbackError> {
        let change = "DELETE FROM lease WHERE task_id = ?1 AND annotator_id = ?2";
        self.connection.prepare_cached(change)?.execute([task, annotator])?;
        Ok(())
    }

    /// A leased task as the page shows it.
    pub(super) fn asked(&self, task: i64, annotator: i64) -> Result<Asked, FeedbackError> {
        let query = "SELECT shown_json, expires_at,
                            (SELECT payload_json FROM standing
                             WHERE task_id = ?1 AND annotator_id = ?2 AND status = 'draft'),
                            (SELECT payload_json FROM standing
                             WHERE task_id = ?1 AND annotator_id = ?2 AND status = 'undone')
                     FROM lease WHERE task_id = ?1 AND annotator_id = ?2";
        let mut statement = self.connection.prepare_cached(query)?;
        let (shown, expires_at, draft, undone): (String, i64, Option<String>, Option<String>) =
            statement.query_row([task, annotator], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })?;
        Ok(Asked {
            task: self.task(task)?,
            shown: super::read::shown(task, &shown)?,
            draft: draft.and_then(|draft| serde_json::from_str(&draft).ok()),
            // What was passed over or flagged has none.
            answer: undone.and_then(|undone| serde_json::from_str(&undone).ok()),
            expires_at,
        })
    }
}

/// An order of so many items, each as probable as the others.
fn shuffled(n_items: usize, rng: &mut impl Rng) -> Shown {
    let mut order: Vec<usize> = (0..n_items).collect();
    for place in (1..n_items).rev() {
        order.swap(place, rng.random_range(0..=place));
    }
    Shown(order)
}
