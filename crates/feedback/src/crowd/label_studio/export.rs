use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::config;
use crate::crowd::sent::{columns, seed};
use crate::records::{Settings, Task};

/// Tasks with equally many responses: a project of Label Studio.
#[derive(Clone, Debug, PartialEq)]
pub struct Export {
    /// Responses that each task shows.
    pub n_responses: usize,
    /// The labelling interface (XML), for the project's settings.
    pub config: String,
    /// The tasks, a list, to be imported there.
    pub tasks: Value,
    /// How many there are.
    pub n_tasks: usize,
}

/// The tasks as projects, one for each number of responses, the smallest first.
///
/// Everybody sees a task's responses in the same order, which is drawn from the project's seed and the task's name.
pub fn export(settings: &Settings, tasks: &[Task]) -> Vec<Export> {
    let mut by_size: BTreeMap<usize, Vec<Value>> = BTreeMap::new();
    let seed = seed(settings, "label studio");
    for task in tasks {
        let data = columns(task, seed).into_iter().map(|(name, text)| (name, text.into()));
        let data: Map<String, Value> = data.collect();
        by_size.entry(task.responses.len()).or_default().push(json!({ "data": data }));
    }
    let project = |(n_responses, tasks): (usize, Vec<Value>)| Export {
        n_responses,
        config: config::interface(settings, n_responses),
        n_tasks: tasks.len(),
        tasks: tasks.into(),
    };
    by_size.into_iter().map(project).collect()
}
