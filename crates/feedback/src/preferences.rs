//! Answers become rows to train on.

use std::cmp::Ordering;
use std::collections::HashMap;

use rein_data::example::{Content, Preference};

use crate::error::FeedbackError;
use crate::records::{Choice, Judgement, Split, Task};
use crate::store::{Store, Stored};

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
    /// Which of a pair was preferred, if one was.
    pub fn choice(&self) -> Option<Choice> {
        match self.judgement {
            Judgement::Preferred { choice, .. } => Some(choice),
            _ => None,
        }
    }

    /// The answer as a row for a reward model of texts; `None` if it doesn't prefer one of a pair, or the pair goes on a
    /// conversation, see [`judged`](crate::judged).
    pub fn preference(&self) -> Option<Preference> {
        let choice = self.choice()?;
        let Content::Text(prompt) = &self.task.prompt else { return None };
        let [chosen, rejected] =
            [choice, choice.other()].map(|choice| &self.task.responses[choice.index()]);
        Some(Preference {
            prompt: prompt.clone(),
            chosen: chosen.text.clone(),
            rejected: rejected.text.clone(),
            margin: None,
            chosen_finished: chosen.finished,
            rejected_finished: rejected.finished,
        })
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
    let prefers = |side: Choice| answers.iter().filter(move |it| it.choice() == Some(side));
    let [first, second] = [Choice::First, Choice::Second];
    let winner = match prefers(first).count().cmp(&prefers(second).count()) {
        Ordering::Greater => first,
        Ordering::Less => second,
        Ordering::Equal => return None,
    };
    prefers(winner).next().and_then(Answered::preference)
}

/// How often two people who were asked the same say the same, however strongly; `None` if no two were.
pub(crate) fn raw_agreement(answers: &[Stored]) -> Option<f64> {
    let mut by_task: HashMap<i64, Vec<&Judgement>> = HashMap::new();
    for stored in answers {
        by_task.entry(stored.task).or_default().push(&stored.answer.judgement);
    }
    let pairs = by_task.values().flat_map(|said| {
        let first = said.iter().enumerate();
        first.flat_map(|(place, one)| said[place + 1..].iter().map(move |other| agree(one, other)))
    });
    let (n_equal, n_pairs) =
        pairs.fold((0_u64, 0_u64), |(equal, all), it| (equal + u64::from(it), all + 1));
    (n_pairs > 0).then(|| n_equal as f64 / n_pairs as f64)
}

fn agree(one: &Judgement, other: &Judgement) -> bool {
    match (one, other) {
        (Judgement::Preferred { choice: one, .. }, Judgement::Preferred { choice: other, .. }) => {
            one == other
        }
        _ => one == other,
    }
}

/// All answers that count to a project's tasks of one split, in the order of the tasks.
pub fn preferences(
    store: &Store,
    project: &str,
    split: Split,
) -> Result<Vec<Answered>, FeedbackError> {
    let mut answers: HashMap<i64, Vec<(String, Judgement)>> = HashMap::new();
    for stored in store.answers(project)? {
        let said = (stored.annotator, stored.answer.judgement);
        answers.entry(stored.task).or_default().push(said);
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
        let response =
            |text: &str| Response { text: text.into(), finished: true, source: "model".into() };
        let task = Task {
            id: task,
            external_id: task.to_string(),
            prompt: "p".into(),
            responses: vec![response("first"), response("second")],
            overlap: 3,
            gold: None,
        };
        Answered { task, annotator: "a".into(), judgement: Judgement::preferred(choice) }
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
