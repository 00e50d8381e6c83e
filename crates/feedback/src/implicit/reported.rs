//! What people did with the answers of a model that a server shows them.

use std::collections::BTreeMap;

use rein_data::example::Content;
use serde::Deserialize;
use serde_json::{Value, json};

use super::events::{Event, Impression, Item};
use super::log::parse;
use super::texts::Texts;
use crate::error::FeedbackError;
use crate::store::{Reported, sha256};

/// A sitting ends when nothing was asked for so long, in milliseconds.
const SITTING_MS: u64 = 30 * 60 * 1000;

/// A log, as far as the events of a server have one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Acts {
    /// Each answer that was shown by itself, and each list that another program reported.
    pub impressions: Vec<Impression>,
    /// Those that were given, and the texts of the answers.
    pub texts: Texts,
    /// Events that say nothing here, or can't be read: of other kinds, of answers that nobody was shown, of other people.
    pub n_passed_over: usize,
}

/// An answer that live mode showed.
#[derive(Deserialize)]
struct Answered {
    ts_ms: u64,
    request_id: String,
    prompt: Content,
    items: Vec<String>,
    /// Earlier versions didn't say it.
    #[serde(default)]
    finished: Vec<bool>,
    best: usize,
    asked: bool,
}

/// Reads [the events of a project](crate::Store::reported), in the order they came.
///
/// Where live mode didn't ask which of two answers is better, it showed one of them: that is an [`Impression`] of one item.
/// Acts on it count if the same person reported them. What another program reported as a whole line of a log is taken as it
/// is; its texts are among those given. People are known by a hash of their name, and a sitting of theirs ends when they ask nothing for half an hour.
///
/// # Errors
/// A name that has another text among those given.
pub fn acts(reported: &[Reported], texts: Texts) -> Result<Acts, FeedbackError> {
    let mut acts = Acts { texts, ..Acts::default() };
    let mut shown: BTreeMap<String, Shown> = BTreeMap::new();
    let mut sittings: BTreeMap<&str, Sitting> = BTreeMap::new();
    for Reported { annotator, event } in reported {
        let who = annotator.as_deref().unwrap_or_default();
        let is_read = match event["type"].as_str() {
            Some("live") => match Answered::of(event) {
                Some(answered) => {
                    let sitting = sittings.entry(who).or_default().at(answered.ts_ms);
                    let known = acts.shown(answered, who, sitting)?;
                    shown.extend(known);
                    true
                }
                None => false,
            },
            Some(_) => acts.acted(&shown, who, event),
            None => acts.listed(event),
        };
        acts.n_passed_over += usize::from(!is_read);
    }
    // What can't be a line of a log is none.
    let n_before = acts.impressions.len();
    acts.impressions = acts.impressions.into_iter().filter_map(|it| it.checked().ok()).collect();
    acts.n_passed_over += n_before - acts.impressions.len();
    Ok(acts)
}

/// Where an answer stands among the impressions, and which one it was.
struct Shown {
    place: usize,
    best: usize,
    who: String,
}

/// How many sittings somebody had, and when the last question was.
#[derive(Default)]
struct Sitting {
    number: usize,
    last_ms: u64,
}

impl Sitting {
    fn at(&mut self, ts_ms: u64) -> usize {
        self.number += usize::from(ts_ms.saturating_sub(self.last_ms) > SITTING_MS);
        self.last_ms = ts_ms;
        self.number
    }
}

impl Answered {
    fn of(event: &Value) -> Option<Self> {
        let answered = Self::deserialize(event).ok()?;
        answered.items.get(answered.best)?;
        Some(answered)
    }
}

