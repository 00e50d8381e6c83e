//! JSON that means one thing only: no key twice, not too deep, not too large in memory.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::{Map, Number, Value};

/// Deeper nesting is refused.
const MAX_DEPTH: usize = 64;
/// More values in one row are refused: each takes far more memory than its text.
const MAX_VALUES: usize = 1 << 20;

/// The object that a line or an element holds, or why it isn't one.
pub(crate) fn object(bytes: &[u8]) -> Result<Map<String, Value>, String> {
    match value(bytes)? {
        Value::Object(columns) => Ok(columns),
        other => Err(format!("a row is an object by column, not {}", kind(&other))),
    }
}

/// The value that these bytes hold.
pub(crate) fn value(bytes: &[u8]) -> Result<Value, String> {
    let text = str::from_utf8(bytes).map_err(|error| format!("not UTF-8: {error}"))?;
    let mut json = serde_json::Deserializer::from_str(text);
    let budget = Cell::new(MAX_VALUES);
    let strict = Strict { depth: MAX_DEPTH, budget: &budget };
    let value = strict.deserialize(&mut json).and_then(|value| json.end().map(|()| value));
    value.map_err(|error| reason(&error))
}

/// What is wrong with a row. It is the whole document for serde: its own line number would mislead.
pub(crate) fn reason(error: &serde_json::Error) -> String {
    let reason = error.to_string();
    let reason = reason.split(" at line ").next().unwrap_or(&reason);
    match error.classify() {
        Category::Data => format!("{reason} (column {})", error.column()),
        _ => format!("not JSON: {reason}; write one whole object on each line"),
    }
}

/// What a value is, for people.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[derive(Clone, Copy)]
struct Strict<'a> {
    /// Levels that may still be opened.
    depth: usize,
    /// Values that may still come.
    budget: &'a Cell<usize>,
}

impl Strict<'_> {
    fn below<E: Error>(self) -> Result<Self, E> {
        let Some(depth) = self.depth.checked_sub(1) else {
            return Err(E::custom(format!("nested deeper than {MAX_DEPTH} levels")));
        };
        Ok(Self { depth, ..self })
    }

    fn count<E: Error>(self) -> Result<(), E> {
        let Some(left) = self.budget.get().checked_sub(1) else {
            return Err(E::custom(format!("more than {MAX_VALUES} values in one row")));
        };
        self.budget.set(left);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, json: D) -> Result<Value, D::Error> {
        self.count()?;
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(below)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut object = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            if object.contains_key(&key) {
                return Err(A::Error::custom(format!("the key `{key}` stands there twice")));
            }
            object.insert(key, members.next_value_seed(below)?);
        }
        Ok(Value::Object(object))
    }
}
