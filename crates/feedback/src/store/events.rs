//! What happens besides answers: it is kept as it came, line by line.

use rusqlite::params;
use serde_json::Value;

use super::read::json;
use super::{Change, Store};
use crate::error::{FeedbackError, Refusal};

/// The longest event, in bytes.
const MAX_EVENT: usize = 1 << 20;

impl Change<'_> {
    /// Keeps an event of a project; one whose key is known is passed over. Tells whether it is new.
    pub fn add_event(
        &self,
        project: &str,
        annotator: Option<&str>,
        idem_key: Option<&str>,
        event: &Value,
    ) -> Result<bool, FeedbackError> {
        let project = self.project(project)?;
        let annotator = annotator.map(|name| self.active(name)).transpose()?;
        let data = event.to_string();
        if data.len() > MAX_EVENT || idem_key.is_some_and(|key| key.is_empty() || key.len() > 256) {
            let reason = format!("an event has at most {MAX_EVENT} bytes, its key 1 to 256");
            return Err(Refusal::BadAnswer(reason).into());
        }
        let n_new = self
            .connection
            .prepare_cached(
                "INSERT INTO event (project_id, annotator_id, idem_key, data_json, received_at)
                 VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (idem_key) DO NOTHING",
            )?
            .execute(params![project.id, annotator.map(|it| it.id), idem_key, data, self.now])?;
        Ok(n_new == 1)
    }
}

/// An event as it came.
#[derive(Clone, Debug, PartialEq)]
pub struct Reported {
    /// Who reported it, if it is known.
    pub annotator: Option<String>,
    /// What was reported.
    pub event: Value,
}

impl Store {
    /// The events of a project, in the order they came.
    pub fn events(&self, project: &str) -> Result<Vec<Value>, FeedbackError> {
        Ok(self.reported(project)?.into_iter().map(|it| it.event).collect())
    }

    /// The same, with who reported them.
    pub fn reported(&self, project: &str) -> Result<Vec<Reported>, FeedbackError> {
        self.query(|connection| {
            let query = "SELECT event.id, external_id, data_json FROM event
                         JOIN project ON project.id = event.project_id
                         LEFT JOIN annotator ON annotator.id = annotator_id
                         WHERE project.name = ?1 ORDER BY event.id";
            let mut statement = connection.prepare_cached(query)?;
            let rows = statement.query_map([project], |row| {
                Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get::<_, String>(2)?))
            })?;
            rows.map(|row| {
                let (id, annotator, data) = row?;
                Ok(Reported { annotator, event: json("event", id, &data)? })
            })
            .collect()
        })
    }
}
