//! What was understood and can't be done.

use std::io::BufRead;

use rusqlite::Connection;
use serde_json::{Value, json};

use super::visit::{ANNOTATE, CHAT, LIVE, better, next, pairs, said, sample, samples};
use crate::described::Described;
use crate::scripted::Scripted;

pub(super) fn what_makes_no_sense_is_refused(described: &Described) {
    let (running, people) = pairs(&["1", "2"], 1, None);
    let task = next(described, &running, &people.ann);
    let post = |line: &str, token: &str, body: Value| {
        let reply = described.ask(&running, line, token, Some(&body));
        (reply.status, reply.code())
    };
    let is = |status: u16, code: &str| (status, code.to_owned());
    let annotate =
        |task: &Value, key: &str, what| post(ANNOTATE, &people.ann, said(task, key, what));
    let thumb = json!({ "do": "answer", "answer": { "kind": "thumb", "up": true } });
    assert_eq!(annotate(&task, "k", thumb), is(400, "bad_answer"));
    assert_eq!(annotate(&json!({ "id": 99 }), "k", better("first")), is(404, "no_task"));
    assert_eq!(annotate(&task, "k", better("first")).0, 200);
    let other = next(described, &running, &people.ann);
    assert_eq!(annotate(&other, "k", better("first")), is(409, "key_taken"));
    let of_bob = post(ANNOTATE, &people.bob, said(&task, "l", better("first")));
    assert_eq!(of_bob, is(409, "not_asked"));
    let undo = |token: &str, key: &str| {
        post("POST /api/undo", token, json!({ "project": "p", "idem_key": key }))
    };
    assert_eq!(undo(&people.bob, "u"), is(409, "nothing_to_undo"));
    assert_eq!(undo(&people.ann, "k"), is(409, "key_taken"));
    for key in [String::new(), "k".repeat(257)] {
        assert_eq!(undo(&people.ann, &key), is(400, "bad_answer"));
        assert_eq!(annotate(&other, &key, better("first")), is(400, "bad_answer"));
        let event = json!({ "project": "p", "idem_key": key, "event": {} });
        assert_eq!(post("POST /api/events", &people.ann, event), is(400, "bad_answer"));
    }
    for (line, sample) in samples(described, &people) {
        if line.ends_with("?project=p") {
            let elsewhere = line.replace("=p", "=q");
            let ask = |line: &str| described.ask(&running, line, &people.root, None);
            assert_eq!(ask(&elsewhere).code(), "no_project");
            assert_eq!(ask(line.split('?').next().expect("an address")).code(), "bad_request");
        }
        if let Some(mut body) = sample.filter(|it| line != LIVE && !it["project"].is_null()) {
            body["project"] = json!("q");
            assert_eq!(post(&line, &people.root, body), is(404, "no_project"), "{line}");
        }
    }
}

/// Somebody's place ends while they think, and another takes it.
pub(super) fn somebody_is_late(described: &Described) {
    let (running, people) = pairs(&["1"], 1, None);
    let task = next(described, &running, &people.bob);
    let store = Connection::open(&running.store).expect("opens");
    store.execute("UPDATE lease SET expires_at = 0", []).expect("ends");
    assert_eq!(next(described, &running, &people.ann)["id"], task["id"]);
    let answer = |token: &str| {
        described.ask(&running, ANNOTATE, token, Some(&said(&task, &token[..8], better("first"))))
    };
    assert_eq!(answer(&people.ann).status, 200);
    assert_eq!(answer(&people.bob).code(), "task_full");
}

pub(super) fn whoever_is_suspended_is_told(described: &Described) {
    let (running, people) = pairs(&["1"], 1, Some(Scripted::of(&["yes "])));
    for (line, sample) in samples(described, &people) {
        if described.operation(&line).describes("403 suspended") {
            let reply = described.ask(&running, &line, &people.eve, sample.as_ref());
            assert_eq!((reply.status, reply.code()), (403, "suspended".into()), "{line}");
        }
    }
}

pub(super) fn the_model_does_not_answer(described: &Described) {
    let (nobody, people) = pairs(&[], 1, None);
    for (line, sample) in samples(described, &people) {
        if matches!(line.as_str(), LIVE | CHAT | "GET /v1/models") {
            let reply = described.ask(&nobody, &line, &people.ann, sample.as_ref());
            assert_eq!((reply.status, reply.code()), (404, "no_model".into()));
        }
    }
    let failing = Scripted { failure: Some("no memory"), ..Scripted::of(&["a "]) };
    let (running, people) = pairs(&[], 1, Some(failing));
    let mut chat = sample(CHAT, &people).expect("a body");
    let post = |line: &str, body: &Value| described.ask(&running, line, &people.ann, Some(body));
    assert_eq!(post(CHAT, &chat).code(), "model");
    chat["stream"] = json!(true);
    assert!(post(CHAT, &chat).body.contains(r#""code":"model""#));
    let live = sample(LIVE, &people).expect("a body");
    assert!(post(LIVE, &live).body.contains("event: error"));

    let (gated, gate) = Scripted::gated(&["a "]);
    let (running, people) = pairs(&[], 1, Some(gated));
    let mut waiting = [0; 4].map(|_| running.open(LIVE, &people.ann, &live));
    for reply in &mut waiting {
        let mut line = String::new();
        reply.read_line(&mut line).expect("reads");
        assert!(line.contains("200"), "{line}");
    }
    for line in [LIVE, CHAT] {
        let body = sample(line, &people);
        let reply = described.ask(&running, line, &people.ann, body.as_ref());
        assert_eq!((reply.status, reply.code()), (503, "busy".into()));
    }
    drop((waiting, gate));
}
