//! What goes over the wire: answers by places on the page, which the store keeps by places in the task.

use rein_data::example::Content;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::strict;
use crate::records::{Answer, Choice, Judgement, NewTask, Response, Shown, Split};
use crate::store::{Asked, Progress, Said, Stored, Submission};

/// What a page sends of a task.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SentAnnotation {
    pub(super) task: i64,
    pub(super) idem_key: String,
    #[serde(default)]
    pub(super) opened_at: Option<i64>,
    #[serde(default)]
    pub(super) active_ms: Option<i64>,
    pub(super) said: SentSaid,
}

/// What somebody does with it.
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum SentSaid {
    Answer {
        #[serde(deserialize_with = "strict::answer")]
        answer: Answer,
    },
    Draft {
        draft: Value,
    },
    // With braces, so that serde refuses other fields here, too.
    Skip {},
    Flag {
        reason: String,
    },
}

impl SentAnnotation {
    /// The same in terms of the task's own order.
    pub(super) fn in_task_order(self, shown: &Shown) -> Result<Submission, String> {
        let said = match self.said {
            SentSaid::Answer { answer } => Said::Answer(reorder(answer, &inverse(shown))?),
            SentSaid::Draft { draft } => Said::Draft(draft),
            SentSaid::Skip {} => Said::Skip,
            SentSaid::Flag { reason } => Said::Flag { reason },
        };
        Ok(Submission {
            task: self.task,
            said,
            idem_key: self.idem_key,
            opened_at: self.opened_at,
            active_ms: self.active_ms.map(|it| it.max(0)),
        })
    }
}

/// A task as the page gets it: without a word on where its items come from or whether its answer is known.
pub(super) fn asked(asked: &Asked, now: i64) -> Value {
    let responses = &asked.task.responses;
    let items: Vec<Value> = asked
        .shown
        .0
        .iter()
        .filter_map(|place| responses.get(*place))
        .map(|it| json!({ "text": it.text, "finished": it.finished }))
        .collect();
    let earlier = asked.answer.clone().and_then(|it| reorder(it, &asked.shown).ok());
    let earlier = earlier.map(|it| serde_json::to_value(it).expect("plain JSON"));
    json!({
        "id": asked.task.id,
        "prompt": asked.task.prompt,
        "items": items,
        "draft": earlier.or_else(|| asked.draft.clone()),
        "expires_at": asked.expires_at,
        "now": now,
    })
}

/// A task that another program sends.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SentTask {
    external_id: String,
    prompt: Content,
    responses: Vec<SentResponse>,
    #[serde(default = "one")]
    overlap: u32,
    #[serde(default)]
    priority: f64,
    #[serde(default)]
    heldout: bool,
    #[serde(default, deserialize_with = "strict::judgement")]
    gold: Option<Judgement>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SentResponse {
    text: String,
    #[serde(default = "yes")]
    finished: bool,
    #[serde(default)]
    source: String,
}

fn one() -> u32 {
    1
}

fn yes() -> bool {
    true
}

impl SentTask {
    pub(super) fn task(self) -> NewTask {
        let response =
            |SentResponse { text, finished, source }| Response { text, finished, source };
        NewTask {
            external_id: self.external_id,
            prompt: self.prompt,
            split: if self.heldout { Split::Heldout } else { Split::Train },
            responses: self.responses.into_iter().map(response).collect(),
            overlap: self.overlap,
            priority: self.priority,
            gold: self.gold,
        }
    }
}

/// An answer as programs get it, in terms of the task's own order.
pub(super) fn stored(stored: &Stored) -> Value {
    json!({
        "id": stored.id,
        "task": stored.task,
        "annotator": stored.annotator,
        "role": stored.role.as_str(),
        "answer": stored.answer,
        "shown": stored.shown,
        "active_ms": stored.active_ms,
        "submitted_at": stored.submitted_at,
    })
}

/// How far a project is, as one of its annotators sees it.
#[derive(Debug, Serialize)]
pub(super) struct WireProgress<'a> {
    n_tasks: u64,
    n_done: u64,
    n_answers: u64,
    n_mine: u64,
    n_skipped: u64,
    n_flagged: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    by_annotator: Option<&'a std::collections::BTreeMap<String, u64>>,
}

impl<'a> WireProgress<'a> {
    pub(super) fn new(progress: &'a Progress, annotator: &str, is_admin: bool) -> Self {
        Self {
            n_tasks: progress.n_tasks,
            n_done: progress.n_done,
            n_answers: progress.n_answers,
            n_mine: progress.by_annotator.get(annotator).copied().unwrap_or(0),
            n_skipped: progress.n_skipped,
            n_flagged: progress.n_flagged,
            by_annotator: is_admin.then_some(&progress.by_annotator),
        }
    }
}

/// Place in the task to place on the page.
fn inverse(shown: &Shown) -> Shown {
    let mut inverse = vec![0; shown.0.len()];
    for (page, task) in shown.0.iter().enumerate() {
        inverse[*task] = page;
    }
    Shown(inverse)
}

/// An answer of which item `k` is what was item `order[k]`.
fn reorder(answer: Answer, order: &Shown) -> Result<Answer, String> {
    let order = &order.0;
    let turn = |choice: Choice| match order.as_slice() {
        [0, 1] => Ok(choice),
        [1, 0] => Ok(choice.other()),
        _ => Err(format!("this task has {} items, so there is no first or second", order.len())),
    };
    let judgement = match answer.judgement {
        Judgement::Preferred { choice, strength } => {
            Judgement::Preferred { choice: turn(choice)?, strength }
        }
        Judgement::Leaning { first } => {
            let is_turned = turn(Choice::First)? == Choice::Second;
            Judgement::Leaning { first: if is_turned { 1.0 - first } else { first } }
        }
        Judgement::Ranked { ranks } => {
            if ranks.len() != order.len() {
                return Err(format!(
                    "`ranks` has {} places for {} items",
                    ranks.len(),
                    order.len()
                ));
            }
            Judgement::Ranked { ranks: order.iter().map(|place| ranks[*place]).collect() }
        }
        other => other,
    };
    let mut aspects = answer.aspects;
    for aspect in &mut aspects {
        aspect.choice = aspect.choice.map(turn).transpose()?;
    }
    Ok(Answer { judgement, aspects, ..answer })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_places_on_the_page_is_kept_of_places_in_the_task() {
        // The page shows the task's items 2, 0, 1.
        let shown = Shown(vec![2, 0, 1]);
        let said: Answer = Judgement::Ranked { ranks: vec![1, 2, 3] }.into();
        let kept = reorder(said.clone(), &inverse(&shown)).expect("fits");
        assert_eq!(kept.judgement, Judgement::Ranked { ranks: vec![2, 3, 1] });
        assert_eq!(reorder(kept, &shown).expect("fits"), said, "and shown as it was said");
    }

    #[test]
    fn sides_turn_with_the_page() {
        let shown = Shown(vec![1, 0]);
        let said: Answer = Judgement::preferred(Choice::First).into();
        let kept = reorder(said, &inverse(&shown)).expect("fits");
        assert_eq!(kept.judgement, Judgement::preferred(Choice::Second));
        let single = Shown(vec![0]);
        assert!(reorder(kept, &single).is_err(), "one item has no sides");
    }
}
