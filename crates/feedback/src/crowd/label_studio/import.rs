use std::collections::BTreeMap;
use std::path::Path;

use rein_data::rows::{Format, Row, Rows};
use serde_json::{Map, Value, json};

use super::ANNOTATOR;
use crate::crowd::given::given;
use crate::crowd::import::{From, Imported, active_ms, add, asked};
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
        let (settings, tasks) = asked(store, project)?;
        store.change(|change| {
            let mut done = Imported::default();
            for row in Rows::open_as(file, Format::Json)? {
                let row = row?;
                let refuse = |reason: String| row.place.refuse(file, reason);
                let (inputs, annotations) = annotations(&row).map_err(refuse)?;
                for it in annotations {
                    if it.was_cancelled {
                        done.n_rejected += 1;
                        continue;
                    }
                    let given = given(&inputs, &it.fields, &settings, &tasks).map_err(refuse)?;
                    let from = From {
                        platform: ANNOTATOR,
                        worker: &it.by,
                        answer: &it.id,
                        active_ms: it.lead_time.and_then(active_ms),
                        others: it.others,
                    };
                    let added = add(change, project, &from, given, &mut done);
                    added.map_err(|error| match error {
                        FeedbackError::Refused(refusal) => refuse(refusal.to_string()).into(),
                        other => other,
                    })?;
                }
            }
            Ok(done)
        })
    }
}

struct Annotation {
    id: String,
    by: String,
    was_cancelled: bool,
    /// In seconds.
    lead_time: Option<f64>,
    fields: BTreeMap<String, String>,
    others: Value,
}

/// What was sent with a task, and what was said of it.
fn annotations(row: &Row) -> Result<(BTreeMap<String, String>, Vec<Annotation>), String> {
    let columns = &row.columns;
    let Some(data) = columns.get("data") else { return short(columns) };
    let data = data.as_object().ok_or("`data` is no object")?;
    let found = match columns.get("annotations").or_else(|| columns.get("completions")) {
        Some(Value::Array(found)) => found.iter().map(annotation).collect::<Result<_, _>>()?,
        Some(_) => return Err("`annotations` is no list".into()),
        None => Vec::new(),
    };
    Ok((texts(data), found))
}

fn annotation(value: &Value) -> Result<Annotation, String> {
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
    Ok(Annotation {
        id,
        by,
        was_cancelled: value["was_cancelled"].as_bool().unwrap_or(false),
        lead_time: value["lead_time"].as_f64(),
        fields,
        others: Value::Object(others.collect()),
    })
}

/// JSON-MIN: data and fields of one annotation in one object.
fn short(
    columns: &Map<String, Value>,
) -> Result<(BTreeMap<String, String>, Vec<Annotation>), String> {
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
    let one = Annotation { id, by, was_cancelled: false, lead_time, fields, others };
    Ok((texts(columns), vec![one]))
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
