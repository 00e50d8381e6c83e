//! What the store says about a project.

use std::collections::BTreeMap;

use rusqlite::{Row, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Store;
use super::annotators::Role;
use crate::error::FeedbackError;
use crate::records::{Answer, Shown};

/// An answer as it stands in the store.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Its row.
    pub id: i64,
    /// The task's row.
    pub task: i64,
    /// Who gave it.
    pub annotator: String,
    /// What they are.
    pub role: Role,
    /// What was said, in terms of the task's own order.
    pub answer: Answer,
    /// The order in which the items were shown.
    pub shown: Shown,
    /// For how long the page was in sight and somebody was at it, in milliseconds.
    pub active_ms: Option<i64>,
    /// When it came, in milliseconds since 1970.
    pub submitted_at: i64,
    /// Whether some rule dropped it, or suspended who gave it.
    pub is_ruled_out: bool,
}

/// How far a project is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// Tasks, golden ones not counted.
    pub n_tasks: u64,
    /// Of which nobody is asked any more.
    pub n_done: u64,
    /// Answers that stand.
    pub n_answers: u64,
    /// Of which each annotator gave so many.
    pub by_annotator: BTreeMap<String, u64>,
    /// Tasks that were passed over, by those who did.
    pub n_skipped: u64,
    /// Tasks with which something is wrong, by those who said so.
    pub n_flagged: u64,
}

const GIVEN_UP: &str = "
    WITH said AS (
        SELECT task_id, annotator_id FROM standing
        WHERE status IN ('submitted', 'skipped', 'flagged')),
    people AS (
        SELECT DISTINCT annotator_id FROM annotation
        JOIN task ON task.id = task_id
        JOIN annotator ON annotator.id = annotator_id
        WHERE state = 'active' AND role <> 'simulated' AND project_id = (SELECT id FROM project WHERE name = ?1))
    SELECT count(*) FROM task
    WHERE project_id = (SELECT id FROM project WHERE name = ?1)
      AND is_open = 1 AND gold_json IS NULL AND repeats IS NULL
      AND (SELECT count(*) FROM said WHERE task_id = task.id) >= overlap
      AND NOT EXISTS (SELECT 1 FROM people
                      WHERE annotator_id NOT IN (
                          SELECT annotator_id FROM said WHERE task_id = task.id))";

impl Store {
    /// All answers to a project that stand, in the order they came, with those that a rule threw out.
    pub fn all_answers(&self, project: &str) -> Result<Vec<Stored>, FeedbackError> {
        self.query(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT a.id, a.task_id, annotator.external_id, annotator.role, payload_json,
                        shown_json, active_ms, submitted_at,
                        EXISTS (SELECT 1 FROM ruling_in_force AS r
                                WHERE r.annotation_id = a.id AND verdict = 'drop')
                        OR EXISTS (SELECT 1 FROM ruling_in_force AS r
                                   WHERE r.annotation_id IS NULL AND r.annotator_id = a.annotator_id
                                     AND verdict = 'suspend')
                 FROM standing AS a
                 JOIN annotator ON annotator.id = a.annotator_id
                 JOIN task ON task.id = a.task_id
                 JOIN project ON project.id = task.project_id
                 WHERE project.name = ?1 AND status = 'submitted'
                 ORDER BY a.id",
            )?;
            let mut rows = statement.query([project])?;
            let mut answers = Vec::new();
            while let Some(row) = rows.next()? {
                answers.push(stored(row)?);
            }
            Ok(answers)
        })
    }

    /// The answers to a project that count.
    pub fn answers(&self, project: &str) -> Result<Vec<Stored>, FeedbackError> {
        let mut answers = self.all_answers(project)?;
        answers.retain(|answer| !answer.is_ruled_out);
        Ok(answers)
    }

    /// Tasks that are open and will stay so: every person who answers in this project has answered them or passed them over, and
    /// those are as many as were asked for.
    pub fn n_given_up(&self, project: &str) -> Result<u64, FeedbackError> {
        self.query(|connection| {
            let mut statement = connection.prepare_cached(GIVEN_UP)?;
            Ok(statement.query_row([project], |row| row.get::<_, i64>(0))? as u64)
        })
    }

    /// How far a project is.
    pub fn progress(&self, project: &str) -> Result<Progress, FeedbackError> {
        self.query(|connection| {
            let count = |what: &str| -> rusqlite::Result<u64> {
                let query = format!(
                    "SELECT count(*) FROM {what}
                     AND project_id = (SELECT id FROM project WHERE name = ?1)"
                );
                let count: i64 =
                    connection.prepare_cached(&query)?.query_row([project], |row| row.get(0))?;
                Ok(count as u64)
            };
            let said = |status: &str| {
                count(&format!("standing JOIN task ON task.id = task_id WHERE status = '{status}'"))
            };
            let mut statement = connection.prepare_cached(
                "SELECT annotator.external_id, count(*) FROM standing
                 JOIN task ON task.id = task_id
                 JOIN annotator ON annotator.id = annotator_id
                 WHERE status = 'submitted'
                   AND project_id = (SELECT id FROM project WHERE name = ?1)
                 GROUP BY annotator.external_id",
            )?;
            let by_annotator = statement
                .query_map(params![project], |row| Ok((row.get(0)?, row.get::<_, i64>(1)? as u64)))?
                .collect::<rusqlite::Result<BTreeMap<String, u64>>>()?;
            Ok(Progress {
                n_tasks: count("task WHERE gold_json IS NULL AND repeats IS NULL")?,
                n_done: count("task WHERE gold_json IS NULL AND repeats IS NULL AND is_open = 0")?,
                n_answers: by_annotator.values().sum(),
                by_annotator,
                n_skipped: said("skipped")?,
                n_flagged: said("flagged")?,
            })
        })
    }
}

