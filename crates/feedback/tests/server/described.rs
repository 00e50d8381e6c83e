//! What the server's own description promises of each request and reply, and which of it was seen.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use jsonschema::Validator;
use regex::Regex;
use serde_json::{Map, Value, json};

use crate::running::{Reply, Running};

pub(crate) const DOCUMENT: &str = include_str!("../../src/serve/openapi.json");

/// Statuses of requests that are turned away before anybody reads their bodies.
const BEFORE_BODIES: [u16; 6] = [401, 403, 413, 415, 429, 500];

pub(crate) fn document() -> Value {
    serde_json::from_str(DOCUMENT).expect("JSON")
}

/// The description, and what was seen of it.
pub(crate) struct Described {
    document: Value,
    /// By where their schemas stand.
    validators: RefCell<HashMap<String, Rc<Validator>>>,
    /// As [`Operation::outcomes`] names them.
    seen: RefCell<BTreeSet<String>>,
}

/// An address and a method of it.
pub(crate) struct Operation<'a> {
    /// As in `POST /api/undo`.
    pub(crate) line: String,
    pub(crate) fields: &'a Map<String, Value>,
}

impl Operation<'_> {
    /// Where it stands in the document.
    fn pointer(&self) -> String {
        let (method, path) = self.line.split_once(' ').expect("a line");
        format!("/paths/{}/{}", escaped(path), method.to_lowercase())
    }

    /// Whether anybody may ask, without a token.
    pub(crate) fn is_open(&self) -> bool {
        self.fields["security"] == json!([])
    }

    pub(crate) fn has_body(&self) -> bool {
        self.fields.contains_key("requestBody")
    }

    /// Whether it describes such a reply, as in `403 bad_csrf`.
    pub(crate) fn describes(&self, outcome: &str) -> bool {
        self.outcomes().contains(&format!("{} {outcome}", self.line))
    }

    /// All that may come of it: a status with the code of an error or the type of a content, as in
    /// `POST /api/undo 409 key_taken`.
    pub(crate) fn outcomes(&self) -> BTreeSet<String> {
        let named = Regex::new("`([a-z_]+)`").expect("a pattern");
        let of_reply = |(status, reply): (&String, &Value)| {
            let text = reply["description"].as_str().expect("a sentence").to_owned();
            let names: Vec<String> = match reply["content"].as_object() {
                None => vec!["nothing".into()],
                Some(kinds) if status.as_str() < "400" => kinds.keys().cloned().collect(),
                Some(_) => named.captures_iter(&text).map(|it| it[1].to_owned()).collect(),
            };
            assert!(!names.is_empty(), "{} {status} has codes", self.line);
            let line = &self.line;
            names.into_iter().map(move |it| format!("{line} {status} {it}")).collect::<Vec<_>>()
        };
        self.fields["responses"].as_object().expect("responses").iter().flat_map(of_reply).collect()
    }
}

impl Described {
    pub(crate) fn new() -> Self {
        Self { document: document(), validators: RefCell::default(), seen: RefCell::default() }
    }