impl Acts {
    /// An answer by itself; where somebody was asked, the judgement says it all.
    fn shown(
        &mut self,
        answered: Answered,
        who: &str,
        sitting: usize,
    ) -> Result<Option<(String, Shown)>, FeedbackError> {
        let Answered { ts_ms, request_id, prompt, items, finished, best, asked } = answered;
        if asked {
            return Ok(None);
        }
        let prompt_id = match &prompt {
            Content::Text(text) => sha256(text),
            messages => sha256(&serde_json::to_string(messages).expect("plain JSON")),
        };
        let response_id = format!("{request_id}/{best}");
        self.texts.add(&prompt_id, prompt, &response_id, items[best].as_str())?;
        if finished.get(best) == Some(&false) {
            self.texts.add_cut(&response_id);
        }
        let user_hash = sha256(who);
        self.impressions.push(Impression {
            v: super::VERSION,
            ts_ms,
            session: format!("{user_hash}/{sitting}"),
            user_hash,
            request_id: request_id.clone(),
            prompt_id,
            items: vec![Item { response_id, pos: 1, shown_ms: 0 }],
            events: Vec::new(),
            policy_propensity: None,
        });
        let place = self.impressions.len() - 1;
        Ok(Some((request_id, Shown { place, best, who: who.into() })))
    }

    /// An act on an answer.
    fn acted(&mut self, shown: &BTreeMap<String, Shown>, who: &str, event: &Value) -> bool {
        let of = event["request_id"].as_str().and_then(|id| shown.get(id));
        let Some(of) = of.filter(|it| it.who == who && event["item"] == json!(it.best)) else {
            return false;
        };
        let impression = &mut self.impressions[of.place];
        let item = &mut impression.items[0];
        let mut act = event.clone();
        let Some(keys) = act.as_object_mut() else { return false };
        ["v", "request_id", "item"].iter().for_each(|key| drop(keys.remove(*key)));
        keys.insert("response_id".into(), json!(item.response_id));
        let Ok(act) = serde_json::from_value::<Event>(act) else { return false };
        item.shown_ms = item.shown_ms.max(act.visible_ms().unwrap_or_default());
        impression.events.push(act);
        true
    }