fn stored(row: &Row<'_>) -> Result<Stored, FeedbackError> {
    let id: i64 = row.get(0)?;
    let bad = |reason: String| FeedbackError::BadRow { what: "annotation", id, reason };
    let (role, payload, order): (String, String, String) = (row.get(3)?, row.get(4)?, row.get(5)?);
    Ok(Stored {
        id,
        task: row.get(1)?,
        annotator: row.get(2)?,
        role: Role::parse(&role).ok_or_else(|| bad(format!("role `{role}`")))?,
        answer: json("annotation", id, &payload)?,
        shown: shown(id, &order)?,
        active_ms: row.get(6)?,
        submitted_at: row.get(7)?,
        is_ruled_out: row.get(8)?,
    })
}

/// The order in which items were shown, as it stands in a row.
pub(super) fn shown(id: i64, text: &str) -> Result<Shown, FeedbackError> {
    json("annotation", id, text)
}

/// What JSON in a row says.
pub(super) fn json<T: DeserializeOwned>(
    what: &'static str,
    id: i64,
    text: &str,
) -> Result<T, FeedbackError> {
    serde_json::from_str(text).map_err(|error| {
        let reason = error.to_string();
        FeedbackError::BadRow { what, id, reason }
    })
}

#[cfg(test)]
mod tests {
    use crate::records::{Choice, Judgement, NewTask, Response, Settings, Split};
    use crate::store::{Role, Said, Store, Submission};

    #[test]
    fn what_all_who_answer_passed_over_is_given_up() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store = Store::open(&folder.path().join("s.sqlite")).expect("opens");
        let response =
            |text: &str| Response { text: text.into(), finished: true, source: String::new() };
        let task = |name: &str, overlap| NewTask {
            external_id: name.into(),
            prompt: name.into(),
            split: Split::Train,
            responses: vec![response("a"), response("b")],
            overlap,
            priority: 0.0,
            gold: None,
        };
        let settings = Settings { random_share: 0.0, ..Settings::default() };
        store.change(|it| it.set_project("p", &settings).map(drop)).expect("makes");
        store.add_tasks("p", &[task("one", 1), task("two", 2), task("three", 1)]).expect("adds");
        for name in ["ann", "ben"] {
            store.add_annotator(name, Role::Person).expect("makes known");
        }
        let ids: Vec<i64> =
            store.tasks("p", Split::Train).expect("reads").iter().map(|it| it.id).collect();
        let mut say = |who: &str, task: usize, said: Said| {
            let asked = store.change(|it| it.next("p", who)).expect("asks").expect("a task").task;
            assert_eq!(asked.id, ids[task]);
            let idem_key = format!("{who} {task}");
            let sent =
                Submission { task: asked.id, said, idem_key, opened_at: None, active_ms: None };
            store.change(|it| it.submit(who, &sent)).expect("stores");
            store.n_given_up("p").expect("counts")
        };
        let answer = || Said::Answer(Judgement::preferred(Choice::First).into());
        assert_eq!(say("ann", 0, Said::Skip), 1, "nobody else has come");
        assert_eq!(say("ann", 1, answer()), 1, "somebody else shall answer the second, too");
        assert_eq!(say("ben", 0, answer()), 0, "ben answered it");
        assert_eq!(say("ben", 1, Said::Flag { reason: "odd".into() }), 1);
        assert_eq!(say("ann", 2, Said::Skip), 1, "ben may answer the third");
        assert_eq!(say("ben", 2, Said::Skip), 2);
    }
}
