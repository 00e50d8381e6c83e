//! Answers that came faster than anybody reads.

use std::collections::BTreeMap;

use super::{Gates, Project};
use crate::records::Task;
use crate::store::{Ruling, Stored, Subject, Verdict};

/// Times beyond this say nothing: somebody went away.
const IDLE_MS: i64 = 600_000;
/// Answers to tasks of about one length before they say what is usual.
const ENOUGH: usize = 8;

/// Drops answers that took less than the least time, or than a share of the median for tasks of their length.
pub(super) fn rule(gates: &Gates, project: &Project<'_>) -> Vec<Ruling> {
    let usual = usual_times(project);
    let least_of = |answer: &Stored| {
        let usual = project.tasks.get(&answer.task).and_then(|task| usual.get(&length_bin(task)));
        let share = usual.map_or(0.0, |usual| gates.min_active_share * *usual as f64);
        (share as i64).max(gates.min_active_ms)
    };
    let too_fast = project.answers.iter().filter_map(|answer| {
        let (active, least) = (answer.active_ms?, least_of(answer));
        (active < least).then(|| Ruling {
            subject: Subject::Annotation(answer.id),
            rule: "speed".into(),
            verdict: Verdict::Drop,
            reason: format!("it took {active} ms; a task of this length takes {least} at least"),
        })
    });
    too_fast.collect()
}

/// The median time of each bin of lengths that has enough answers.
fn usual_times(project: &Project<'_>) -> BTreeMap<u32, i64> {
    let mut times: BTreeMap<u32, Vec<i64>> = BTreeMap::new();
    for answer in project.answers {
        let known = answer.active_ms.filter(|it| *it <= IDLE_MS);
        if let (Some(active), Some(task)) = (known, project.tasks.get(&answer.task)) {
            times.entry(length_bin(task)).or_default().push(active);
        }
    }
    times.retain(|_, times| times.len() >= ENOUGH);
    times
        .into_iter()
        .map(|(bin, mut times)| {
            times.sort_unstable();
            (bin, times[times.len() / 2])
        })
        .collect()
}

/// Tasks of 2ᵏ to 2ᵏ⁺¹ words are of about one length.
fn length_bin(task: &Task) -> u32 {
    let prompt = task.prompt.to_text();
    let texts = task.responses.iter().map(|it| it.text.as_str()).chain([prompt.as_str()]);
    let n_words: usize = texts.map(|text| text.split_whitespace().count()).sum();
    n_words.max(1).ilog2()
}
