//! Users who may be programs.

use std::collections::BTreeMap;

use serde::Serialize;

use super::dwell::median;
use super::events::Impression;

/// Windows in which lists are counted, in milliseconds, and the most that somebody can have read.
const WINDOWS: [(u64, usize); 2] = [(MINUTE_MS, 60), (24 * 60 * MINUTE_MS, 2000)];
const MINUTE_MS: u64 = 60_000;
/// Who usually acts faster than this has read nothing.
const FASTEST_MS: f64 = 300.0;
/// Lists with events from which on a user's speed is judged.
const FEWEST_LISTS: usize = 10;

/// What makes a user suspected.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Suspicion {
    /// More than 60 lists within a minute, or 2000 within a day.
    TooMany {
        /// How many.
        n_lists: usize,
        /// Within what time, in milliseconds.
        within_ms: u64,
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
    let mut times: Vec<u64> = impressions.iter().map(|it| it.ts_ms).collect();
    times.sort_unstable();
    for (within_ms, most) in WINDOWS {
        let n_lists = most_within(&times, within_ms);
        if n_lists > most {
            return Some(Suspicion::TooMany { n_lists, within_ms });
        }
    }
    let first_event = |it: &&Impression| it.events.iter().map(|event| event.t_ms()).min();
    let mut delays: Vec<f64> =
        impressions.iter().filter_map(first_event).map(|delay| delay as f64).collect();
    let median_ms = median(&mut delays);
    (delays.len() >= FEWEST_LISTS && median_ms < FASTEST_MS)
        .then_some(Suspicion::TooFast { median_ms })
}

fn most_within(times: &[u64], within_ms: u64) -> usize {
    let mut first = 0;
    let in_window = |(last, time): (usize, &u64)| {
        while time - times[first] >= within_ms {
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
        let too_many = |n_lists, within_ms| Some(Suspicion::TooMany { n_lists, within_ms });
        assert_eq!(suspicion(lists(61, 10, 900)), too_many(61, 60_000));
        assert_eq!(suspicion(lists(2000, 1000, 900)), None);
        assert_eq!(suspicion(lists(2001, 1000, 900)), too_many(2001, 86_400_000));
        assert_eq!(suspicion(lists(4000, 60_000, 900)), None);
        assert_eq!(suspicion(lists(9, 5000, 100)), None);
        let too_fast = Some(Suspicion::TooFast { median_ms: 299.0 });
        assert_eq!(suspicion(lists(10, 5000, 299)), too_fast);
        assert_eq!(suspicion(lists(10, 5000, 300)), None);
        assert_eq!(screen(&[]), BTreeMap::new());
    }
}
