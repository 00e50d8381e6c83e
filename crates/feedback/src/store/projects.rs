//! Projects: what is asked, and how.

use rusqlite::{OptionalExtension, Row, params};

use super::read::json;
use super::{Change, Store};
use crate::error::{FeedbackError, Refusal};
use crate::records::Settings;

/// A project as it stands in the store.
#[derive(Clone, Debug, PartialEq)]
pub struct Project {
    /// Its row.
    pub(crate) id: i64,
    /// Its name.
    pub name: String,
    /// How it asks.
    pub settings: Settings,
}

impl Change<'_> {
    /// Makes a project, or gives another one of this name these settings. Once tasks are there, its kind stays.
    pub fn set_project(&self, name: &str, settings: &Settings) -> Result<Project, FeedbackError> {
        let refuse = |reason: String| Refusal::BadProject(name.into(), reason);
        if name.is_empty() || name.len() > 128 || name.chars().any(char::is_control) {
            return Err(refuse("a name has 1 to 128 bytes on one line".into()).into());
        }
        if let Some(reason) = settings.refusal() {
            return Err(refuse(reason).into());
        }
        if let Some(known) = self.find_project(name)?
            && known.settings.kind != settings.kind
            && self.has_tasks(known.id)?
        {
            let kind = known.settings.kind.name();
            return Err(refuse(format!("it has tasks of kind `{kind}` already")).into());
        }
        self.connection.execute(
            "INSERT INTO project (name, kind, settings_json, created_at) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (name) DO UPDATE SET kind = ?2, settings_json = ?3",
            params![
                name,
                settings.kind.name(),
                serde_json::to_string(settings).expect("plain JSON"),
                self.now
            ],
        )?;
        self.project(name)
    }

    /// The project of this name.
    pub fn project(&self, name: &str) -> Result<Project, FeedbackError> {
        Ok(self.find_project(name)?.ok_or_else(|| Refusal::NoProject(name.into()))?)
    }

    pub(super) fn find_project(&self, name: &str) -> Result<Option<Project>, FeedbackError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT id, name, settings_json FROM project WHERE name = ?1")?;
        statement.query_row([name], columns).optional()?.map(project).transpose()
    }

    fn has_tasks(&self, project: i64) -> Result<bool, FeedbackError> {
        let query = "SELECT 1 FROM task WHERE project_id = ?1";
        Ok(self.connection.prepare_cached(query)?.exists([project])?)
    }
}

impl Store {
    /// All projects, in the order they were made.
    pub fn projects(&self) -> Result<Vec<Project>, FeedbackError> {
        self.query(|connection| {
            let query = "SELECT id, name, settings_json FROM project ORDER BY id";
            let mut statement = connection.prepare_cached(query)?;
            let rows = statement.query_map([], columns)?;
            rows.map(|row| project(row?)).collect()
        })
    }
}

fn columns(row: &Row<'_>) -> rusqlite::Result<(i64, String, String)> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

fn project((id, name, settings): (i64, String, String)) -> Result<Project, FeedbackError> {
    Ok(Project { id, name, settings: json("project", id, &settings)? })
}
