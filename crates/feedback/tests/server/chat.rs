//! The interface that chat programs know, with a model whose answers are written down.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rein_feedback::serve::{AskWhen, Live, Message};
use rein_feedback::{Settings, Store};
use serde_json::{Value, json};

use crate::running::{Reply, Running};
use crate::scripted::Scripted;

const CHAT: &str = "POST /v1/chat/completions";

fn start(model: Scripted) -> (Running, Arc<Scripted>, String) {
    let model = Arc::new(model);
    let ask = AskWhen { disagreement: None, entropy: None };
    let live = Live { model: model.clone(), project: "p".into(), ask };
    let (running, tokens) = Running::start(&Settings::default(), &[], &["ann"], |options| {
        options.live = Some(live);
        options.rate = 1000;
    });
    (running, model, tokens[0].clone())
}

fn two() -> Scripted {
    Scripted::of(&["red green ", "blue "])
}

/// A question, with these parameters besides.
fn question(parameters: Value) -> Value {
    let mut body =
        json!({ "model": "any", "messages": [{ "role": "user", "content": "two colours?" }] });
    let Value::Object(parameters) = parameters else { panic!("parameters have names") };
    body.as_object_mut().expect("an object").extend(parameters);
    body
}

fn events(running: &Running) -> Vec<Value> {
    Store::read(&running.store).expect("opens").events("p").expect("reads")
}

/// The chunks of a stream, which must end as OpenAI's do. The body is chunked; its sizes stand on lines of their own.
fn chunks(reply: &Reply) -> Vec<Value> {
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    let data: Vec<&str> = reply.body.lines().filter_map(|it| it.strip_prefix("data: ")).collect();
    let (last, chunks) = data.split_last().expect("chunks");
    assert_eq!(*last, "[DONE]");
    chunks.iter().map(|it| serde_json::from_str(it).expect("JSON")).collect()
}

