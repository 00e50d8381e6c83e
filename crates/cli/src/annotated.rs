//! Pairs and who judged them, from files that say so in a column `annotator`.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Result, bail};
use rein_data::encoder::Encoder;
use rein_data::example::{Body, Example};
use rein_data::schema::{Examples, Located};
use rein_feedback::{Split, Store, said};
use rein_reward::encoding::{Judgements, Pair, encode_examples};
use rein_reward::meta::Annotated;
use serde_json::Value;

use crate::world::origin;

/// The column that says who judged a row.
pub(crate) const ANNOTATOR: &str = "annotator";

/// How rows become tokens.
pub(crate) struct Reading<'a> {
    pub(crate) encoder: &'a Encoder,
    /// Longer rows lose the beginning of their prompt.
    pub(crate) max_tokens: usize,
}

/// Refuses a file whose first row doesn't say who judged it.
pub(crate) fn check(path: &Path) -> Result<()> {
    let examples = Examples::open(path, None)?;
    if !examples.columns().iter().any(|column| column == ANNOTATOR) {
        bail!(
            "{}: has no column `{ANNOTATOR}`, by which `reward.personal` tells people apart",
            path.display()
        );
    }
    Ok(())
}

/// The pairs of a file whose prompts `is_read` accepts, each with the name of who judged it; none where the row
/// names nobody. Ties say nothing of a person and are left out.
pub(crate) fn read_pairs(
    path: &Path,
    reading: &Reading<'_>,
    is_read: impl Fn(&str) -> bool,
) -> Result<Vec<(Option<String>, Pair)>> {
    let mut pairs = Vec::new();
    for row in Examples::open(path, None)? {
        let row = row?;
        if !matches!(row.example.body, Body::Preference { .. }) {
            return Err(row
                .refuse("a person is known by pairs: `prompt`, `chosen`, `rejected`")
                .into());
        }
        if is_read(&origin(&row.example))
            && let Some(pair) = pair(&row.example, reading)?
        {
            pairs.push((annotator(&row)?, pair));
        }
    }
    Ok(pairs)
}

/// The pairs that people of a store compared, in the order of its tasks, each with the name of who did. Ties say nothing of
/// a person and are left out.
pub(crate) fn stored_pairs(
    store: &Store,
    project: &str,
    split: Split,
    reading: &Reading<'_>,
) -> Result<Vec<(String, Pair)>> {
    let mut pairs = Vec::new();
    for row in said(store, project, split)? {
        let name = row.extra.get(ANNOTATOR).and_then(Value::as_str).map(str::to_owned);
        let is_pair = matches!(row.body, Body::Preference { .. });
        if let Some(name) = name.filter(|_| is_pair)
            && let Some(pair) = pair(&row, reading)?
        {
            pairs.push((name, pair));
        }
    }
    Ok(pairs)
}

/// The pairs of named people, who get numbers in the order in which they come.
///
/// # Errors
/// A pair that nobody is named for.
pub(crate) fn numbered(path: &Path, pairs: Vec<(Option<String>, Pair)>) -> Result<Vec<Annotated>> {
    let mut people = HashMap::new();
    let mut annotated = Vec::with_capacity(pairs.len());
    for (number, (name, pair)) in (1..).zip(pairs) {
        let Some(name) = name else {
            bail!("{}: pair {number} has no `{ANNOTATOR}`", path.display());
        };
        let next = people.len();
        annotated.push(Annotated { person: *people.entry(name).or_insert(next), pair });
    }
    Ok(annotated)
}

/// The pair, its preferred side first; none where neither is.
fn pair(example: &Example, reading: &Reading<'_>) -> Result<Option<Pair>> {
    let Reading { encoder, max_tokens } = *reading;
    let encoded = encode_examples(std::slice::from_ref(example), encoder, max_tokens)?;
    let Judgements::Pairs(mut pairs) = encoded.judgements else {
        bail!("a person is known by pairs")
    };
    let pair = pairs.remove(0);
    let probability = pair.chosen_probability.unwrap_or(1.0);
    Ok(if probability > 0.5 {
        Some(pair)
    } else {
        let turned = Pair { chosen: pair.rejected, rejected: pair.chosen, ..Pair::default() };
        (probability < 0.5).then_some(turned)
    })
}

/// A name, or a number as a name.
fn annotator(row: &Located) -> Result<Option<String>> {
    Ok(match row.example.extra.get(ANNOTATOR) {
        None | Some(Value::Null) => None,
        Some(Value::String(name)) if name.trim().is_empty() => None,
        Some(Value::String(name)) => Some(name.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        Some(_) => {
            return Err(row.refuse("`annotator` must be a text or a number").into());
        }
    })
}
