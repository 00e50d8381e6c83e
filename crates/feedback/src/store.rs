//! The SQLite file: everything people said, and all that is needed to understand it later.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use sha2::{Digest, Sha256};

use crate::error::FeedbackError;
use crate::records::{Annotation, NewPair, Response, Split, Task};

/// Each brings the schema from the version before to its own.
const MIGRATIONS: [&str; 1] = [include_str!("schema/1.sql")];

/// An open store.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    connection: Connection,
}

impl Store {
    /// Opens the store in a file, made if there is none, and brings it to the newest schema.
    pub fn open(path: &Path) -> Result<Self, FeedbackError> {
        let refuse = |source| FeedbackError::Store { path: path.to_path_buf(), source };
        let connection = Connection::open(path).map_err(refuse)?;
        configure(&connection).map_err(refuse)?;
        let mut store = Self { path: path.to_path_buf(), connection };
        store.migrate()?;
        Ok(store)
    }

    /// Adds pairs to a project, which is made if there is none; all of them or, after a crash, none.
    pub fn add_pairs(&mut self, project: &str, pairs: &[NewPair]) -> Result<(), FeedbackError> {
        self.in_transaction(|transaction| {
            transaction.execute(
                "INSERT INTO project (name, kind, created_at) VALUES (?1, 'pair', ?2)
                 ON CONFLICT (name) DO NOTHING",
                params![project, now()],
            )?;
            let id = project_id(transaction, project)?.expect("inserted above");
            pairs.iter().try_for_each(|pair| add_pair(transaction, id, pair))
        })
    }

    /// The tasks of a project, in the order they were added.
    pub fn tasks(&self, project: &str, split: Split) -> Result<Vec<Task>, FeedbackError> {
        self.query(|connection| {
            let mut statement = connection.prepare(
                "SELECT task.id, task.external_id, task.overlap, prompt.text,
                        first.text, first.finished, second.text, second.finished
                 FROM task
                 JOIN project ON project.id = task.project_id
                 JOIN prompt ON prompt.id = task.prompt_id
                 JOIN task_item a ON a.task_id = task.id AND a.ord = 0
                 JOIN response first ON first.id = a.response_id
                 JOIN task_item b ON b.task_id = task.id AND b.ord = 1
                 JOIN response second ON second.id = b.response_id
                 WHERE project.name = ?1 AND prompt.split = ?2
                 ORDER BY task.id",
            )?;
            let rows = statement.query_map(params![project, split.as_str()], |row| {
                let response = |text, finished| {
                    Ok::<_, rusqlite::Error>(Response {
                        text: row.get(text)?,
                        finished: row.get(finished)?,
                    })
                };
                Ok(Task {
                    id: row.get(0)?,
                    external_id: row.get(1)?,
                    overlap: row.get(2)?,
                    prompt: row.get(3)?,
                    responses: [response(4, 5)?, response(6, 7)?],
                })
            })?;
            rows.collect()
        })
    }

    /// Makes an annotator known.
    pub fn add_annotator(&mut self, name: &str, role: &str) -> Result<(), FeedbackError> {
        self.in_transaction(|transaction| {
            transaction.execute(
                "INSERT INTO annotator (external_id, role, created_at) VALUES (?1, ?2, ?3)
                 ON CONFLICT (external_id) DO NOTHING",
                params![name, role, now()],
            )?;
            Ok(())
        })
    }

    /// Stores answers; all of them or, after a crash, none. An answer whose key is known is passed
    /// over. When this returns, they are on the disk.
    pub fn annotate(&mut self, annotations: &[Annotation]) -> Result<(), FeedbackError> {
        self.in_transaction(|transaction| {
            let mut statement = transaction.prepare(
                "INSERT INTO annotation
                 (task_id, annotator_id, idem_key, payload_json, shown_json, submitted_at)
                 VALUES (?1, (SELECT id FROM annotator WHERE external_id = ?2), ?3, ?4, ?5, ?6)
                 ON CONFLICT (idem_key) DO NOTHING",
            )?;
            for annotation in annotations {
                let payload = serde_json::to_string(&annotation.judgement).expect("plain JSON");
                let first = annotation.shown_first;
                let shown = serde_json::to_string(&[first.index(), first.other().index()]);
                statement.execute(params![
                    annotation.task,
                    annotation.annotator,
                    annotation.idem_key,
                    payload,
                    shown.expect("plain JSON"),
                    now()
                ])?;
            }
            Ok(())
        })
    }

    /// All answers of a project as `(annotation, task, annotator, payload)`, in the order they came.
    pub(crate) fn payloads(
        &self,
        project: &str,
    ) -> Result<Vec<(i64, i64, String, String)>, FeedbackError> {
        self.query(|connection| {
            let mut statement = connection.prepare(
                "SELECT annotation.id, annotation.task_id, annotator.external_id, payload_json
                 FROM annotation
                 JOIN annotator ON annotator.id = annotation.annotator_id
                 JOIN task ON task.id = annotation.task_id
                 JOIN project ON project.id = task.project_id
                 WHERE project.name = ?1
                 ORDER BY annotation.id",
            )?;
            let rows = statement.query_map(params![project], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })?;
            rows.collect()
        })
    }

    fn migrate(&mut self) -> Result<(), FeedbackError> {
        let found: i64 = self.query(|connection| {
            connection
                .query_row("SELECT user_version FROM pragma_user_version", [], |row| row.get(0))
        })?;
        let known = MIGRATIONS.len() as i64;
        if found > known {
            return Err(FeedbackError::TooNew { path: self.path.clone(), found, known });
        }
        for (version, migration) in (1..).zip(MIGRATIONS).skip(found as usize) {
            self.in_transaction(|transaction| {
                transaction.execute_batch(migration)?;
                transaction.pragma_update(None, "user_version", version)
            })?;
        }
        Ok(())
    }

    fn query<T>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, FeedbackError> {
        query(&self.connection)
            .map_err(|source| FeedbackError::Store { path: self.path.clone(), source })
    }

    fn in_transaction<T>(
        &mut self,
        change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, FeedbackError> {
        let changed = self.connection.transaction().and_then(|transaction| {
            let result = change(&transaction)?;
            transaction.commit()?;
            Ok(result)
        });
        changed.map_err(|source| FeedbackError::Store { path: self.path.clone(), source })
    }
}

