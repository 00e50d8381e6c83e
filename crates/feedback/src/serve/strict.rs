//! Answers of other programs, every field of which is read: one that is misspelt would be lost without a word.
//!
//! serde can't refuse other fields of an enum that it flattens, so they are looked for here.

use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error};
use serde_json::{Map, Value};

use crate::records::{Answer, Judgement};

/// What may be said beside any judgement.
const BESIDE: &[&str] = &["reasons", "aspects", "comment", "weight", "margin"];

/// An answer.
pub(super) fn answer<'de, D: Deserializer<'de>>(from: D) -> Result<Answer, D::Error> {
    let sent = Map::deserialize(from)?;
    let answer: Answer = read(&sent)?;
    refuse_others(&sent, &[BESIDE, fields(&answer.judgement)])?;
    Ok(answer)
}

/// A judgement and nothing beside it, if there is one.
pub(super) fn judgement<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Judgement>, D::Error> {
    let Some(sent) = Option::<Map<String, Value>>::deserialize(from)? else { return Ok(None) };
    let judgement: Judgement = read(&sent)?;
    refuse_others(&sent, &[fields(&judgement)])?;
    Ok(Some(judgement))
}

fn read<T: DeserializeOwned, E: Error>(sent: &Map<String, Value>) -> Result<T, E> {
    serde_json::from_value(Value::Object(sent.clone())).map_err(E::custom)
}

fn refuse_others<E: Error>(sent: &Map<String, Value>, known: &[&[&str]]) -> Result<(), E> {
    let is_known = |name: &str| name == "kind" || known.iter().any(|it| it.contains(&name));
    match sent.keys().find(|name| !is_known(name)) {
        Some(name) => Err(E::custom(format!("unknown field `{name}` of such an answer"))),
        None => Ok(()),
    }
}

/// What a judgement holds besides its kind.
fn fields(judgement: &Judgement) -> &'static [&'static str] {
    match judgement {
        Judgement::Preferred { .. } => &["choice", "strength"],
        Judgement::Leaning { .. } => &["first"],
        Judgement::Tie | Judgement::BothBad => &[],
        Judgement::Ranked { .. } => &["ranks"],
        Judgement::Scored { .. } => &["score"],
        Judgement::Thumb { .. } => &["up"],
        Judgement::Edited { .. } => &["text"],
        Judgement::Attacked { .. } => &["success", "tags"],
    }
}
