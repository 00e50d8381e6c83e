//! What is seen only across lists.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::{Answer, Vote};
use crate::implicit::events::{Event, Impression};
use crate::implicit::pairs::Reason;

/// What asking for another answer counts for: it may as well have been curiosity.
const REGENERATE_STRENGTH: f64 = 0.5;
/// Responses to one prompt whose thumbs of one user are compared, so that pairs don't grow as squares.
const MOST_THUMBS: usize = 64;

/// The answer that was kept in the end over those for which another was asked before. Only answers that
/// were shown by themselves can be the one that was kept.
pub(super) fn regenerated<'a>(sitting: &[&'a Impression]) -> Vec<Vote<'a>> {
    let mut votes = Vec::new();
    let mut given_up: BTreeSet<&str> = BTreeSet::new();
    for impression in sitting.iter().copied() {
        let kept = impression.items.iter().find(|item| {
            impression.items.len() == 1 && !is_disliked(impression, &item.response_id)
        });
        if let Some(kept) = kept {
            let reason = Reason::Regenerate;
            votes.extend(given_up.iter().filter(|it| **it != kept.response_id).map(|rejected| {
                Vote {
                    user: &impression.user_hash,
                    prompt: &impression.prompt_id,
                    chosen: Answer::Response(&kept.response_id),
                    rejected,
                    reason,
                    strength: REGENERATE_STRENGTH,
                }
            }));
            given_up.clear();
        }
        given_up.extend(impression.events.iter().filter_map(|event| match event {
            Event::Regenerate { response_id, .. } => Some(response_id.as_str()),
            _ => None,
        }));
    }
    votes
}

/// Given up or given a thumb down.
fn is_disliked(impression: &Impression, response: &str) -> bool {
    let mut events = impression.events.iter().filter(|event| event.response_id() == response);
    events.any(|it| matches!(it, Event::Regenerate { .. } | Event::Thumb { up: false, .. }))
}

/// What one user gave a thumb up over what the same user gave a thumb down, for one prompt. The last
/// thumb on a response counts, and the last [`MOST_THUMBS`] responses.
pub(super) fn thumbs<'a>(of_user: &[&'a Impression]) -> Vec<Vote<'a>> {
    let mut last: Vec<_> = last_thumbs(of_user).into_iter().collect();
    last.sort_unstable_by_key(|(response, (time, _))| (Reverse(*time), *response));
    last.truncate(MOST_THUMBS);
    let Some(first) = of_user.first() else { return Vec::new() };
    let with = |wanted: bool| last.iter().filter(move |(_, (_, is_down))| *is_down == wanted);
    let over = |chosen, rejected| Vote {
        user: &first.user_hash,
        prompt: &first.prompt_id,
        chosen: Answer::Response(chosen),
        rejected,
        reason: Reason::Thumbs,
        strength: 1.0,
    };
    with(false).flat_map(|(up, _)| with(true).map(move |(down, _)| over(up, down))).collect()
}

/// By response: when, and whether down. Of two at one time, the one down counts.
fn last_thumbs<'a>(of_user: &[&'a Impression]) -> BTreeMap<&'a str, (u64, bool)> {
    let mut last: BTreeMap<&str, (u64, bool)> = BTreeMap::new();
    for impression in of_user {
        for event in &impression.events {
            let Event::Thumb { response_id, t_ms, up } = event else { continue };
            let thumb = (impression.ts_ms.saturating_add(*t_ms), !up);
            let known = last.entry(response_id).or_insert(thumb);
            *known = thumb.max(*known);
        }
    }
    last
}
