//! What makes a line of the log usable.

use std::collections::BTreeSet;

use super::events::{Event, Impression, Item};

/// Items in a list; more are refused.
const MAX_ITEMS: usize = 64;
/// Events on one list; more are refused.
const MAX_EVENTS: usize = 4096;
/// The lowest place that is told from others.
const MAX_POSITION: u32 = 1000;
/// Bytes of a name.
const MAX_ID_BYTES: usize = 256;

impl Impression {
    /// Orders the items from the top, or says why the line can't be used.
    pub(crate) fn checked(mut self) -> Result<Self, String> {
        self.check_names()?;
        self.check_items()?;
        self.check_events()?;
        if self.policy_propensity.is_some_and(|it| !(it > 0.0 && it <= 1.0)) {
            return Err("`policy_propensity` is a probability above 0 and up to 1, or null".into());
        }
        self.items.sort_by_key(|item| item.pos);
        Ok(self)
    }

    fn check_names(&self) -> Result<(), String> {
        let names = [
            ("session", &self.session),
            ("user_hash", &self.user_hash),
            ("request_id", &self.request_id),
            ("prompt_id", &self.prompt_id),
        ];
        names.into_iter().try_for_each(|(key, name)| check_name(key, name))
    }

    fn check_items(&self) -> Result<(), String> {
        if !(1..=MAX_ITEMS).contains(&self.items.len()) {
            let found = self.items.len();
            return Err(format!("`items` holds 1 to {MAX_ITEMS} responses, not {found}"));
        }
        let (mut positions, mut responses) = (BTreeSet::new(), BTreeSet::new());
        for Item { response_id, pos, .. } in &self.items {
            check_name("response_id", response_id)?;
            if !(1..=MAX_POSITION).contains(pos) {
                return Err(format!("`pos` counts from 1 at the top to {MAX_POSITION}, not {pos}"));
            }
            if !positions.insert(*pos) {
                return Err(format!("two items stand at `pos` {pos}"));
            }
            if !responses.insert(response_id) {
                return Err(format!("the response `{response_id}` stands in the list twice"));
            }
        }
        Ok(())
    }

    fn check_events(&self) -> Result<(), String> {
        if self.events.len() > MAX_EVENTS {
            let found = self.events.len();
            return Err(format!("`events` holds up to {MAX_EVENTS} events, not {found}"));
        }
        self.events.iter().try_for_each(|event| self.check_event(event))
    }

    fn check_event(&self, event: &Event) -> Result<(), String> {
        let response = event.response_id();
        if !self.items.iter().any(|item| item.response_id == response) {
            return Err(format!("an event concerns `{response}`, which isn't in `items`"));
        }
        match event {
            Event::Edit { text: Some(_), edited_id: None, .. } => Ok(()),
            Event::Edit { text: None, edited_id: Some(id), .. } => check_name("edited_id", id),
            Event::Edit { .. } => Err("an edit has either `text` or `edited_id`".into()),
            _ => Ok(()),
        }
    }
}

fn check_name(key: &str, name: &str) -> Result<(), String> {
    if (1..=MAX_ID_BYTES).contains(&name.len()) {
        Ok(())
    } else {
        Err(format!("`{key}` has 1 to {MAX_ID_BYTES} bytes, not {}", name.len()))
    }
}