    /// A line of a log.
    fn listed(&mut self, event: &Value) -> bool {
        let Ok(impression) = parse(event.clone()) else { return false };
        self.impressions.push(impression);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::implicit::{HarvestConfig, ImplicitPair, Reason, harvest};

    fn said(who: &str, event: Value) -> Reported {
        Reported { annotator: Some(who.into()), event }
    }

    fn live(who: &str, request: &str, minute: u64, texts: [&str; 2], asked: bool) -> Reported {
        let event = json!({
            "v": 1, "type": "live", "ts_ms": minute * 60_000, "request_id": request, "prompt": "P",
            "items": texts, "finished": texts.map(|it| it != "first"), "scores": [0.1, 0.2], "best": 1, "asked": asked, "why": {},
        });
        said(who, event)
    }

    fn act(who: &str, request: &str, mut event: Value) -> Reported {
        event["v"] = json!(1);
        event["request_id"] = json!(request);
        event["t_ms"] = json!(7);
        said(who, event)
    }

    #[test]
    fn what_became_of_answers_makes_pairs() {
        let reported = [
            live("ann", "r1", 1, ["x", "first"], false),
            act("ann", "r1", json!({"type": "regenerate", "item": 1})),
            act("ann", "r1", json!({"type": "close", "item": 1, "visible_ms": 900})),
            live("ann", "r2", 2, ["x", "second"], false),
            act("ann", "r2", json!({"type": "edit", "item": 1, "text": "better"})),
        ];
        let acts = acts(&reported, Texts::default()).expect("is read");
        assert_eq!((acts.impressions.len(), acts.n_passed_over), (2, 0));
        assert_eq!(acts.impressions[0].items[0].shown_ms, 900);
        let found = harvest(&acts.impressions, &acts.texts, &HarvestConfig::default());
        let pairs = found.expect("is harvested").pairs;
        let told: Vec<_> = pairs
            .iter()
            .map(|it| (it.reason, it.chosen.to_text(), it.rejected.to_text()))
            .collect();
        let kept = |reason, chosen: &str, rejected: &str| (reason, chosen.into(), rejected.into());
        assert!(told.contains(&kept(Reason::Regenerate, "second", "first")), "{told:?}");
        assert!(told.contains(&kept(Reason::Edit, "better", "second")), "{told:?}");
        let cut = |it: &ImplicitPair| (!it.chosen_finished, !it.rejected_finished);
        let regenerated = pairs.iter().find(|it| it.reason == Reason::Regenerate);
        assert_eq!(regenerated.map(cut), Some((false, true)), "the first was cut");
        assert_eq!(told.len(), 2);
    }

    #[test]
    fn what_became_of_answers_in_a_conversation_makes_rows_of_messages() {
        let talk = json!([{"role": "user", "content": "P"}]);
        let mut shown = live("ann", "r1", 1, ["x", "y"], false);
        shown.event["prompt"] = talk.clone();
        let text = live("ann", "r2", 2, ["x", "y"], false);
        let edit = |request| act("ann", request, json!({"type": "edit", "item": 1, "text": "z"}));
        let reported = [shown, text, edit("r1"), edit("r2")];
        let acts = acts(&reported, Texts::default()).expect("is read");
        let found = harvest(&acts.impressions, &acts.texts, &HarvestConfig::default());
        let rows = serde_json::to_value(found.expect("is harvested").pairs).expect("is written");
        assert_eq!(rows.as_array().map(Vec::len), Some(2), "{rows}");
        assert_eq!((&rows[0]["prompt"], &rows[0]["chosen"]), (&json!("P"), &json!("z")));
        assert_eq!(rows[1]["prompt"], talk);
        assert_eq!(rows[1]["rejected"], json!([{"role": "assistant", "content": "y"}]));
    }

    #[test]
    fn nobody_acts_for_somebody_else_or_on_what_was_not_shown() {
        let thumb = |item| json!({"type": "thumb", "item": item, "up": true});
        let reported = [
            live("ann", "r1", 1, ["x", "y"], false),
            act("bob", "r1", thumb(1)),
            act("ann", "r1", thumb(0)),
            act("ann", "r9", thumb(1)),
            act("ann", "r1", json!({"type": "thumb", "item": 1})),
            said("ann", json!({"type": "chat", "items": []})),
            said("ann", json!(["no event"])),
            live("ann", "r3", 1, ["x", "y"], true),
            act("ann", "r3", thumb(1)),
            act("ann", "r1", thumb(1)),
        ];
        let acts = acts(&reported, Texts::default()).expect("is read");
        assert_eq!((acts.impressions.len(), acts.n_passed_over), (1, 7));
        assert_eq!(acts.impressions[0].events.len(), 1);
        assert!(!acts.impressions[0].user_hash.contains("ann"));
    }

    #[test]
    fn who_comes_back_later_sits_anew() {
        let minutes = [1, 20, 60];
        let reported = minutes.map(|it| live("ann", &format!("r{it}"), it, ["x", "y"], false));
        let acts = acts(&reported, Texts::default()).expect("is read");
        let sessions: Vec<&str> = acts.impressions.iter().map(|it| it.session.as_str()).collect();
        assert!(sessions[0] == sessions[1] && sessions[1] != sessions[2]);
    }

    #[test]
    fn lists_of_other_programs_are_taken_as_they_are() {
        let list = json!({
            "v": 1, "ts_ms": 1, "session": "s", "user_hash": "u", "request_id": "r", "prompt_id": "p",
            "items": [{"response_id": "a", "pos": 1, "shown_ms": 9}], "events": [],
        });
        let acts = acts(&[Reported { annotator: None, event: list.clone() }], Texts::default())
            .expect("is read");
        assert_eq!(
            serde_json::to_value(&acts.impressions[0]).expect("is written")["items"],
            list["items"]
        );
    }
}
