//! Values of columns as what they stand for.

use serde_json::{Map, Value};

use super::{found, shortened};
use crate::example::Content;
use crate::rows::json;

/// The columns of a row; those that are taken out have a meaning, the others are kept.
pub(super) struct Columns(pub(super) Map<String, Value>);

impl Columns {
    /// A column that must be there.
    pub(super) fn need(&mut self, name: &str) -> Result<Value, String> {
        match self.0.get_mut(name).map(Value::take) {
            None => Err(format!("no column `{name}`; found {}", found(&self.0))),
            Some(Value::Null) => Err(format!("`{name}` is null")),
            Some(value) => Ok(value),
        }
    }

    /// A column that may be missing or null.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.0.get_mut(name).map(Value::take).filter(|value| !value.is_null())
    }

    /// What is left once some columns have been taken.
    pub(super) fn rest(self, used: &[&str]) -> Map<String, Value> {
        self.0.into_iter().filter(|(name, _)| !used.contains(&name.as_str())).collect()
    }

    pub(super) fn text(&mut self, name: &str) -> Result<String, String> {
        text(name, self.need(name)?)
    }

    pub(super) fn content(&mut self, name: &str) -> Result<Content, String> {
        match self.need(name)? {
            Value::String(text) => Ok(Content::Text(text)),
            Value::Array(messages) => messages_of(name, messages).map(Content::Messages),
            other => Err(format!(
                "`{name}` is {}; it must be a text or a list of messages",
                json::kind(&other)
            )),
        }
    }

    /// `true` or `false`, as tables write them, too.
    pub(super) fn label(&mut self, name: &str) -> Result<bool, String> {
        let value = self.need(name)?;
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        match text.trim() {
            "true" | "True" | "1" | "1.0" => Ok(true),
            "false" | "False" | "0" | "0.0" => Ok(false),
            other => Err(format!("`{name}` is {}; it must be true or false", shortened(other))),
        }
    }

    pub(super) fn margin(&mut self) -> Result<Option<f32>, String> {
        self.number("margin", "a finite number", f32::is_finite)
    }

    pub(super) fn probability(&mut self) -> Result<Option<f32>, String> {
        let is_one = |it: f32| (0.0..=1.0).contains(&it);
        self.number("chosen_probability", "a number from 0 to 1", is_one)
    }

    pub(super) fn weight(&mut self) -> Result<Option<f32>, String> {
        let is_one = |it: f32| it.is_finite() && it > 0.0;
        self.number("weight", "a finite number above 0", is_one)
    }

    pub(super) fn score(&mut self) -> Result<f32, String> {
        let score = self.number("score", "a finite number", f32::is_finite)?;
        score.ok_or_else(|| "`score` is empty; it must be a finite number".into())
    }

    /// A number of some kind, as tables write it, too; it may be missing, null or empty.
    fn number(
        &mut self,
        name: &str,
        kind: &str,
        is_one: impl Fn(f32) -> bool,
    ) -> Result<Option<f32>, String> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let number = match &value {
            Value::String(text) if text.trim().is_empty() => return Ok(None),
            Value::String(text) => text.trim().parse().ok(),
            other => other.as_f64(),
        };
        let number = number.map(|it| it as f32).filter(|it| is_one(*it));
        let refusal =
            || format!("`{name}` is {}; it must be {kind}", shortened(&value.to_string()));
        number.map(Some).ok_or_else(refusal)
    }

    /// Lists of texts or of messages, which many files hold as a text of JSON.
    pub(super) fn contents(&mut self, name: &str) -> Result<Vec<Content>, String> {
        let content = |value| match value {
            Value::String(text) => Ok(Content::Text(text)),
            Value::Array(messages) => messages_of(name, messages).map(Content::Messages),
            other => Err(format!(
                "`{name}` holds {}; it must hold texts or lists of messages",
                json::kind(&other)
            )),
        };
        self.list(name)?.into_iter().map(content).collect()
    }

    /// Places in a ranking, whole numbers from 0.
    pub(super) fn ranks(&mut self) -> Result<Vec<u32>, String> {
        let rank = |value: Value| {
            let rank = value.as_f64().filter(|it| it.fract() == 0.0 && *it >= 0.0 && *it <= 1e6);
            let refusal = || {
                let value = shortened(&value.to_string());
                format!("`ranks` holds {value}; it must hold whole numbers, of which 1 is the best")
            };
            rank.map(|it| it as u32).ok_or_else(refusal)
        };
        self.list("ranks")?.into_iter().map(rank).collect()
    }

    fn list(&mut self, name: &str) -> Result<Vec<Value>, String> {
        match self.structured(name)? {
            Some(Value::Array(values)) => Ok(values),
            Some(other) => Err(format!("`{name}` is {}; it must be a list", json::kind(&other))),
            None => Err(format!("`{name}` is empty; it must be a list")),
        }
    }

    /// A list or an object, which many files hold as a text of JSON.
    pub(super) fn structured(&mut self, name: &str) -> Result<Option<Value>, String> {
        let value = match self.take(name) {
            Some(Value::String(text)) if text.trim().is_empty() => return Ok(None),
            Some(Value::String(text)) => {
                json::value(text.as_bytes()).map_err(|reason| format!("`{name}`: {reason}"))?
            }
            Some(value) => value,
            None => return Ok(None),
        };
        let is_empty = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
        Ok((!is_empty).then_some(value))
    }
}

pub(super) fn text(name: &str, value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(format!("`{name}` is {}; it must be a text", json::kind(&other))),
    }
}

/// Messages with a role each. Columnar files give every message the members of all: those that are null
/// weren't there.
pub(super) fn messages_of(name: &str, messages: Vec<Value>) -> Result<Vec<Value>, String> {
    if messages.is_empty() {
        return Err(format!("`{name}` holds no messages"));
    }
    messages
        .into_iter()
        .zip(1..)
        .map(|(message, number)| one_message(name, number, message))
        .collect()
}

fn one_message(name: &str, number: usize, message: Value) -> Result<Value, String> {
    let Value::Object(mut message) = message else {
        let kind = json::kind(&message);
        return Err(format!("`{name}`, message {number} is {kind}; it must be an object"));
    };
    message.retain(|member, value| !value.is_null() || member == "content");
    match message.get("role") {
        Some(Value::String(_)) => Ok(message.into()),
        _ => Err(format!("`{name}`, message {number} has no `role`; found {}", found(&message))),
    }
}
