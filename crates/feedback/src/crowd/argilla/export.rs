use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::settings;
use crate::crowd::sent::{CHECK, ORDER, TASK, columns, seed};
use crate::records::{Settings, Task};

/// Tasks with equally many responses: a data set of Argilla.
#[derive(Clone, Debug, PartialEq)]
pub struct Export {
    /// Responses that each record shows.
    pub n_responses: usize,
    /// `settings.json`
    pub settings: Value,
    /// `records.json`, a list.
    pub records: Value,
    /// How many there are.
    pub n_records: usize,
}

/// The tasks as data sets, one for each number of responses, the smallest first. As many people as the first task wants
/// answer each.
///
/// Everybody sees a task's responses in the same order, which is drawn from the project's seed and the task's name.
pub fn export(settings: &Settings, tasks: &[Task]) -> Vec<Export> {
    let mut by_size: BTreeMap<usize, Vec<&Task>> = BTreeMap::new();
    for task in tasks {
        by_size.entry(task.responses.len()).or_default().push(task);
    }
    let seed = seed(settings, "argilla");
    let data_set = |(n_responses, tasks): (usize, Vec<&Task>)| {
        let overlap = tasks.first().map_or(1, |it| it.overlap);
        let records = tasks.iter().map(|task| record(columns(task, seed)));
        Export {
            n_responses,
            settings: settings::of(settings, n_responses, overlap),
            n_records: tasks.len(),
            records: records.collect(),
        }
    };
    by_size.into_iter().map(data_set).collect()
}

fn record(columns: Vec<(String, String)>) -> Value {
    let (mut fields, mut metadata) = (Map::new(), Map::new());
    let mut id = Value::Null;
    for (name, text) in columns {
        match name.as_str() {
            TASK => {
                id = text.as_str().into();
                metadata.insert(name, text.into());
            }
            CHECK | ORDER => drop(metadata.insert(name, text.into())),
            _ => drop(fields.insert(name, text.into())),
        }
    }
    json!({
        "id": id, "fields": fields, "metadata": metadata,
        "suggestions": {}, "responses": {}, "vectors": {}, "status": "pending",
    })
}