#[test]
fn a_whole_answer_has_the_known_shape() {
    let (running, _, token) = start(two());
    let reply = running.ask(CHAT, &token, Some(&question(json!({ "n": 2 })))).json();
    let id = reply["id"].as_str().expect("a name");
    assert!(id.starts_with("chatcmpl-"), "{id}");
    assert!(reply["created"].as_i64().expect("seconds") > 1_700_000_000);
    assert!(reply["created"].as_i64().expect("seconds") < 100_000_000_000, "not milliseconds");
    let choice = |index: usize, content: &str, reason: &str| {
        let message = json!({ "role": "assistant", "content": content });
        json!({ "index": index, "finish_reason": reason, "message": message })
    };
    let expected = json!({
        "id": id, "object": "chat.completion", "created": reply["created"], "model": "scripted",
        "choices": [choice(0, "red green ", "stop"), choice(1, "blue ", "length")],
        "usage": { "prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5 },
    });
    assert_eq!(reply, expected);
    assert!(events(&running).is_empty(), "nothing is kept that nobody agreed to");
}

#[test]
fn a_streamed_answer_has_the_known_shape() {
    let (running, _, token) = start(two());
    let with_usage = json!({ "n": 2, "stream": true, "stream_options": { "include_usage": true } });
    let chunks = chunks(&running.ask(CHAT, &token, Some(&question(with_usage))));
    let (last, chunks) = chunks.split_last().expect("chunks");
    assert_eq!(last["choices"], json!([]));
    assert_eq!(
        last["usage"],
        json!({ "prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5 })
    );
    let choice = |index: usize, delta: Value, reason: Value| json!([{ "index": index, "delta": delta, "finish_reason": reason }]);
    let expected = [
        choice(0, json!({ "role": "assistant", "content": "red " }), Value::Null),
        choice(1, json!({ "role": "assistant", "content": "blue " }), Value::Null),
        choice(0, json!({ "content": "green " }), Value::Null),
        choice(0, json!({}), json!("stop")),
        choice(1, json!({}), json!("length")),
    ];
    assert_eq!(chunks.iter().map(|it| it["choices"].clone()).collect::<Vec<_>>(), expected);
    for chunk in chunks {
        assert_eq!(chunk["object"], "chat.completion.chunk");
        assert_eq!((&chunk["id"], &chunk["created"]), (&last["id"], &last["created"]));
        assert!(chunk.get("usage").is_none_or(Value::is_null), "only the last one counts");
    }
    let plain = running.ask(CHAT, &token, Some(&question(json!({ "stream": true }))));
    assert!(!plain.body.contains("usage"), "it is told to those who want it");
    assert!(events(&running).is_empty());
}

#[test]
fn who_agrees_has_the_conversation_kept() {
    let (running, _, token) = start(two());
    for (parameters, n_kept) in [
        (json!({ "store": true, "n": 2 }), 1),
        (json!({ "store": false }), 1),
        (json!({ "store": null }), 1),
        (json!({ "store": true, "stream": true }), 2),
    ] {
        let reply = running.ask(CHAT, &token, Some(&question(parameters)));
        assert_eq!(reply.status, 200);
        // A stream may end a moment before the conversation is kept.
        let begin = Instant::now();
        while events(&running).len() < n_kept && begin.elapsed() < Duration::from_secs(20) {
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(events(&running).len(), n_kept);
    }
    let kept = &events(&running)[0];
    assert_eq!((&kept["type"], &kept["model"]), (&json!("chat"), &json!("scripted")));
    assert_eq!(kept["messages"], json!([{ "role": "user", "content": "two colours?" }]));
    assert_eq!(kept["items"], json!(["red green ", "blue "]));
}

#[test]
fn all_that_is_wished_reaches_the_model() {
    let (running, model, token) = start(two());
    let body = json!({
        "model": "gpt-4o", "user": "somebody", "tools": [], "logit_bias": {}, "stream": null,
        "messages": [
            { "role": "developer", "content": "be short" },
            { "role": "system", "content": "be kind", "name": "owner" },
            { "role": "assistant", "content": "yes?" },
            { "role": "user", "content": [
                { "type": "text", "text": "two " }, { "type": "text", "text": "colours?" },
            ] },
        ],
        "temperature": 0, "top_p": 0.5, "max_tokens": 9, "stop": "\n", "seed": -1,
    });
    assert_eq!(running.ask(CHAT, &token, Some(&body)).status, 200);
    let more = question(json!({ "max_tokens": 9, "max_completion_tokens": 7, "stop": ["a", "b"] }));
    assert_eq!(running.ask(CHAT, &token, Some(&more)).status, 200);
    let asked = model.asked.lock().expect("whole");
    let message =
        |role: &str, content: &str| Message { role: role.into(), content: content.into() };
    let expected = [
        message("system", "be short"),
        message("system", "be kind"),
        message("assistant", "yes?"),
        message("user", "two colours?"),
    ];
    assert_eq!(asked[0].messages, expected);
    let wishes = &asked[0].wishes;
    assert_eq!((asked[0].n, wishes.temperature, wishes.top_p), (1, Some(0.0), Some(0.5)));
    assert_eq!((wishes.max_tokens, wishes.seed), (Some(9), Some(u64::MAX)));
    assert_eq!(wishes.stop, ["\n"]);
    assert_eq!(asked[1].wishes.max_tokens, Some(7), "the newer name counts");
    assert_eq!(asked[1].wishes.stop, ["a", "b"]);
}

#[test]
fn what_cannot_be_answered_is_refused() {
    let (running, model, token) = start(two());
    let says = |message: Value| json!({ "messages": [message] });
    let image = json!({ "type": "image_url", "image_url": { "url": "data:image/png;base64," } });
    let cases = [
        (question(json!({ "n": 0 })), "`n` is 1 to 8"),
        (question(json!({ "n": 9 })), "`n` is 1 to 8"),
        (question(json!({ "temperature": 2.1 })), "`temperature`"),
        (question(json!({ "temperature": -0.1 })), "`temperature`"),
        (question(json!({ "top_p": 1.1 })), "`top_p`"),
        (question(json!({ "max_tokens": 0 })), "`max_tokens`"),
        (question(json!({ "stop": "" })), "`stop`"),
        (question(json!({ "stop": vec!["a"; 17] })), "`stop`"),
        (question(json!({ "messages": [] })), "messages"),
        (
            question(json!({ "messages": vec![json!({ "role": "user", "content": "a" }); 1025] })),
            "messages",
        ),
        (json!({ "model": "any" }), "messages"),
        (says(json!({ "role": "user", "content": [image] })), "`image_url`"),
        (says(json!({ "role": "tool", "content": "4" })), "`tool`"),
        (says(json!({ "role": "User", "content": "4" })), "`User`"),
        (says(json!({ "role": "user" })), "content"),
    ];
    for (body, why) in cases {
        let reply = running.ask(CHAT, &token, Some(&body));
        assert_eq!((reply.status, reply.code()), (400, "bad_request".into()), "{body}");
        let message = reply.json()["error"]["message"].to_string();
        assert!(message.contains(why), "{message}");
    }
    assert!(model.asked.lock().expect("whole").is_empty(), "the model isn't bothered");
    assert_eq!(running.send(CHAT, &[], &question(json!({})).to_string()).status, 401);
}

#[test]
fn who_goes_away_stops_the_model_and_leaves_nothing() {
    for stream in [false, true] {
        let (model, gate) = Scripted::gated(&["one two three four five six seven eight "]);
        let (running, model, token) = start(model);
        let ask = question(json!({ "stream": stream, "store": true }));
        let reply = running.open(CHAT, &token, &ask);
        gate.send(()).expect("it waits");
        let begin = Instant::now();
        while model.made.lock().expect("whole").is_empty() {
            assert!(begin.elapsed() < Duration::from_secs(20), "it answers");
            thread::sleep(Duration::from_millis(5));
        }
        drop(reply);
        while *model.n_broken.lock().expect("whole") == 0 {
            assert!(begin.elapsed() < Duration::from_secs(20), "it is stopped");
            thread::sleep(Duration::from_millis(100));
            let _ = gate.send(());
        }
        assert!(model.made.lock().expect("whole").len() < 8, "before its end");
        thread::sleep(Duration::from_millis(100));
        assert!(events(&running).is_empty(), "half an answer is none");
    }
}

#[test]
fn what_the_model_fails_with_is_told() {
    let (running, _, token) = start(Scripted { failure: Some("no memory"), ..two() });
    let error = json!({ "code": "model", "message": "no memory" });
    let keep = |stream: bool| question(json!({ "stream": stream, "store": true }));
    let whole = running.ask(CHAT, &token, Some(&keep(false)));
    assert_eq!((whole.status, &whole.json()["error"]), (500, &error));
    let chunks = chunks(&running.ask(CHAT, &token, Some(&keep(true))));
    assert_eq!(chunks.last().expect("a chunk")["error"], error);
    assert!(events(&running).is_empty());
}

#[test]
fn the_model_is_listed_where_there_is_one() {
    let (running, _, token) = start(two());
    let models = running.ask("GET /v1/models", &token, None).json();
    let model = json!({ "id": "scripted", "object": "model", "created": 0, "owned_by": "rein" });
    assert_eq!(models, json!({ "object": "list", "data": [model] }));
    let projects = running.ask("GET /api/projects", &token, None).json();
    assert_eq!(projects["live"], json!({ "model": "scripted", "project": "p" }));
    let (running, tokens) = Running::start(&Settings::default(), &[], &["ann"], |_| {});
    for (line, body) in [("GET /v1/models", None), (CHAT, Some(question(json!({}))))] {
        let reply = running.ask(line, &tokens[0], body.as_ref());
        assert_eq!((reply.status, reply.code()), (404, "no_model".into()));
    }
    assert_eq!(running.ask("GET /api/projects", &tokens[0], None).json()["live"], Value::Null);
}

#[test]
fn whoever_is_suspended_is_told_so_at_once() {
    let (running, _, token) = start(two());
    let mut store = rein_feedback::Store::open(&running.store).expect("opens");
    store.change(|it| it.suspend("ann", true)).expect("suspends");
    let live = json!({ "project": "p", "prompt": "why?", "idem_key": "k" });
    for (line, body) in [(CHAT, question(json!({}))), ("POST /api/live", live)] {
        let reply = running.ask(line, &token, Some(&body));
        assert_eq!((reply.status, reply.code()), (403, "suspended".into()), "{line}");
    }
}
