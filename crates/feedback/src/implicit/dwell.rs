//! Whether somebody stayed with a response long enough to have read it.

use std::collections::BTreeMap;

use super::events::Impression;
use super::texts::Texts;

/// Who stays longer, ten minutes, has left the desk: the rest isn't counted.
pub const IDLE_MS: u64 = 600_000;
/// Shorter visits never satisfy: the usual thirty seconds.
const SHORTEST_MS: f64 = 30_000.0;
/// Words that people read silently in a minute (Brysbaert, Journal of Memory and Language, 2019).
const WORDS_PER_MINUTE: f64 = 238.0;
/// The part of a text that must have been read.
const PART: f64 = 0.5;
/// So many visits of a user weigh as much as what is known of all users.
const PRIOR_VISITS: f64 = 5.0;

/// How long who is satisfied stays with a text: `max(30 s, ½ · words / 238 · 60 s)`, in milliseconds.
/// In scripts without spaces each ideograph or syllable counts as a word.
///
/// Thirty seconds alone ignore how long the text is (Kim, Hassan, White, Zitouni, WSDM 2014). Both
/// constants are a choice of ours.
pub fn satisfied_after_ms(text: &str) -> f64 {
    SHORTEST_MS.max(PART * n_words(text) as f64 / WORDS_PER_MINUTE * 60_000.0)
}

fn n_words(text: &str) -> usize {
    let n_ideographs = text.chars().filter(|it| is_ideograph(*it)).count();
    n_ideographs
        + text
            .split(|it: char| it.is_whitespace() || is_ideograph(it))
            .filter(|it| !it.is_empty())
            .count()
}

/// CJK ideographs, kana and hangul.
fn is_ideograph(it: char) -> bool {
    matches!(it, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}' | '\u{20000}'..='\u{3ffff}')
}

/// Who tends to stay how long.
///
/// Users differ more than texts do (Kelly, Belkin, SIGIR 2004), so visits are compared within a user:
/// a visit of `t` ms to a text satisfies if `ln(t / satisfied_after) ≥ m_u`, where `m_u` is by how much
/// the user's median exceeds the median user's, times `n/(n + 5)` for `n` visits.
pub(super) struct Dwell<'a> {
    texts: &'a Texts,
    habits: BTreeMap<&'a str, f64>,
}

impl<'a> Dwell<'a> {
    pub(super) fn of(impressions: &[&'a Impression], texts: &'a Texts) -> Self {
        let mut visits: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for impression in impressions {
            let of_user = visits.entry(&impression.user_hash).or_default();
            let items = impression.items.iter();
            of_user
                .extend(items.filter_map(|item| log_ratio(impression, &item.response_id, texts)));
        }
        visits.retain(|_, of_user| !of_user.is_empty());
        let medians: BTreeMap<&str, f64> =
            visits.iter_mut().map(|(user, of_user)| (*user, median(of_user))).collect();
        let usual = median(&mut medians.values().copied().collect::<Vec<f64>>());
        let habit = |(user, its_median): (&'a str, f64)| {
            let n_visits = visits[user].len() as f64;
            (user, (its_median - usual) * n_visits / (n_visits + PRIOR_VISITS))
        };
        Self { texts, habits: medians.into_iter().map(habit).collect() }
    }

    /// Whether a response satisfied; `None` if it isn't known for how long it was open.
    pub(super) fn is_satisfied(&self, impression: &Impression, response: &str) -> Option<bool> {
        let habit = self.habits.get(impression.user_hash.as_str()).copied().unwrap_or(0.0);
        log_ratio(impression, response, self.texts).map(|it| it >= habit)
    }
}

fn log_ratio(impression: &Impression, response: &str, texts: &Texts) -> Option<f64> {
    let visible_ms = impression.visible_ms(response)?.clamp(1, IDLE_MS);
    let needed_ms = satisfied_after_ms(texts.response(response).unwrap_or_default());
    Some((visible_ms as f64 / needed_ms).ln())
}

/// The middle value, or the mean of the two in the middle; 0 of none.
pub(super) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    match (values.len() / 2, values.len() % 2) {
        (0, 0) => 0.0,
        (middle, 0) => f64::midpoint(values[middle - 1], values[middle]),
        (middle, _) => values[middle],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::implicit::events::Event;
    use crate::implicit::events::tests::impression;

    #[test]
    fn the_threshold_grows_with_the_text() {
        assert_eq!(satisfied_after_ms(""), 30_000.0);
        assert_eq!(satisfied_after_ms(&"word ".repeat(238)), 30_000.0);
        assert_eq!(satisfied_after_ms(&"word ".repeat(476)), 60_000.0);
        assert_eq!(satisfied_after_ms(&"字".repeat(476)), 60_000.0);
        assert_eq!(n_words("订单 A12 已发货 now"), 7);
    }

    fn visit(number: usize, user: &str, visible_ms: u64) -> Impression {
        let mut visit = impression(number, &["a".into()], &[]);
        visit.user_hash = user.into();
        let visible_ms = Some(visible_ms);
        visit.events.push(Event::Click { response_id: "a".into(), t_ms: 1, visible_ms });
        visit
    }

    #[test]
    fn visits_are_compared_within_a_user() {
        let users = [("slow", 120_000), ("usual", 30_000), ("fast", 15_000)];
        let visits: Vec<Impression> = (0..135)
            .map(|number| visit(number, users[number % 3].0, users[number % 3].1))
            .collect();
        let texts = Texts::default();
        let dwell = Dwell::of(&visits.iter().collect::<Vec<_>>(), &texts);
        let satisfies = |user, ms| dwell.is_satisfied(&visit(0, user, ms), "a");
        // 45 visits: the slow one's habit is 0.9 ln 4, the fast one's −0.9 ln 2.
        assert_eq!(
            (satisfies("slow", 104_000), satisfies("slow", 105_000)),
            (Some(false), Some(true))
        );
        assert_eq!(
            (satisfies("fast", 16_000), satisfies("fast", 16_100)),
            (Some(false), Some(true))
        );
        assert_eq!((satisfies("new", 29_999), satisfies("new", 30_000)), (Some(false), Some(true)));
        assert_eq!(dwell.is_satisfied(&impression(0, &["a".into()], &["a"]), "a"), None);
    }

    #[test]
    fn time_away_from_the_desk_is_not_counted() {
        let texts = Texts::default();
        let ratio = |ms| log_ratio(&visit(0, "u", ms), "a", &texts);
        assert_eq!(ratio(IDLE_MS), ratio(u64::MAX));
        assert_eq!(ratio(0), ratio(1));
    }
}
