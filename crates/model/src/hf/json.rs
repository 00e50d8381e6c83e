//! JSON objects that came with a checkpoint, read strictly.
//!
//! A key that stands twice means one thing to one reader and another thing to the next; it is an
//! error here. Nesting is limited by the parser, size by whoever reads the file.

use std::fmt;
use std::path::Path;

use rein_data::model_folder;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::ModelError;

/// Larger configs are refused.
pub(super) const MAX_CONFIG_BYTES: u64 = 1 << 20;
/// How much of a name or value an error repeats, and how long its reason becomes.
const MAX_SHOWN: usize = 80;
const MAX_REASON: usize = 300;

/// Reads the object in the file `name` of a model's folder.
pub(super) fn read_object(folder: &Path, name: &str) -> Result<Map<String, Value>, ModelError> {
    let bytes = model_folder::read(folder, name, MAX_CONFIG_BYTES)?;
    parse_object(&bytes).map_err(|reason| ModelError::checkpoint(folder.join(name), reason))
}

/// An object, the whole of `bytes`.
pub(crate) fn parse_object(bytes: &[u8]) -> Result<Map<String, Value>, String> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Strict.deserialize(&mut deserializer).map_err(reason)?;
    deserializer.end().map_err(reason)?;
    match value {
        Value::Object(map) => Ok(map),
        other => Err(format!("is {}, not an object", shown_value(&other))),
    }
}

/// A name out of a file, fit for an error: short, and without control characters.
pub(super) fn shown(name: &str) -> String {
    printable(name, MAX_SHOWN)
}

/// What a parser says, fit for an error: it repeats what it found.
pub(super) fn reason(error: impl fmt::Display) -> String {
    printable(&error.to_string(), MAX_REASON)
}

fn printable(text: &str, max_chars: usize) -> String {
    let mut printable = String::new();
    for char in text.chars().take(max_chars) {
        if char.is_control() {
            printable.extend(char.escape_default());
        } else {
            printable.push(char);
        }
    }
    if text.chars().nth(max_chars).is_some() {
        printable.push('…');
    }
    printable
}

/// A value out of a file, fit for an error.
pub(super) fn shown_value(value: &Value) -> String {
    match value {
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "an object".into(),
        Value::String(text) => format!("\"{}\"", shown(text)),
        plain => plain.to_string(),
    }
}

/// A key that stood before.
pub(super) fn twice<E: Error>(key: &str) -> E {
    E::custom(format!("`{}` stands there twice", shown(key)))
}

/// Reads any value, without duplicate keys.
struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = items.next_element_seed(Self)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(Self)?;
            if map.contains_key(&key) {
                return Err(twice(&key));
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_read_as_they_are_and_keys_stand_once() {
        let text = r#"{"a": [1, -2, 1e-6, null, true], "b": {"c": "d"}}"#;
        let plain: Map<String, Value> = serde_json::from_str(text).expect("is JSON");
        assert_eq!(parse_object(text.as_bytes()), Ok(plain));
        let refused = |text: &str| parse_object(text.as_bytes()).expect_err("is refused");
        assert!(refused(r#"{"a": {"b": 1, "b": 1}}"#).starts_with("`b` stands there twice"));
        assert_eq!(refused("[]"), "is a list, not an object");
        assert!(refused("{} {}").starts_with("trailing characters"));
        assert!(refused(&"{\"a\":".repeat(1000)).starts_with("recursion limit exceeded"));
        assert_eq!(shown("a\u{1b}[31m"), "a\\u{1b}[31m");
    }
}