/// A write-ahead log synced at each commit: what was acknowledged survives a loss of power.
fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)
}

fn project_id(transaction: &Transaction<'_>, name: &str) -> rusqlite::Result<Option<i64>> {
    let query = "SELECT id FROM project WHERE name = ?1";
    transaction.query_row(query, params![name], |row| row.get(0)).optional()
}

fn add_pair(transaction: &Transaction<'_>, project: i64, pair: &NewPair) -> rusqlite::Result<()> {
    let known = "SELECT 1 FROM task WHERE project_id = ?1 AND external_id = ?2";
    let known = transaction.prepare_cached(known)?.exists(params![project, pair.external_id])?;
    if known {
        return Ok(());
    }
    let hash = sha256(&pair.prompt);
    transaction
        .prepare_cached(
            "INSERT INTO prompt (project_id, text, sha256, split) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (project_id, sha256) DO NOTHING",
        )?
        .execute(params![project, pair.prompt, hash, pair.split.as_str()])?;
    let prompt: i64 = transaction
        .prepare_cached("SELECT id FROM prompt WHERE project_id = ?1 AND sha256 = ?2")?
        .query_row(params![project, hash], |row| row.get(0))?;
    transaction
        .prepare_cached(
            "INSERT INTO task (project_id, prompt_id, external_id, overlap, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![project, prompt, pair.external_id, pair.overlap, now()])?;
    let task = transaction.last_insert_rowid();
    for (ord, response) in pair.responses.iter().enumerate() {
        let hash = sha256(&response.text);
        transaction
            .prepare_cached(
                "INSERT INTO response (prompt_id, text, sha256, finished, source)
                 VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (prompt_id, sha256, finished) DO NOTHING",
            )?
            .execute(params![prompt, response.text, hash, response.finished, pair.source])?;
        transaction
            .prepare_cached(
                "INSERT INTO task_item (task_id, response_id, ord) SELECT ?1, id, ?2 FROM response
                 WHERE prompt_id = ?3 AND sha256 = ?4 AND finished = ?5",
            )?
            .execute(params![task, ord as i64, prompt, hash, response.finished])?;
    }
    Ok(())
}

fn sha256(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn now() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{Choice, Judgement};

    fn pair(name: &str) -> NewPair {
        let response = |text: &str| Response { text: format!("{text} {name}"), finished: true };
        NewPair {
            external_id: name.into(),
            prompt: "p".into(),
            split: Split::Train,
            responses: [response("a"), response("b")],
            source: "model".into(),
            overlap: 1,
        }
    }

    fn annotation(task: i64, key: &str) -> Annotation {
        Annotation {
            task,
            annotator: "somebody".into(),
            judgement: Judgement::Preferred { choice: Choice::Second },
            shown_first: Choice::Second,
            idem_key: key.into(),
        }
    }

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Store::open(&folder.path().join("f.sqlite")).expect("opens");
        (folder, store)
    }

    #[test]
    fn adding_and_saying_things_twice_counts_once() {
        let (folder, mut store) = store();
        for _ in 0..2 {
            store.add_pairs("p", &[pair("1"), pair("2")]).expect("adds");
            store.add_annotator("somebody", "person").expect("adds");
        }
        let tasks = store.tasks("p", Split::Train).expect("reads");
        assert_eq!(tasks.len(), 2);
        assert_eq!(tasks[1].responses, pair("2").responses);
        assert!(store.tasks("p", Split::Heldout).expect("reads").is_empty());
        for _ in 0..2 {
            store.annotate(&[annotation(tasks[0].id, "k")]).expect("stores");
        }
        drop(store);
        let store = Store::open(&folder.path().join("f.sqlite")).expect("opens again");
        assert_eq!(store.payloads("p").expect("reads").len(), 1);
    }

    #[test]
    fn an_answer_to_no_task_or_by_nobody_is_refused_and_takes_its_batch_along() {
        let (_folder, mut store) = store();
        store.add_pairs("p", &[pair("1")]).expect("adds");
        let task = store.tasks("p", Split::Train).expect("reads")[0].id;
        assert!(store.annotate(&[annotation(task, "k")]).is_err(), "nobody is known yet");
        store.add_annotator("somebody", "person").expect("adds");
        assert!(store.annotate(&[annotation(task, "k"), annotation(99, "l")]).is_err());
        assert!(store.payloads("p").expect("reads").is_empty());
    }

    #[test]
    fn a_store_of_a_newer_program_is_left_alone() {
        let (folder, store) = store();
        store.connection.pragma_update(None, "user_version", 7).expect("updates");
        drop(store);
        let error =
            Store::open(&folder.path().join("f.sqlite")).expect_err("is refused").to_string();
        assert!(error.ends_with("its schema is version 7; this program knows versions up to 1"));
    }
}
