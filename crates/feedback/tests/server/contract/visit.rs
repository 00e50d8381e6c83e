//! Servers to visit, and what is sent to them.

use std::sync::Arc;

use rein_feedback::serve::{AskWhen, Live};
use rein_feedback::{NewTask, Role, Settings, Store};
use serde_json::{Value, json};

use crate::described::{Described, Operation, changed};
use crate::running::{Running, task};
use crate::scripted::Scripted;

pub(super) const ADD: &str = "POST /api/tasks";
pub(super) const ANNOTATE: &str = "POST /api/annotations";
pub(super) const CHAT: &str = "POST /v1/chat/completions";
pub(super) const LIVE: &str = "POST /api/live";

/// The tokens of two people, of one who may not answer any more, and of an admin.
pub(super) struct People {
    pub(super) ann: String,
    pub(super) bob: String,
    pub(super) eve: String,
    pub(super) root: String,
}

pub(super) fn start(
    settings: &Settings,
    tasks: &[NewTask],
    model: Option<Scripted>,
) -> (Running, People) {
    let ask = AskWhen { disagreement: Some(0.5), entropy: None };
    let live = model.map(|it| Live { model: Arc::new(it), project: "p".into(), ask });
    let (running, tokens) = Running::start(settings, tasks, &["ann", "bob", "eve"], |options| {
        options.live = live;
        options.rate = 1_000_000;
    });
    let mut store = Store::open(&running.store).expect("opens");
    let root = store.change(|it| {
        it.suspend("eve", true)?;
        it.add_annotator("root", Role::Admin)?;
        it.new_token("root")
    });
    let [ann, bob, eve] = tokens.try_into().expect("three");
    (running, People { ann, bob, eve, root: root.expect("adds") })
}

pub(super) fn pairs(names: &[&str], overlap: u32, model: Option<Scripted>) -> (Running, People) {
    let tasks: Vec<NewTask> = names.iter().map(|it| task(it, 2, overlap)).collect();
    start(&Settings::default(), &tasks, model)
}

pub(super) fn next(described: &Described, running: &Running, token: &str) -> Value {
    let reply = described.ask(running, "GET /api/next?project=p", token, None);
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()["task"].clone()
}

pub(super) fn said(task: &Value, key: &str, said: Value) -> Value {
    json!({ "task": task["id"], "idem_key": key, "said": said })
}

pub(super) fn better(choice: &str) -> Value {
    json!({ "do": "answer", "answer": { "kind": "preferred", "choice": choice } })
}

/// A request of this operation that is as described, if it has a body.
pub(super) fn sample(line: &str, people: &People) -> Option<Value> {
    let of_project =
        |name: &str, value: Value| json!({ "project": "p", "idem_key": "k", name: value });
    match line {
        "POST /api/session" => Some(json!({ "token": people.ann })),
        ANNOTATE => Some(said(&json!({ "id": 1 }), "k", json!({ "do": "skip" }))),
        "POST /api/undo" => Some(json!({ "project": "p", "idem_key": "k" })),
        "POST /api/events" => Some(of_project("event", json!({ "type": "copy" }))),
        LIVE => Some(of_project("prompt", json!("well?"))),
        ADD => Some(json!({ "project": "p", "tasks": [] })),
        CHAT => Some(json!({ "messages": [{ "role": "user", "content": "well?" }] })),
        _ => None,
    }
}

/// All operations with a request line and what may be sent, for [`People`] and a project `p`.
pub(super) fn samples(described: &Described, people: &People) -> Vec<(String, Option<Value>)> {
    let of = |operation: Operation<'_>| {
        let sample = sample(&operation.line, people);
        assert_eq!(sample.is_some(), operation.has_body(), "{}", operation.line);
        let query = if operation.fields.contains_key("parameters") { "?project=p" } else { "" };
        (format!("{}{query}", operation.line), sample)
    };
    described.operations().into_iter().map(of).collect()
}

/// Changes a request in every way, and sends what its schema doesn't take.
pub(super) fn refuses_whatever_is_not_described(
    described: &Described,
    running: &Running,
    line: &str,
    token: &str,
    body: &Value,
) {
    assert!(described.takes(line, body), "{body}");
    let mut n_refused = 0;
    for body in changed(body).iter().filter(|it| !described.takes(line, it)) {
        let reply = described.ask(running, line, token, Some(body));
        assert_eq!(reply.status, 400, "{line} took {body}: {reply:?}");
        n_refused += 1;
    }
    let mut more = body.clone();
    more["colour"] = json!("red");
    assert_eq!(described.takes(line, &more), line == CHAT, "others pass over nothing");
    assert!(n_refused > 3, "{line}: {n_refused}");
}
