use std::collections::BTreeMap;
use std::path::Path;

use rein_data::rows::{Format, Row, Rows};
use serde_json::{Map, Value, json};

use super::{RANK, REASONS, USER};
use crate::crowd::form::rank;
use crate::crowd::import::{Filled, Imported, Sheet, import};
use crate::error::FeedbackError;
use crate::store::Store;

/// Reads records of Argilla.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Import;

impl Import {
    /// Reads the responses of a project's records (`records.json`) in one transaction. One that was read before is passed over,
    /// so that records can be read again when more has come.
    ///
    /// # Errors
    /// A file that can't be read, and a record of something else; then nothing is changed.
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
        import(store, project, USER, file, sheets)
    }
}

fn sheet(row: &Row) -> Result<Sheet, String> {
    let id = record(row)?;
    let others = json!({ "status": row.columns.get("status") });
    let filled = |(by, fields): (String, BTreeMap<String, String>)| Filled {
        id: format!("{id}:{by}"),
        by,
        fields,
        is_rejected: false,
        active_ms: None,
        others: others.clone(),
    };
    let answers = by_user(row)?.into_iter().map(filled).collect();
    Ok(Sheet { place: row.place, inputs: texts(row, "metadata")?, answers })
}

/// The server's number of a record, or its name.
fn record(row: &Row) -> Result<String, String> {
    let text = |name: &str| row.columns.get(name).and_then(Value::as_str);
    let id = text("_server_id").or_else(|| text("id"));
    id.map(str::to_owned).ok_or_else(|| "a record has neither `_server_id` nor `id`".into())
}

fn object<'a>(row: &'a Row, name: &str) -> Result<Option<&'a Map<String, Value>>, String> {
    match row.columns.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let object = value.as_object();
            object.map(Some).ok_or_else(|| format!("`{name}` is no object"))
        }
    }
}

fn texts(row: &Row, name: &str) -> Result<BTreeMap<String, String>, String> {
    let members = object(row, name)?.into_iter().flatten();
    Ok(members.filter_map(|(name, it)| Some((name.clone(), it.as_str()?.to_owned()))).collect())
}

/// The fields that each user filled in. Responses stand by question.
fn by_user(row: &Row) -> Result<BTreeMap<String, BTreeMap<String, String>>, String> {
    let mut users: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for (question, responses) in object(row, "responses")?.into_iter().flatten() {
        let responses = responses.as_array().ok_or("`responses` aren't lists by question")?;
        for response in responses {
            let user = response["user_id"].as_str().ok_or("a response has no `user_id`")?;
            let fields = users.entry(user.to_owned()).or_default();
            add_field(fields, question, &response["value"]);
        }
    }
    Ok(users)
}

fn add_field(fields: &mut BTreeMap<String, String>, question: &str, value: &Value) {
    match value {
        Value::String(text) => drop(fields.insert(question.into(), text.clone())),
        Value::Number(number) => drop(fields.insert(question.into(), number.to_string())),
        Value::Array(values) if question == RANK => add_ranks(fields, values),
        Value::Array(values) if question == REASONS => {
            for reason in values.iter().filter_map(Value::as_str) {
                fields.insert(reason.into(), "yes".into());
            }
        }
        _ => {}
    }
}

/// The server says `{"value": …, "rank": …}`, the SDK may say nothing but the order.
fn add_ranks(fields: &mut BTreeMap<String, String>, values: &[Value]) {
    for (place, value) in values.iter().enumerate() {
        let (item, place) = match value {
            Value::String(item) => (item.as_str(), Some(place as u64 + 1)),
            value => (value["value"].as_str().unwrap_or_default(), value["rank"].as_u64()),
        };
        let number = item.strip_prefix("response_").and_then(|it| it.parse().ok());
        if let (Some(number), Some(place)) = (number, place) {
            fields.insert(rank(number), place.to_string());
        }
    }
}
