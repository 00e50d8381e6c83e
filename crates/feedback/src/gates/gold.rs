//! How somebody does on tasks whose answer is known.

use super::{Gates, Project, about, by_annotator};
use crate::records::{Judgement, Task};
use crate::store::{Ruling, Verdict};
use crate::win_rate::WinRate;

/// Suspends whoever isn't surely better than the gate on golden tasks.
pub(super) fn rule(gates: &Gates, project: &Project<'_>) -> Vec<Ruling> {
    let people = by_annotator(project).into_iter();
    people
        .filter_map(|(name, answers)| {
            let golds = answers.iter().filter_map(|answer| {
                let task = project.tasks.get(&answer.task)?;
                is_right(task, &answer.answer.judgement)
            });
            let rights: Vec<bool> = golds.collect();
            let wins = rights.iter().filter(|right| **right).count() as u64;
            let rate = WinRate { wins, ties: 0, losses: rights.len() as u64 - wins };
            if rights.len() < gates.min_golds {
                return None;
            }
            let [least, _] = rate.wilson(0.95);
            (least < gates.gold_accuracy).then(|| {
                let reason = format!(
                    "{wins} of {} golden tasks right: the share may be {least:.2}, below {}",
                    rights.len(),
                    gates.gold_accuracy
                );
                about(name, "gold", Verdict::Suspend, reason)
            })
        })
        .collect()
}

/// Whether an answer to a golden task is right; `None` if the task isn't golden. How strong a preference is, is a matter of
/// taste.
pub(crate) fn is_right(task: &Task, said: &Judgement) -> Option<bool> {
    let gold = task.gold.as_ref()?;
    Some(match (gold, said) {
        (Judgement::Preferred { choice: gold, .. }, Judgement::Preferred { choice, .. }) => {
            gold == choice
        }
        (gold, said) => gold == said,
    })
}
