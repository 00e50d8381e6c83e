//! A row as a question and its answer.

use std::collections::BTreeSet;

use rein_data::example::{Body, Content, Example};
use serde_json::Value;

use crate::records::{Judgement, Kind, MAX_SUCCESS, Response};
use crate::store::sha256;

/// What a row asks, and what it says.
pub(super) struct Question {
    pub(super) prompt: Content,
    /// In an order that follows from their texts: where the better one stood says nothing.
    pub(super) responses: Vec<Response>,
    /// In terms of that order.
    pub(super) judgement: Judgement,
}

impl Question {
    /// A hash of its texts.
    pub(super) fn name(&self) -> String {
        let responses: Vec<(&str, bool)> =
            self.responses.iter().map(|it| (it.text.as_str(), it.finished)).collect();
        let whole = serde_json::to_string(&(&self.prompt, responses)).expect("plain JSON");
        sha256(&whole)[..32].to_owned()
    }
}

/// What a row says in a project of this kind; none if it compares equal texts. The error says what is wrong with it.
pub(super) fn question(row: &Example, asked: &Kind) -> Result<Option<Question>, String> {
    if row.tools.is_some() {
        return Err("a conversation with tools can't be shown to people".into());
    }
    let (prompt, responses, judgement) = match &row.body {
        Body::Preference { prompt, chosen, rejected, chosen_probability, .. } => {
            let first = f64::from(chosen_probability.unwrap_or(1.0));
            let chosen = response(chosen, row.finished(0))?;
            let rejected = response(rejected, row.finished(1))?;
            (prompt, vec![chosen, rejected], Judgement::Leaning { first })
        }
        Body::Ranking { prompt, completions, ranks } => {
            let responses = completions.iter().enumerate();
            let responses = responses.map(|(place, it)| response(it, row.finished(place)));
            let ranks = places(ranks)?;
            (prompt, responses.collect::<Result<_, _>>()?, Judgement::Ranked { ranks })
        }
        Body::UnpairedPreference { prompt, completion, label } => {
            let attacked = attacked(row).filter(|_| matches!(asked, Kind::RedTeam));
            let said = attacked.unwrap_or(Judgement::Thumb { up: *label });
            (prompt, vec![response(completion, row.finished(0))?], said)
        }
        Body::Scored { prompt, completion, score } => {
            let said = Judgement::Scored { score: f64::from(*score) };
            (prompt, vec![response(completion, row.finished(0))?], said)
        }
        _ => {
            return Err(
                "it holds no judgement: neither a preference, a ranking, a label nor a score"
                    .into(),
            );
        }
    };
    let same = |it: &Response| it.text == responses[0].text;
    if responses.len() > 1 && responses.iter().all(same) {
        return Ok(None);
    }
    let question = sorted(Question { prompt: prompt.clone(), responses, judgement });
    fits(&question.judgement, asked)?;
    Ok(Some(question))
}

/// How far an attack went, if a labelled row says that (`success`, `tags`): what withstood is good, and nothing else.
pub(super) fn attacked(row: &Example) -> Option<Judgement> {
    let Body::UnpairedPreference { label, .. } = row.body else { return None };
    let success = row.extra.get("success").and_then(Value::as_u64)?;
    let success =
        u8::try_from(success).ok().filter(|it| *it <= MAX_SUCCESS && label == (*it == 0))?;
    let tags = row.extra.get("tags").and_then(Value::as_array).map(Vec::as_slice);
    let tags = tags.unwrap_or_default().iter().filter_map(Value::as_str).map(str::to_owned);
    Some(Judgement::Attacked { success, tags: tags.collect() })
}

/// Ranks as places without gaps, 1, 2, 3, …; equal ones stay equal. So all ways of writing an order are one answer.
fn places(ranks: &[u32]) -> Result<Vec<u8>, String> {
    let (_, most) = Kind::Ranking { ties: true }.n_items();
    if ranks.len() > most {
        return Err(format!(
            "it ranks {} responses; people are shown at most {most} at once, so leave some out",
            ranks.len()
        ));
    }
    let known: BTreeSet<u32> = ranks.iter().copied().collect();
    if known.contains(&0) {
        return Err("`ranks` holds 0; the best has the rank 1, others have higher ones".into());
    }
    Ok(ranks.iter().map(|rank| known.range(..=rank).count() as u8).collect())
}

/// With responses in the order of their texts' hashes.
fn sorted(question: Question) -> Question {
    let mut order: Vec<usize> = (0..question.responses.len()).collect();
    order.sort_by_key(|place| sha256(&question.responses[*place].text));
    let judgement = match question.judgement {
        Judgement::Leaning { first } => preferred(if order[0] == 0 { first } else { 1.0 - first }),
        Judgement::Ranked { ranks } => Judgement::Ranked {
            ranks: order.iter().filter_map(|it| ranks.get(*it)).copied().collect(),
        },
        other => other,
    };
    let responses = order.iter().map(|place| question.responses[*place].clone()).collect();
    Question { responses, judgement, ..question }
}

/// What is certain is a plain preference.
fn preferred(first: f64) -> Judgement {
    use crate::records::Choice::{First, Second};
    match first {
        1.0 => Judgement::preferred(First),
        0.0 => Judgement::preferred(Second),
        first => Judgement::Leaning { first },
    }
}

fn fits(judgement: &Judgement, asked: &Kind) -> Result<(), String> {
    let (is_right, what) = match judgement {
        Judgement::Ranked { .. } => (matches!(asked, Kind::Ranking { .. }), "ranking"),
        Judgement::Thumb { .. } => (matches!(asked, Kind::Thumbs), "label"),
        Judgement::Attacked { .. } => (matches!(asked, Kind::RedTeam), "success of an attack"),
        Judgement::Scored { .. } => (matches!(asked, Kind::Score { .. }), "score"),
        _ => (matches!(asked, Kind::Pair { .. }), "preference"),
    };
    let name = asked.name();
    let reason = format!(
        "it holds a {what}, the project's tasks are of kind `{name}`; take another project"
    );
    if is_right { Ok(()) } else { Err(reason) }
}

/// What a completion says: a text, or the one message of an assistant that goes on a conversation.
fn response(content: &Content, finished: bool) -> Result<Response, String> {
    let text = match content {
        Content::Text(text) => Some(text.clone()),
        Content::Messages(messages) => reply(messages),
    };
    let text = text.ok_or(
        "people compare what an assistant says next: one message of the `role` assistant whose `content` is a text",
    )?;
    Ok(Response { text, finished, source: String::new() })
}

fn reply(messages: &[Value]) -> Option<String> {
    let [message] = messages else { return None };
    let is_plain = message.as_object().is_some_and(|it| it.len() == 2);
    let is_reply = is_plain && message["role"] == "assistant";
    message["content"].as_str().filter(|_| is_reply).map(str::to_owned)
}
