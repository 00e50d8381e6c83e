//! Tasks: prompts with responses to judge.

use rein_data::example::Content;
use rusqlite::{OptionalExtension, Row, params};
use serde_json::Value;

use super::projects::Project;
use super::read::json;
use super::{Change, Store, sha256};
use crate::error::{FeedbackError, Refusal};
use crate::records::{NewTask, Response, Settings, Split, Task};

/// The longest prompt or response, in bytes.
const MAX_TEXT: usize = 4 << 20;
/// The most messages of a conversation.
const MAX_TURNS: usize = 1000;

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

    /// Says what an answer to each of these tasks would tell. Of tasks of one priority, those that tell most are asked first.
    pub fn set_information(&self, information: &[(i64, f64)]) -> Result<(), FeedbackError> {
        let mut statement =
            self.connection.prepare_cached("UPDATE task SET information = ?1 WHERE id = ?2")?;
        for (task, value) in information {
            if !value.is_finite() {
                let reason = format!("an answer to it tells {value}");
                return Err(Refusal::BadTask(task.to_string(), reason).into());
            }
            statement.execute(params![value, task])?;
        }
        Ok(())
    }

    /// The task in this row.
    pub(crate) fn task(&self, id: i64) -> Result<Task, FeedbackError> {
        let query = "SELECT task.id, external_id, overlap, gold_json, prompt.text, messages_json
                     FROM task JOIN prompt ON prompt.id = task.prompt_id WHERE task.id = ?1";
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
    pub fn task_id(&self, project: &str, name: &str) -> Result<i64, FeedbackError> {
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
        let messages = match &task.prompt {
            Content::Text(_) => None,
            Content::Messages(messages) => {
                Some(serde_json::to_string(messages).expect("plain JSON"))
            }
        };
        let text = task.prompt.transcript();
        let hash = sha256(messages.as_ref().unwrap_or(&text));
        self.connection
            .prepare_cached(
                "INSERT INTO prompt (project_id, text, messages_json, sha256, split)
                 VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (project_id, sha256) DO NOTHING",
            )?
            .execute(params![project.id, text, messages, hash, task.split.as_str()])?;
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
                "SELECT task.id, external_id, overlap, gold_json, prompt.text, messages_json,
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
                    text: row.get(6)?,
                    finished: row.get(7)?,
                    source: row.get(8)?,
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
    let prompt = task.prompt.transcript();
    let texts = task.responses.iter().map(|it| &it.text).chain([&prompt]);
    if texts.into_iter().any(|text| text.len() > MAX_TEXT) {
        return Some(format!("a prompt or response has more than {MAX_TEXT} bytes"));
    }
    if let Content::Messages(messages) = &task.prompt
        && let Some(reason) = unreadable(messages)
    {
        return Some(reason.into());
    }
    if task.external_id.len() > 1024 || !task.priority.is_finite() || task.overlap == 0 {
        return Some(
            "it needs a name of at most 1024 bytes, a finite priority and an overlap".into(),
        );
    }
    task.gold.as_ref().and_then(|gold| gold.refusal(kind, n_items))
}

/// Why people can't read this conversation, if they can't.
fn unreadable(messages: &[Value]) -> Option<&'static str> {
    let is_readable = |it: &Value| {
        let parts = it.as_object().filter(|it| it.len() == 2);
        parts.is_some_and(|it| it.get("role").is_some_and(Value::is_string))
            && it["content"].is_string()
    };
    match messages {
        [] => Some("a conversation without messages asks nothing"),
        all if all.len() > MAX_TURNS => Some("nobody reads a conversation of over 1000 messages"),
        all if !all.iter().all(is_readable) => Some(
            "people are shown messages that have a `role` and a `content`, both texts, and nothing else",
        ),
        _ => None,
    }
}

type Columns = (i64, String, u32, Option<String>, String, Option<String>);

fn task_columns(row: &Row<'_>) -> rusqlite::Result<Columns> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
}

/// A task whose responses are still to come.
fn task(columns: Columns) -> Result<Task, FeedbackError> {
    let (id, external_id, overlap, gold, text, messages) = columns;
    let gold = gold.map(|gold| json("task", id, &gold)).transpose()?;
    let prompt = prompt(id, text, messages)?;
    Ok(Task { id, external_id, prompt, responses: Vec::new(), overlap, gold })
}

