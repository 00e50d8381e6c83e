//! Judgements of more than two completions, and grades.

use serde_json::{Map, Value};

use super::columns::Columns;
use super::convert::perhaps_prompted;
use crate::example::{Body, Content};

/// Completions of one prompt that a ranking may hold.
const MOST: usize = 64;

/// Completions and their places.
pub(super) fn ranking(columns: &mut Columns) -> Result<Body, String> {
    let (completions, ranks) = (columns.contents("completions")?, columns.ranks()?);
    if completions.len() != ranks.len() {
        let (n_completions, n_ranks) = (completions.len(), ranks.len());
        return Err(format!("`completions` holds {n_completions} and `ranks` {n_ranks}"));
    }
    ranked(columns, completions, ranks)
}

/// Texts that are good, and texts that aren't, of which nothing more is known.
pub(super) fn best_of(columns: &mut Columns) -> Result<Body, String> {
    let (chosen, rejected) = (columns.contents("chosen")?, columns.contents("rejected")?);
    let ranks = chosen.iter().map(|_| 1).chain(rejected.iter().map(|_| 2)).collect();
    ranked(columns, chosen.into_iter().chain(rejected).collect(), ranks)
}

/// A completion and its grade.
pub(super) fn scored(columns: &mut Columns) -> Result<Body, String> {
    let [prompt, completion] = perhaps_prompted(columns)?;
    Ok(Body::Scored { prompt, completion, score: columns.score()? })
}

fn ranked(
    columns: &mut Columns,
    completions: Vec<Content>,
    ranks: Vec<u32>,
) -> Result<Body, String> {
    if !(2..=MOST).contains(&completions.len()) {
        let found = completions.len();
        return Err(format!("a ranking has 2 to {MOST} completions; this one has {found}"));
    }
    let prompt = columns.content("prompt")?;
    let is_chat = prompt.is_conversational();
    if completions.iter().any(|it| it.is_conversational() != is_chat) {
        return Err("prompt and completions must be all texts or all messages".into());
    }
    Ok(Body::Ranking { prompt, completions, ranks })
}

/// Whether `chosen` and `rejected` are lists of texts beside a prompt.
pub(super) fn are_lists_of_texts(row: &Map<String, Value>) -> bool {
    let holds_texts = |name| {
        let values = row.get(name).and_then(Value::as_array);
        values.is_some_and(|it| !it.is_empty() && it.iter().all(Value::is_string))
    };
    row.get("prompt").is_some_and(Value::is_string)
        && holds_texts("chosen")
        && holds_texts("rejected")
}
