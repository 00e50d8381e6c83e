//! Users who may be programs.

use std::collections::BTreeMap;

use serde::Serialize;

use super::dwell::median;
use super::events::Impression;

/// More lists than this within a minute aren't read by anybody.
const MOST_PER_MINUTE: usize = 60;
/// A window in which lists are counted.
const MINUTE_MS: u64 = 60_000;
/// Who usually acts faster than this has read nothing.
const FASTEST_MS: f64 = 300.0;
/// Lists with events from which on a user's speed is judged.
const FEWEST_LISTS: usize = 10;

/// What makes a user suspected.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Suspicion {
    /// More than 60 lists within a minute.
    TooMany {
        /// The most within any minute.
        per_minute: usize,
    },
    /// Half of ten or more lists were acted on within 300 ms.
    TooFast {
        /// The median time to the first event, in milliseconds.
        median_ms: f64,
    },
}

/// The suspected users and why. Nothing is removed from the log: [`harvest`](super::harvest) passes over
/// what they did, and so should who counts clicks. The limits are a choice of ours.
pub fn screen(impressions: &[Impression]) -> BTreeMap<String, Suspicion> {
    let mut users: BTreeMap<&str, Vec<&Impression>> = BTreeMap::new();
    for impression in impressions {
        users.entry(&impression.user_hash).or_default().push(impression);
    }
    let suspected = users.into_iter().filter_map(|(user, its)| Some((user.into(), suspect(&its)?)));
    suspected.collect()
}

fn suspect(impressions: &[&Impression]) -> Option<Suspicion> {
    let per_minute = most_per_minute(impressions.iter().map(|it| it.ts_ms).collect());
    if per_minute > MOST_PER_MINUTE {
        return Some(Suspicion::TooMany { per_minute });
    }
    let first_event = |it: &&Impression| it.events.iter().map(|event| event.t_ms()).min();
    let mut delays: Vec<f64> =
        impressions.iter().filter_map(first_event).map(|delay| delay as f64).collect();
    let median_ms = median(&mut delays);
    (delays.len() >= FEWEST_LISTS && median_ms < FASTEST_MS)
        .then_some(Suspicion::TooFast { median_ms })
}

fn most_per_minute(mut times: Vec<u64>) -> usize {
    times.sort_unstable();
    let mut first = 0;
    let in_window = |(last, time): (usize, &u64)| {
        while time - times[first] >= MINUTE_MS {
            first += 1;
        }
        last + 1 - first
    };
    times.iter().enumerate().map(in_window).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::implicit::events::Event;
    use crate::implicit::events::tests::impression;

    /// Lists of one user, so many milliseconds apart, acted on after a delay.
    fn lists(count: u64, apart_ms: u64, t_ms: u64) -> Vec<Impression> {
        let list = |number| {
            let mut list = impression(0, &["a".into()], &[]);
            list.ts_ms = number * apart_ms;
            list.events.push(Event::Copy { response_id: "a".into(), t_ms });
            list
        };
        (0..count).map(list).collect()
    }

    #[test]
    fn robots_and_the_over_fast_are_suspected() {
        let suspicion = |lists: Vec<Impression>| screen(&lists).get("u0").copied();
        assert_eq!(suspicion(lists(60, 10, 900)), None);
        assert_eq!(suspicion(lists(61, 10, 900)), Some(Suspicion::TooMany { per_minute: 61 }));
        assert_eq!(suspicion(lists(500, 1000, 900)), None);
        assert_eq!(suspicion(lists(9, 5000, 100)), None);
        let too_fast = Some(Suspicion::TooFast { median_ms: 299.0 });
        assert_eq!(suspicion(lists(10, 5000, 299)), too_fast);
        assert_eq!(suspicion(lists(10, 5000, 300)), None);
        assert_eq!(screen(&[]), BTreeMap::new());
    }
}
