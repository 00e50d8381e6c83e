//! Whether somebody says the same when asked the same again.

use std::collections::BTreeMap;

use super::{Gates, Project, about, by_annotator};
use crate::records::{Judgement, Task};
use crate::store::{Ruling, Stored, Verdict};

/// Flags whoever answers too few repeated tasks as before. Tasks are repeated where prompt and responses are the same, in
/// whatever order.
pub(super) fn rule(gates: &Gates, project: &Project<'_>) -> Vec<Ruling> {
    let people = by_annotator(project).into_iter();
    people
        .filter_map(|(name, answers)| {
            let again = said_again(project, &answers);
            if again.is_empty() || again.len() < gates.min_repeats {
                return None;
            }
            let same = again.iter().filter(|same| **same).count();
            let share = same as f64 / again.len() as f64;
            (share < gates.consistency).then(|| {
                let reason = format!("{same} of {} repeated tasks answered as before", again.len());
                about(name, "repeats", Verdict::Flag, reason)
            })
        })
        .collect()
}

/// For each task that somebody was asked before: whether the text that they prefer is the same.
fn said_again(project: &Project<'_>, answers: &[&Stored]) -> Vec<bool> {
    let mut before: BTreeMap<(String, Vec<&str>), &str> = BTreeMap::new();
    let mut again = Vec::new();
    for answer in answers {
        let Some(task) = project.tasks.get(&answer.task) else { continue };
        let Judgement::Preferred { choice, .. } = answer.answer.judgement else { continue };
        let Some(preferred) = task.responses.get(choice.index()) else { continue };
        if let Some(earlier) = before.insert(question(task), &preferred.text) {
            again.push(earlier == preferred.text);
        }
    }
    again
}

fn question(task: &Task) -> (String, Vec<&str>) {
    let mut texts: Vec<&str> = task.responses.iter().map(|it| it.text.as_str()).collect();
    texts.sort_unstable();
    (task.prompt.transcript(), texts)
}