    pub(crate) fn operations(&self) -> Vec<Operation<'_>> {
        let mut found = Vec::new();
        for (path, methods) in self.document["paths"].as_object().expect("paths") {
            for (method, fields) in methods.as_object().expect("methods") {
                let fields = fields.as_object().expect("an operation");
                found.push(Operation { line: format!("{} {path}", method.to_uppercase()), fields });
            }
        }
        found
    }

    /// What this request line asks for.
    pub(crate) fn operation(&self, line: &str) -> Operation<'_> {
        let bare = line.split('?').next().expect("an address");
        let found = self.operations().into_iter().find(|it| it.line == bare);
        found.unwrap_or_else(|| panic!("{line} is described"))
    }

    /// All that may come of any operation, but for what was seen.
    pub(crate) fn unseen(&self) -> Vec<String> {
        let all = self.operations().into_iter().flat_map(|it| it.outcomes());
        all.filter(|it| !self.seen.borrow().contains(it)).collect()
    }

    /// Sends a request of a program, and holds it and its reply against the description.
    pub(crate) fn ask(
        &self,
        running: &Running,
        line: &str,
        token: &str,
        body: Option<&Value>,
    ) -> Reply {
        let reply = running.ask(line, token, body);
        self.check(line, body, &reply);
        reply
    }

    /// Holds a reply against what is said of its status. What was sent keeps its schema, too, or was refused.
    pub(crate) fn check(&self, line: &str, sent: Option<&Value>, reply: &Reply) {
        let operation = self.operation(line);
        if let Some(sent) = sent
            && !self.takes(line, sent)
        {
            let is_refused = reply.status == 400 || BEFORE_BODIES.contains(&reply.status);
            assert!(is_refused, "{line} took {sent}: {reply:?}");
        }
        let status = reply.status.to_string();
        let place = format!("{}/responses/{status}", operation.pointer());
        let described = self.document.pointer(&place);
        let described = described.unwrap_or_else(|| panic!("{line}: {status} is described"));
        for name in described["headers"].as_object().into_iter().flat_map(Map::keys) {
            assert!(reply.header(name).is_some(), "{line}: `{name}` of {reply:?}");
        }
        let kind = reply.header("content-type").unwrap_or("nothing");
        for value in values(kind, &reply.body) {
            self.validate(&format!("{place}/content/{}/schema", escaped(kind)), &value);
        }
        let what = if reply.status < 400 { kind.to_owned() } else { reply.code() };
        let outcome = format!("{} {status} {what}", operation.line);
        assert!(operation.outcomes().contains(&outcome), "`{outcome}` is described: {reply:?}");
        self.seen.borrow_mut().insert(outcome);
    }

    /// Whether the schema of its body allows this request.
    pub(crate) fn takes(&self, line: &str, sent: &Value) -> bool {
        let content = "requestBody/content/application~1json/schema";
        let place = format!("{}/{content}", self.operation(line).pointer());
        self.validator(&place).is_valid(sent)
    }

    /// Says all that is wrong with a value by the schema at this place of the document.
    pub(crate) fn validate(&self, place: &str, value: &Value) {
        let validator = self.validator(place);
        let errors: Vec<String> = validator
            .iter_errors(value)
            .map(|error| format!("{} at `{}`", error, error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{place}: {errors:#?} in {value}");
    }

    /// The schema at this place. It may refer to others, so the whole document goes along.
    fn validator(&self, place: &str) -> Rc<Validator> {
        let mut known = self.validators.borrow_mut();
        let new = || {
            assert!(self.document.pointer(place).is_some(), "there is a schema at {place}");
            let mut whole = self.document.clone();
            whole["$ref"] = json!(format!("#{place}"));
            Rc::new(jsonschema::draft202012::new(&whole).expect("a schema"))
        };
        known.entry(place.to_owned()).or_insert_with(new).clone()
    }
}

/// A name as a step of a JSON pointer.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// What a body of this type holds: one value, one for each line, or one for each event.
fn values(kind: &str, body: &str) -> Vec<Value> {
    let read = |text: &str| serde_json::from_str(text).unwrap_or_else(|it| panic!("{it}: {text}"));
    match kind {
        "nothing" => {
            assert!(body.is_empty(), "{body}");
            Vec::new()
        }
        "application/json" => vec![read(body)],
        "application/jsonl" => body.lines().map(read).collect(),
        "text/event-stream" => {
            // What isn't JSON is a text.
            let read = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| json!(text));
            body.lines().filter_map(|it| it.strip_prefix("data: ")).map(read).collect()
        }
        other => panic!("nothing is known of {other}"),
    }
}

/// The same with one thing changed, in every way: a field more or less, or a value of another kind.
pub(crate) fn changed(value: &Value) -> Vec<Value> {
    let other = [json!({ "colour": "red" }), json!(-1), json!(""), Value::Null];
    let mut all: Vec<Value> = other.into_iter().filter(|it| it != value).collect();
    match value {
        Value::Object(fields) => {
            let mut more = fields.clone();
            more.insert("colour".into(), json!("red"));
            all.push(more.into());
            for (name, field) in fields {
                let mut less = fields.clone();
                less.remove(name);
                all.push(less.into());
                all.extend(changed(field).into_iter().map(|it| {
                    let mut fields = fields.clone();
                    fields.insert(name.clone(), it);
                    Value::Object(fields)
                }));
            }
        }
        Value::Array(items) => {
            for (place, item) in items.iter().enumerate() {
                all.extend(changed(item).into_iter().map(|it| {
                    let mut items = items.clone();
                    items[place] = it;
                    Value::Array(items)
                }));
            }
        }
        _ => {}
    }
    all
}
