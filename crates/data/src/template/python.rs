//! Values as Python writes them.

use std::fmt::{self, Write};

use minijinja::Value;
use minijinja::value::ValueKind;

/// `str(value)`
pub(super) fn write_str(out: &mut dyn Write, value: &Value) -> fmt::Result {
    match value.as_str() {
        Some(text) => out.write_str(text),
        None if value.is_undefined() => Ok(()),
        None => write_repr(out, value),
    }
}

/// `repr(value)`
fn write_repr(out: &mut dyn Write, value: &Value) -> fmt::Result {
    match value.kind() {
        ValueKind::None | ValueKind::Undefined => out.write_str("None"),
        ValueKind::Bool => out.write_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::String => write_quoted(out, value.as_str().unwrap_or_default()),
        ValueKind::Seq | ValueKind::Iterable => {
            write_items(out, ['[', ']'], value, |out, item| write_repr(out, &item))
        }
        ValueKind::Map => write_items(out, ['{', '}'], value, |out, key| {
            write_repr(out, &key)?;
            out.write_str(": ")?;
            write_repr(out, &value.get_item(&key).unwrap_or_default())
        }),
        _ => write!(out, "{value}"),
    }
}

/// Python prefers single quotes, and takes double ones for a text that holds single ones only.
fn write_quoted(out: &mut dyn Write, text: &str) -> fmt::Result {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.write_char(quote)?;
    for letter in text.chars() {
        match letter {
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            '\\' => out.write_str("\\\\")?,
            _ if letter == quote => write!(out, "\\{letter}")?,
            _ => out.write_char(letter)?,
        }
    }
    out.write_char(quote)
}

/// `json.dumps(value, ensure_ascii=False)`: separators are followed by spaces, nothing is escaped that
/// JSON allows. With `indent`, each item stands on a line of its own.
pub(super) fn write_json(
    out: &mut dyn Write,
    value: &Value,
    indent: Option<usize>,
    depth: usize,
) -> fmt::Result {
    let line = |out: &mut dyn Write, depth: usize| match indent {
        Some(width) => write!(out, "\n{:1$}", "", width * depth),
        None => Ok(()),
    };
    let [open, close] = match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => ["[", "]"],
        ValueKind::Map => ["{", "}"],
        ValueKind::None | ValueKind::Undefined => return out.write_str("null"),
        _ => {
            // Texts, numbers, true and false are the same in both languages.
            let text = serde_json::to_string(value).map_err(|_| fmt::Error)?;
            return out.write_str(&text);
        }
    };
    out.write_str(open)?;
    let mut is_empty = true;
    for item in value.try_iter().map_err(|_| fmt::Error)? {
        if !is_empty {
            out.write_str(if indent.is_some() { "," } else { ", " })?;
        }
        is_empty = false;
        line(out, depth + 1)?;
        if open == "{" {
            let key = item.as_str().map_or_else(|| item.to_string(), str::to_owned);
            write!(out, "{}: ", serde_json::Value::from(key))?;
            write_json(out, &value.get_item(&item).unwrap_or_default(), indent, depth + 1)?;
        } else {
            write_json(out, &item, indent, depth + 1)?;
        }
    }
    if !is_empty {
        line(out, depth)?;
    }
    out.write_str(close)
}

fn write_items(
    out: &mut dyn Write,
    [open, close]: [char; 2],
    value: &Value,
    write: impl Fn(&mut dyn Write, Value) -> fmt::Result,
) -> fmt::Result {
    out.write_char(open)?;
    for (number, item) in value.try_iter().map_err(|_| fmt::Error)?.enumerate() {
        if number > 0 {
            out.write_str(", ")?;
        }
        write(out, item)?;
    }
    out.write_char(close)
}
