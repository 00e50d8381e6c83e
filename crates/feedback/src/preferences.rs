//! Answers become rows to train on.

use std::collections::HashMap;

use rein_data::example::Preference;

use crate::error::FeedbackError;
use crate::records::{Judgement, Split, Task};
use crate::store::Store;

/// A task and what one annotator said of it.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The task.
    pub task: Task,
    /// Who said it.
    pub annotator: String,
    /// What was said.
    pub judgement: Judgement,
}

impl Answered {
    /// The answer as a row for a reward model.
    pub fn preference(&self) -> Preference {
        let Judgement::Preferred { choice } = self.judgement;
        let [chosen, rejected] =
            [choice, choice.other()].map(|choice| &self.task.responses[choice.index()]);
        Preference {
            prompt: self.task.prompt.clone(),
            chosen: chosen.text.clone(),
            rejected: rejected.text.clone(),
            margin: None,
            chosen_finished: chosen.finished,
            rejected_finished: rejected.finished,
        }
    }
}

/// All answers to a project's tasks of one split, in the order of the tasks.
pub fn preferences(
    store: &Store,
    project: &str,
    split: Split,
) -> Result<Vec<Answered>, FeedbackError> {
    let mut answers: HashMap<i64, Vec<(String, Judgement)>> = HashMap::new();
    for (id, task, annotator, payload) in store.payloads(project)? {
        let judgement = serde_json::from_str(&payload)
            .map_err(|error| FeedbackError::BadAnnotation { id, reason: error.to_string() })?;
        answers.entry(task).or_default().push((annotator, judgement));
    }
    let tasks = store.tasks(project, split)?;
    Ok(tasks
        .into_iter()
        .flat_map(|task| {
            let answers = answers.remove(&task.id).unwrap_or_default();
            answers.into_iter().map(move |(annotator, judgement)| Answered {
                task: task.clone(),
                annotator,
                judgement,
            })
        })
        .collect())
}
