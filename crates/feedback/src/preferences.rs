//! Answers become rows to train on.

use std::cmp::Ordering;
use std::collections::HashMap;

use rein_data::example::Preference;

use crate::error::FeedbackError;
use crate::records::{Choice, Judgement, Split, Task};
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

/// One row for each task: the response that most of its annotators preferred. A task on which they
/// split evenly says nothing and gives no row.
///
/// `answers` come task by task, as [`preferences`] gives them.
pub fn majority(answers: &[Answered]) -> Vec<Preference> {
    answers.chunk_by(|a, b| a.task.id == b.task.id).filter_map(majority_of_task).collect()
}

fn majority_of_task(answers: &[Answered]) -> Option<Preference> {
    let prefers = |side: Choice| {
        answers.iter().filter(move |it| it.judgement == Judgement::Preferred { choice: side })
    };
    let [first, second] = [Choice::First, Choice::Second];
    let winner = match prefers(first).count().cmp(&prefers(second).count()) {
        Ordering::Greater => first,
        Ordering::Less => second,
        Ordering::Equal => return None,
    };
    prefers(winner).next().map(Answered::preference)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::Response;

    fn answer(task: i64, choice: Choice) -> Answered {
        let response = |text: &str| Response { text: text.into(), finished: true };
        let task = Task {
            id: task,
            external_id: task.to_string(),
            prompt: "p".into(),
            responses: [response("first"), response("second")],
            overlap: 3,
        };
        Answered { task, annotator: "a".into(), judgement: Judgement::Preferred { choice } }
    }

    #[test]
    fn the_majority_of_each_task_counts_once() {
        use Choice::{First, Second};
        let answers = [(1, First), (1, Second), (1, Second), (2, First), (3, First), (3, Second)];
        let rows = majority(&answers.map(|(task, choice)| answer(task, choice)));
        let chosen: Vec<&str> = rows.iter().map(|row| row.chosen.as_str()).collect();
        assert_eq!(chosen, ["second", "first"]);
    }
}
