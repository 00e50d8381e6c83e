//! What each signal says of two responses.

mod lists;
mod sittings;

use std::collections::BTreeMap;

use self::lists::{copied, edited, over_all_others, skip_above, stayed};
use self::sittings::{regenerated, thumbs};
use super::dwell::Dwell;
use super::events::Impression;
use super::pairs::{ClickPairs, Reason};

/// One user's act, read as a preference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::implicit) struct Vote<'a> {
    pub(in crate::implicit) user: &'a str,
    pub(in crate::implicit) prompt: &'a str,
    pub(in crate::implicit) chosen: Answer<'a>,
    pub(in crate::implicit) rejected: &'a str,
    pub(in crate::implicit) reason: Reason,
    /// What it counts for beside a plain vote, which has 1.
    pub(in crate::implicit) strength: f64,
}

/// A response, or a text that isn't one yet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::implicit) enum Answer<'a> {
    Response(&'a str),
    Text(&'a str),
}

/// All votes in a log.
pub(in crate::implicit) fn votes<'a>(
    impressions: &[&'a Impression],
    dwell: &Dwell<'_>,
    clicks: &ClickPairs,
) -> Vec<Vote<'a>> {
    let mut votes = Vec::new();
    for impression in impressions.iter().copied() {
        votes.extend(match clicks {
            ClickPairs::SkipAbove => skip_above(impression, dwell),
            ClickPairs::InversePropensity { propensities, clip } => {
                let weight = |position| 1.0 / propensities.at(position).max(*clip);
                over_all_others(impression, dwell, weight)
            }
        });
        votes.extend(stayed(impression, dwell));
        votes.extend(copied(impression));
        votes.extend(edited(impression));
    }
    for sitting in groups(impressions, |it| (&it.session, &it.user_hash, &it.prompt_id)) {
        votes.extend(regenerated(&sitting));
    }
    for of_user in groups(impressions, |it| (&it.user_hash, &it.prompt_id)) {
        votes.extend(thumbs(&of_user));
    }
    votes
}

/// Impressions with equal keys, each group in the order of time.
fn groups<'a, K: Ord>(
    impressions: &[&'a Impression],
    key: impl Fn(&'a Impression) -> K,
) -> Vec<Vec<&'a Impression>> {
    let mut groups: BTreeMap<K, Vec<&Impression>> = BTreeMap::new();
    for impression in impressions.iter().copied() {
        groups.entry(key(impression)).or_default().push(impression);
    }
    for group in groups.values_mut() {
        group.sort_by_key(|it| (it.ts_ms, &it.request_id));
    }
    groups.into_values().collect()
}

#[cfg(test)]
mod tests;
