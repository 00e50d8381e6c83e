use std::collections::BTreeMap;
use std::path::Path;

use rein_data::rows::{Format, Row, Rows};
use serde_json::{Map, Value, json};

use super::ANNOTATOR;
use crate::crowd::import::{Filled, Imported, Sheet, active_ms, import};
use crate::error::FeedbackError;
use crate::store::Store;

/// Reads an export of Label Studio.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Import;

impl Import {
    /// Reads annotations of a project's tasks in one transaction. One that was read before is passed over, so that an export
    /// can be read again when more has come; one that was skipped (`was_cancelled`) is counted and not read. What means
    /// nothing here is kept as an event.
    ///
    /// # Errors
    /// A file that can't be read, and a task of something else; then nothing is changed.
    pub fn run(
        &self,
        store: &mut Store,
        project: &str,
        file: &Path,
    ) -> Result<Imported, FeedbackError> {
        let sheets = Rows::open_as(file, Format::Json)?.map(|row| {
            let row = row?;
            let read = sheet(&row);
            read.map_err(|reason| row.place.refuse(file, reason))
        });
        import(store, project, ANNOTATOR, file, sheets)
    }
}

/// What was sent with a task, and what was said of it.
fn sheet(row: &Row) -> Result<Sheet, String> {
    let columns = &row.columns;
    let Some(data) = columns.get("data") else { return short(row) };
    let data = data.as_object().ok_or("`data` is no object")?;
    let answers = match columns.get("annotations") {
        Some(Value::Array(found)) => found.iter().map(annotation).collect::<Result<_, _>>()?,
        Some(_) => return Err("`annotations` is no list".into()),
        None => Vec::new(),
    };
    Ok(Sheet { place: row.place, inputs: texts(data), answers })
}

fn annotation(value: &Value) -> Result<Filled, String> {
    let id = number(&value["id"]).ok_or("an annotation has no `id`")?;
    let by = &value["completed_by"];
    let by = number(by).or_else(|| number(&by["id"]));
    let by = by.ok_or_else(|| format!("annotation {id} has no `completed_by`"))?;
    let results = value["result"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut fields = BTreeMap::new();
    for result in results {
        let Some(name) = result["from_name"].as_str() else { continue };
        let kind = result["type"].as_str().unwrap_or_default();
        // `"type": "choices", "value": {"choices": […]}`, and so for all kinds.
        add_field(&mut fields, name, &result["value"][kind]);
    }
    let others = ["created_at", "updated_at", "ground_truth", "lead_time", "unique_id"];
    let others = others.iter().filter_map(|name| Some(((*name).into(), value.get(*name)?.clone())));
    Ok(Filled {
        id,
        by,
        is_rejected: value["was_cancelled"].as_bool().unwrap_or(false),
        active_ms: value["lead_time"].as_f64().and_then(active_ms),
        fields,
        others: Value::Object(others.collect()),
    })
}

/// JSON-MIN: data and fields of one annotation in one object.
fn short(row: &Row) -> Result<Sheet, String> {
    let columns = &row.columns;
    let need = |name: &str| {
        let found = columns.get(name).and_then(number);
        found.ok_or_else(|| format!("neither `data` nor `{name}`; export as JSON or JSON-MIN"))
    };
    let (id, by) = (need("annotation_id")?, need("annotator")?);
    let mut fields = BTreeMap::new();
    for (name, value) in columns {
        add_field(&mut fields, name, value.get("choices").unwrap_or(value));
    }
    let lead_time = columns.get("lead_time").and_then(Value::as_f64);
    let others = json!({ "lead_time": lead_time });
    let active_ms = lead_time.and_then(active_ms);
    let one = Filled { id, by, is_rejected: false, active_ms, fields, others };
    Ok(Sheet { place: row.place, inputs: texts(columns), answers: vec![one] })
}

/// A text, a number, or several choices of which each is ticked.
fn add_field(fields: &mut BTreeMap<String, String>, name: &str, value: &Value) {
    match value {
        Value::String(text) => drop(fields.insert(name.into(), text.clone())),
        Value::Number(number) => drop(fields.insert(name.into(), number.to_string())),
        Value::Array(values) => match values.as_slice() {
            [one] => add_field(fields, name, one),
            several => several.iter().filter_map(Value::as_str).for_each(|option| {
                fields.insert(format!("{name}.{option}"), "true".into());
            }),
        },
        _ => {}
    }
}

fn texts(data: &Map<String, Value>) -> BTreeMap<String, String> {
    let texts = data.iter().filter_map(|(name, it)| Some((name.clone(), it.as_str()?.to_owned())));
    texts.collect()
}

/// A number or a text that stands for one.
fn number(value: &Value) -> Option<String> {
    match value {
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        _ => None,
    }
}
