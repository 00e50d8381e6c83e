//! What is seen within one list.

use std::collections::BTreeMap;

use super::{Answer, Vote};
use crate::implicit::dwell::Dwell;
use crate::implicit::events::{Event, Impression, Item};
use crate::implicit::pairs::Reason;

/// What was in view for less, in milliseconds, may not have been read.
const SEEN_MS: u64 = 1000;

/// What was clicked over what stood above and wasn't (Joachims, KDD 2002).
pub(super) fn skip_above<'a>(impression: &'a Impression, dwell: &Dwell<'_>) -> Vec<Vote<'a>> {
    let clicked = impression.items.iter().filter(|item| is_liked(impression, item, dwell));
    clicked
        .flat_map(|chosen| {
            let above = impression.items.iter().take_while(|item| item.pos < chosen.pos);
            let skipped = above.filter(|item| !impression.is_clicked(&item.response_id));
            skipped.map(|rejected| vote(impression, chosen, rejected, Reason::SkipAbove, 1.0))
        })
        .collect()
}

/// What was clicked over everything else in the list, weighted by where it stood (Joachims,
/// Swaminathan, Schnabel, WSDM 2017).
pub(super) fn over_all_others<'a>(
    impression: &'a Impression,
    dwell: &Dwell<'_>,
    weight: impl Fn(u32) -> f64,
) -> Vec<Vote<'a>> {
    let clicked = impression.items.iter().filter(|item| is_liked(impression, item, dwell));
    clicked
        .flat_map(|chosen| {
            let strength = weight(chosen.pos);
            let others = impression.items.iter().filter(|item| item.pos != chosen.pos);
            others.map(move |rejected| {
                vote(impression, chosen, rejected, Reason::InversePropensity, strength)
            })
        })
        .collect()
}

/// Clicked, and not known to have been left too early.
fn is_liked(impression: &Impression, item: &Item, dwell: &Dwell<'_>) -> bool {
    impression.is_clicked(&item.response_id)
        && dwell.is_satisfied(impression, &item.response_id) != Some(false)
}

/// Of what was clicked, what the user stayed with over what was left.
pub(super) fn stayed<'a>(impression: &'a Impression, dwell: &Dwell<'_>) -> Vec<Vote<'a>> {
    let clicked = |satisfied| {
        impression.items.iter().filter(move |item| {
            impression.is_clicked(&item.response_id)
                && dwell.is_satisfied(impression, &item.response_id) == Some(satisfied)
        })
    };
    crossed(impression, clicked(true), clicked(false), Reason::Dwell)
}

/// What was copied over what was in view and wasn't.
pub(super) fn copied(impression: &Impression) -> Vec<Vote<'_>> {
    let is_copied = |item: &Item| {
        let is_it = |event: &Event| matches!(event, Event::Copy { response_id, .. } if *response_id == item.response_id);
        impression.events.iter().any(is_it)
    };
    let items = impression.items.iter();
    let (copied, others): (Vec<&Item>, Vec<&Item>) = items.partition(|item| is_copied(item));
    let seen = others.into_iter().filter(|item| item.shown_ms >= SEEN_MS);
    crossed(impression, copied.into_iter(), seen, Reason::Copy)
}

fn crossed<'a>(
    impression: &'a Impression,
    chosen: impl Iterator<Item = &'a Item>,
    rejected: impl Iterator<Item = &'a Item>,
    reason: Reason,
) -> Vec<Vote<'a>> {
    let rejected: Vec<&Item> = rejected.collect();
    chosen
        .flat_map(|chosen| rejected.iter().map(move |it| vote(impression, chosen, it, reason, 1.0)))
        .collect()
}

/// The user's text over the model's; of several edits of a response, the last.
pub(super) fn edited(impression: &Impression) -> Vec<Vote<'_>> {
    let mut last: BTreeMap<&str, (u64, Answer<'_>)> = BTreeMap::new();
    for event in &impression.events {
        let Event::Edit { response_id, t_ms, text, edited_id } = event else { continue };
        let text = text.as_deref().map(Answer::Text);
        let Some(edited) = text.or(edited_id.as_deref().map(Answer::Response)) else { continue };
        let known = last.entry(response_id).or_insert((*t_ms, edited));
        if known.0 <= *t_ms {
            *known = (*t_ms, edited);
        }
    }
    let vote = |(rejected, (_, chosen))| Vote {
        user: &impression.user_hash,
        prompt: &impression.prompt_id,
        chosen,
        rejected,
        reason: Reason::Edit,
        strength: 1.0,
    };
    last.into_iter().map(vote).collect()
}

fn vote<'a>(
    impression: &'a Impression,
    chosen: &'a Item,
    rejected: &'a Item,
    reason: Reason,
    strength: f64,
) -> Vote<'a> {
    Vote {
        user: &impression.user_hash,
        prompt: &impression.prompt_id,
        chosen: Answer::Response(&chosen.response_id),
        rejected: &rejected.response_id,
        reason,
        strength,
    }
}
