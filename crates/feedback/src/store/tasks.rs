//! Tasks: prompts with responses to judge.

use rusqlite::{OptionalExtension, Row, params};

use super::projects::Project;
use super::{Change, Store, sha256};
use crate::error::{FeedbackError, Refusal};
use crate::records::{Judgement, NewTask, Response, Settings, Split, Task};

/// The longest prompt or response, in bytes.
const MAX_TEXT: usize = 4 << 20;

impl Change<'_> {
    /// Adds tasks to a project, which is made to compare pairs if there is none. Tells how many are new.
    pub fn add_tasks(&self, project: &str, tasks: &[NewTask]) -> Result<usize, FeedbackError> {
        let project = match self.find_project(project)? {
            Some(project) => project,
            None => self.set_project(project, &Settings::default())?,
        };
        let mut n_new = 0;
        for task in tasks {
            if let Some(reason) = refusal(task, &project) {
                return Err(Refusal::BadTask(task.external_id.clone(), reason).into());
            }
            n_new += usize::from(self.add_task(&project, task)?);
        }
        Ok(n_new)
    }

    /// Says which tasks shall be asked first: the ones of the highest priority.
    pub fn set_priorities(&self, priorities: &[(i64, f64)]) -> Result<(), FeedbackError> {
        let mut statement =
            self.connection.prepare_cached("UPDATE task SET priority = ?1 WHERE id = ?2")?;
        for (task, priority) in priorities {
            if !priority.is_finite() {
                let reason = format!("its priority is {priority}");
                return Err(Refusal::BadTask(task.to_string(), reason).into());
            }
            statement.execute(params![priority, task])?;
        }
        Ok(())
    }

    /// The task in this row.
    pub(crate) fn task(&self, id: i64) -> Result<Task, FeedbackError> {
        let query = "SELECT id, external_id, overlap, gold_json,
                            (SELECT text FROM prompt WHERE prompt.id = task.prompt_id)
                     FROM task WHERE id = ?1";
        let mut statement = self.connection.prepare_cached(query)?;
        let found = statement.query_row([id], task_columns).optional()?;
        let mut task = task(found.ok_or(Refusal::NoTask(id))?)?;
        let query = "SELECT text, finished, source FROM response
                     JOIN task_item ON response_id = response.id
                     WHERE task_id = ?1 ORDER BY ord";
        let mut statement = self.connection.prepare_cached(query)?;
        task.responses = statement.query_map([id], response)?.collect::<rusqlite::Result<_>>()?;
        Ok(task)
    }

    /// The row of the task that a project knows by this name.
    pub(crate) fn task_id(&self, project: &str, name: &str) -> Result<i64, FeedbackError> {
        self.task_named(&self.project(project)?, name)
    }

    pub(super) fn task_named(&self, project: &Project, name: &str) -> Result<i64, FeedbackError> {
        let query = "SELECT id FROM task WHERE project_id = ?1 AND external_id = ?2";
        let mut statement = self.connection.prepare_cached(query)?;
        let found = statement.query_row(params![project.id, name], |row| row.get(0)).optional()?;
        let missing = || Refusal::BadTask(name.into(), "it isn't in the project".into());
        Ok(found.ok_or_else(missing)?)
    }

    fn add_task(&self, project: &Project, task: &NewTask) -> Result<bool, FeedbackError> {
        let known = "SELECT 1 FROM task WHERE project_id = ?1 AND external_id = ?2";
        if self.connection.prepare_cached(known)?.exists(params![project.id, task.external_id])? {
            return Ok(false);
        }
        let prompt = self.add_prompt(project, task)?;
        let gold = task.gold.as_ref().map(|it| serde_json::to_string(it).expect("plain JSON"));
        self.connection
            .prepare_cached(
                "INSERT INTO task (project_id, prompt_id, external_id, priority, overlap, gold_json, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                project.id,
                prompt,
                task.external_id,
                task.priority,
                task.overlap,
                gold,
                self.now
            ])?;
        let id = self.connection.last_insert_rowid();
        for (ord, response) in task.responses.iter().enumerate() {
            self.add_response(id, ord, prompt, response)?;
        }
        Ok(true)
    }

    fn add_prompt(&self, project: &Project, task: &NewTask) -> Result<i64, FeedbackError> {
        let hash = sha256(&task.prompt);
        self.connection
            .prepare_cached(
                "INSERT INTO prompt (project_id, text, sha256, split) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (project_id, sha256) DO NOTHING",
            )?
            .execute(params![project.id, task.prompt, hash, task.split.as_str()])?;
        Ok(self
            .connection
            .prepare_cached("SELECT id FROM prompt WHERE project_id = ?1 AND sha256 = ?2")?
            .query_row(params![project.id, hash], |row| row.get(0))?)
    }

    fn add_response(
        &self,
        task: i64,
        ord: usize,
        prompt: i64,
        response: &Response,
    ) -> Result<(), FeedbackError> {
        let hash = sha256(&response.text);
        self.connection
            .prepare_cached(
                "INSERT INTO response (prompt_id, text, sha256, finished, source)
                 VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (prompt_id, sha256, finished) DO NOTHING",
            )?
            .execute(params![prompt, response.text, hash, response.finished, response.source])?;
        self.connection
            .prepare_cached(
                "INSERT INTO task_item (task_id, response_id, ord) SELECT ?1, id, ?2 FROM response
                 WHERE prompt_id = ?3 AND sha256 = ?4 AND finished = ?5",
            )?
            .execute(params![task, ord as i64, prompt, hash, response.finished])?;
        Ok(())
    }
}