/// A task's prompt: a text, or the conversation of which that is a transcript.
pub(super) fn prompt(
    task: i64,
    text: String,
    messages: Option<String>,
) -> Result<Content, FeedbackError> {
    match messages {
        None => Ok(Content::Text(text)),
        Some(messages) => json("task", task, &messages).map(Content::Messages),
    }
}

fn response(row: &Row<'_>) -> rusqlite::Result<Response> {
    Ok(Response { text: row.get(0)?, finished: row.get(1)?, source: row.get(2)? })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn task(name: &str, prompt: Content, priority: f64) -> NewTask {
        let response =
            |text: &str| Response { text: text.into(), finished: true, source: String::new() };
        NewTask {
            external_id: name.into(),
            prompt,
            split: Split::Train,
            responses: vec![response("a"), response("b")],
            overlap: 1,
            priority,
            gold: None,
        }
    }

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("s.sqlite")).expect("opens");
        (folder, store)
    }

    fn conversation(messages: Value) -> Content {
        serde_json::from_value(messages).expect("messages")
    }

    #[test]
    fn a_conversation_is_another_prompt_than_its_transcript() {
        let (_folder, mut store) = store();
        let talk = conversation(json!([
            { "role": "user", "content": "Hello\n" },
            { "role": "assistant", "content": "Hello." },
            { "role": "user", "content": "你好" },
        ]));
        let text = Content::Text(talk.transcript());
        assert!(talk.transcript().ends_with("assistant: Hello.\n\nuser: 你好"));
        let tasks = [task("talk", talk.clone(), 0.0), task("text", text.clone(), 0.0)];
        store.add_tasks("p", &tasks).expect("adds");
        let read = store.tasks("p", Split::Train).expect("reads");
        assert_eq!(read.iter().map(|it| &it.prompt).collect::<Vec<_>>(), [&talk, &text]);
        let same = store.change(|change| change.task(read[0].id)).expect("reads");
        assert_eq!(same, read[0]);
    }

    #[test]
    fn what_people_could_not_read_is_refused() {
        let (_folder, mut store) = store();
        for messages in [
            json!([]),
            json!([{ "role": "user" }]),
            json!([{ "role": "user", "content": [{ "type": "text", "text": "x" }] }]),
            json!([{ "role": "user", "content": "x", "tool_calls": [] }]),
            json!(["x"]),
            json!(vec![json!({ "role": "user", "content": "x" }); MAX_TURNS + 1]),
        ] {
            let error = store.add_tasks("p", &[task("t", conversation(messages.clone()), 0.0)]);
            let error = error.expect_err("is refused").to_string();
            assert!(error.contains("conversation") || error.contains("messages"), "{error}");
        }
    }

    #[test]
    fn what_programs_want_first_comes_before_what_tells_most() {
        let (_folder, mut store) = store();
        let tasks = [("dull", 0.0), ("telling", 0.0), ("wanted", 1.0)];
        let tasks = tasks.map(|(name, priority)| task(name, name.into(), priority));
        let settings = Settings { random_share: 0.0, ..Settings::default() };
        let asked = store.change(|change| {
            change.set_project("p", &settings)?;
            change.add_tasks("p", &tasks)?;
            let told = [("dull", 0.1), ("telling", 0.5), ("wanted", 0.0)];
            let told = told.map(|(name, value)| Ok((change.task_id("p", name)?, value)));
            let told: Vec<(i64, f64)> = told.into_iter().collect::<Result<_, FeedbackError>>()?;
            change.set_information(&told)?;
            ["ann", "ben", "cy"]
                .map(|name| {
                    change.add_annotator(name, crate::store::Role::Person)?;
                    Ok(change.next("p", name)?.map(|it| it.task.external_id))
                })
                .into_iter()
                .collect::<Result<Vec<_>, FeedbackError>>()
        });
        let asked = asked.expect("asks");
        let asked: Vec<&str> = asked.iter().flatten().map(String::as_str).collect();
        assert_eq!(asked, ["wanted", "telling", "dull"]);
    }
}
