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

/// Tells all votes in a log, whose impressions are in the order of time. They aren't collected: a list of
/// a few lines can hold thousands.
pub(in crate::implicit) fn for_each_vote<'a>(
    impressions: &[&'a Impression],
    dwell: &Dwell<'_>,
    clicks: &ClickPairs,
    mut tell: impl FnMut(Vote<'a>),
) {
    for impression in impressions.iter().copied() {
        let of_clicks = match clicks {
            ClickPairs::SkipAbove => skip_above(impression, dwell),
            ClickPairs::InversePropensity { propensities, clip } => {
                let weight = |position| 1.0 / propensities.at(position).max(*clip);
                over_all_others(impression, dwell, weight)
            }
        };
        let of_others = [stayed(impression, dwell), copied(impression), edited(impression)];
        of_clicks.into_iter().chain(of_others.into_iter().flatten()).for_each(&mut tell);
    }
    for sitting in groups(impressions, |it| (&it.user_hash, &it.session, &it.prompt_id)) {
        regenerated(&sitting).into_iter().for_each(&mut tell);
    }
    for of_user in groups(impressions, |it| (&it.user_hash, &it.prompt_id)) {
        thumbs(&of_user).into_iter().for_each(&mut tell);
    }
}

/// Impressions with equal keys; each group keeps their order.
fn groups<'a, K: Ord>(
    impressions: &[&'a Impression],
    key: impl Fn(&'a Impression) -> K,
) -> Vec<Vec<&'a Impression>> {
    let mut groups: BTreeMap<K, Vec<&Impression>> = BTreeMap::new();
    for impression in impressions.iter().copied() {
        groups.entry(key(impression)).or_default().push(impression);
    }
    groups.into_values().collect()
}

#[cfg(test)]
mod tests;
