//! One line of the log.

use serde::{Deserialize, Serialize};

/// A list of responses that was shown, and what was done with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Impression {
    /// Version of the format.
    pub v: u64,
    /// When it was shown, in milliseconds since 1970.
    pub ts_ms: u64,
    /// The sitting it belongs to.
    pub session: String,
    /// Who saw it.
    pub user_hash: String,
    /// Its name.
    pub request_id: String,
    /// What the responses answer.
    pub prompt_id: String,
    /// The responses, the uppermost first.
    pub items: Vec<Item>,
    /// What was done.
    pub events: Vec<Event>,
    /// Probability with which the order was drawn; `None` if none was drawn.
    #[serde(default)]
    pub policy_propensity: Option<f64>,
}

/// A response in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// Which.
    pub response_id: String,
    /// Its place, 1 at the top.
    pub pos: u32,
    /// For how long it was in view, in milliseconds; 0 if it never was.
    pub shown_ms: u64,
}

/// Something that was done with a response, `t_ms` milliseconds after the list was shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[allow(missing_docs, reason = "the variants say it; the fields stand in the module's table")]
pub enum Event {
    /// It was opened.
    Click { response_id: String, t_ms: u64, visible_ms: Option<u64> },
    /// It was taken over: copied, inserted, accepted.
    Copy { response_id: String, t_ms: u64 },
    /// Another answer was asked for.
    Regenerate { response_id: String, t_ms: u64 },
    /// A thumb was given.
    Thumb { response_id: String, t_ms: u64, up: bool },
    /// The user rewrote it, as this text or as the response of this id.
    Edit { response_id: String, t_ms: u64, text: Option<String>, edited_id: Option<String> },
    /// It was left.
    Close { response_id: String, t_ms: u64, visible_ms: Option<u64> },
}

impl Event {
    /// The response that it concerns.
    pub fn response_id(&self) -> &str {
        match self {
            Self::Click { response_id, .. }
            | Self::Copy { response_id, .. }
            | Self::Regenerate { response_id, .. }
            | Self::Thumb { response_id, .. }
            | Self::Edit { response_id, .. }
            | Self::Close { response_id, .. } => response_id,
        }
    }

    /// Milliseconds since the list was shown.
    pub fn t_ms(&self) -> u64 {
        match self {
            Self::Click { t_ms, .. }
            | Self::Copy { t_ms, .. }
            | Self::Regenerate { t_ms, .. }
            | Self::Thumb { t_ms, .. }
            | Self::Edit { t_ms, .. }
            | Self::Close { t_ms, .. } => *t_ms,
        }
    }

    /// For how long the response was open and visible, as far as this event knows.
    pub fn visible_ms(&self) -> Option<u64> {
        match self {
            Self::Click { visible_ms, .. } | Self::Close { visible_ms, .. } => *visible_ms,
            _ => None,
        }
    }
}

impl Impression {
    /// Whether a response was clicked.
    pub fn is_clicked(&self, response: &str) -> bool {
        self.events.iter().any(
            |event| matches!(event, Event::Click { response_id, .. } if response_id == response),
        )
    }

    /// Whether chance had a say in the order.
    pub fn is_randomised(&self) -> bool {
        self.policy_propensity.is_some_and(|propensity| propensity < 1.0)
    }

    /// For how long a response was open and visible: the longest that an event knows of.
    pub fn visible_ms(&self, response: &str) -> Option<u64> {
        let events = self.events.iter().filter(|event| event.response_id() == response);
        events.filter_map(Event::visible_ms).max()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A list of `p` that a user of its own saw for a minute, with these clicks after ten seconds.
    pub(in crate::implicit) fn impression(
        number: usize,
        responses: &[String],
        clicks: &[&str],
    ) -> Impression {
        let item =
            |(pos, id): (u32, &String)| Item { response_id: id.clone(), pos, shown_ms: 60_000 };
        let click = |id: &&str| Event::Click {
            response_id: (*id).to_owned(),
            t_ms: 10_000,
            visible_ms: None,
        };
        Impression {
            v: 1,
            ts_ms: number as u64,
            session: format!("s{number}"),
            user_hash: format!("u{number}"),
            request_id: format!("r{number}"),
            prompt_id: "p".into(),
            items: (1..).zip(responses).map(item).collect(),
            events: clicks.iter().map(click).collect(),
            policy_propensity: None,
        }
    }

    #[test]
    fn the_longest_time_that_an_event_knows_of_counts() {
        let mut impression = impression(0, &["a".into(), "b".into()], &["a"]);
        assert_eq!(impression.visible_ms("a"), None);
        for visible_ms in [Some(3), Some(7), None] {
            let response_id = "a".into();
            impression.events.push(Event::Close { response_id, t_ms: 1, visible_ms });
        }
        assert_eq!((impression.visible_ms("a"), impression.visible_ms("b")), (Some(7), None));
        assert!(impression.is_clicked("a") && !impression.is_clicked("b"));
    }
}