impl Store {
    /// The tasks of a project, in the order they were added.
    pub fn tasks(&self, project: &str, split: Split) -> Result<Vec<Task>, FeedbackError> {
        let split = split.as_str();
        self.tasks_where(project, &format!("task.repeats IS NULL AND prompt.split = '{split}'"))
    }

    pub(super) fn tasks_where(
        &self,
        project: &str,
        condition: &str,
    ) -> Result<Vec<Task>, FeedbackError> {
        self.query(|connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT task.id, external_id, overlap, gold_json, prompt.text,
                        response.text, finished, response.source
                 FROM task
                 JOIN project ON project.id = task.project_id
                 JOIN prompt ON prompt.id = task.prompt_id
                 JOIN task_item ON task_item.task_id = task.id
                 JOIN response ON response.id = response_id
                 WHERE project.name = ?1 AND {condition}
                 ORDER BY task.id, ord",
            ))?;
            let mut rows = statement.query([project])?;
            let mut tasks: Vec<Task> = Vec::new();
            while let Some(row) = rows.next()? {
                let id: i64 = row.get(0)?;
                if tasks.last().is_none_or(|it| it.id != id) {
                    tasks.push(task(task_columns(row)?)?);
                }
                let task = tasks.last_mut().expect("pushed above");
                task.responses.push(Response {
                    text: row.get(5)?,
                    finished: row.get(6)?,
                    source: row.get(7)?,
                });
            }
            Ok(tasks)
        })
    }
}

/// Why a project can't ask this, if it can't.
fn refusal(task: &NewTask, project: &Project) -> Option<String> {
    let kind = &project.settings.kind;
    let (least, most) = kind.n_items();
    let n_items = task.responses.len();
    if !(least..=most).contains(&n_items) {
        let kind = kind.name();
        return Some(format!(
            "a task of kind `{kind}` has {least} to {most} responses, not {n_items}"
        ));
    }
    let texts = task.responses.iter().map(|it| &it.text).chain([&task.prompt]);
    if texts.into_iter().any(|text| text.len() > MAX_TEXT) {
        return Some(format!("a prompt or response has more than {MAX_TEXT} bytes"));
    }
    if task.external_id.len() > 1024 || !task.priority.is_finite() || task.overlap == 0 {
        return Some(
            "it needs a name of at most 1024 bytes, a finite priority and an overlap".into(),
        );
    }
    task.gold.as_ref().and_then(|gold| gold.refusal(kind, n_items))
}

type Columns = (i64, String, u32, Option<String>, String);

fn task_columns(row: &Row<'_>) -> rusqlite::Result<Columns> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
}

/// A task whose responses are still to come.
fn task((id, external_id, overlap, gold, prompt): Columns) -> Result<Task, FeedbackError> {
    let gold = gold.map(|gold| serde_json::from_str::<Judgement>(&gold)).transpose();
    let gold =
        gold.map_err(|it| FeedbackError::BadRow { what: "task", id, reason: it.to_string() })?;
    Ok(Task { id, external_id, prompt, responses: Vec::new(), overlap, gold })
}

fn response(row: &Row<'_>) -> rusqlite::Result<Response> {
    Ok(Response { text: row.get(0)?, finished: row.get(1)?, source: row.get(2)? })
}
