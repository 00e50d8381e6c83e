//! What clients do when all goes well.

use serde_json::{Value, json};

use super::visit::{
    ADD, ANNOTATE, CHAT, LIVE, better, next, pairs, refuses_whatever_is_not_described, said,
    sample, samples,
};
use crate::described::{Described, document};
use crate::live::wait;
use crate::running::Running;
use crate::scripted::Scripted;

pub(super) fn a_browser_comes_and_goes(described: &Described) {
    let (running, people) = pairs(&[], 1, None);
    for (line, sample) in samples(described, &people) {
        // Others need a task or a model first.
        let Some(sample) = sample.filter(|_| ![ANNOTATE, CHAT, LIVE].contains(&&*line)) else {
            continue;
        };
        refuses_whatever_is_not_described(described, &running, &line, &people.root, &sample);
    }
    let log_in = |token: &str| {
        let body = json!({ "token": token });
        described.ask(&running, "POST /api/session", "", Some(&body)).status
    };
    assert_eq!([log_in(&people.ann), log_in(&people.root), log_in("guess")], [200, 200, 401]);
    let ask = |line| described.ask(&running, line, &people.ann, None);
    assert_eq!(ask("GET /api/session").json()["role"], "person");
    assert_eq!(ask("DELETE /api/session").status, 204);
    assert_eq!(ask("GET /healthz").status, 200);
    assert_eq!(running.send("GET /openapi.json", &[], "").json(), document());
}

pub(super) fn people_answer(described: &Described) {
    let (running, people) = pairs(&["1", "2", "3"], 2, None);
    says_all_there_is_to_say(described, &running, &people.ann);
    says_all_there_is_to_say(described, &running, &people.bob);
    let post =
        |line: &str, body: Value| described.ask(&running, line, &people.ann, Some(&body)).json();
    for _ in 0..2 {
        let undone = post("POST /api/undo", json!({ "project": "p", "idem_key": "u" }));
        assert_eq!(undone["task"]["draft"], Value::Null, "a flag comes back as nothing");
    }
    let event = json!({ "project": "p", "idem_key": "e", "event": ["anything"] });
    let events = [0, 1].map(|_| post("POST /api/events", event.clone()));
    assert_eq!(events, [json!({ "new": true }), json!({ "new": false })]);
    let get = |line, token: &str| described.ask(&running, line, token, None).json();
    for token in [&people.ann, &people.root] {
        let progress = get("GET /api/progress?project=p", token);
        let is_told = progress["progress"]["by_annotator"].is_object();
        assert_eq!(is_told, *token == people.root, "{progress}");
        assert_eq!(get("GET /api/projects", token)["projects"][0]["name"], "p");
    }
}

/// Of three tasks, the first of which is a draft before it is answered.
fn says_all_there_is_to_say(described: &Described, running: &Running, token: &str) {
    for what in [
        json!({ "do": "draft", "draft": { "choice": 1 } }),
        better("first"),
        json!({ "do": "skip" }),
        json!({ "do": "flag", "reason": "it is empty" }),
    ] {
        let task = next(described, running, token);
        let body = said(&task, &format!("{} {}", &token[..8], what["do"]), what);
        refuses_whatever_is_not_described(described, running, ANNOTATE, token, &body);
        let replay =
            || described.ask(running, ANNOTATE, token, Some(&body)).json()["replay"].clone();
        assert_eq!((replay(), replay()), (json!(false), json!(true)));
    }
    assert_eq!(next(described, running, token), Value::Null, "nothing is left");
}

pub(super) fn programs_bring_tasks_and_take_answers(described: &Described) {
    let (running, people) = pairs(&[], 1, None);
    let response = |text: &str| json!({ "text": text });
    let conversation = json!([{ "role": "user", "content": "well?" }]);
    let add = |token: &str, responses: Value| {
        let task = json!({ "external_id": "t", "prompt": conversation, "responses": responses });
        let body = json!({ "project": "p", "tasks": [task] });
        described.ask(&running, ADD, token, Some(&body))
    };
    let two = json!([response("yes"), response("no")]);
    assert_eq!(add(&people.root, two.clone()).json(), json!({ "new": 1 }));
    assert_eq!(next(described, &running, &people.ann)["prompt"], conversation);
    assert_eq!(add(&people.root, json!([response("alone")])).code(), "bad_task");
    assert_eq!(add(&people.ann, two).code(), "forbidden");
    let export = |token| described.ask(&running, "GET /api/export?project=p", token, None);
    assert_eq!(export(&people.root).body, "", "there are no answers yet");
    assert_eq!(export(&people.ann).code(), "forbidden");
}

pub(super) fn the_model_answers(described: &Described) {
    let doubt = Some(1.0);
    let (running, people) =
        pairs(&[], 1, Some(Scripted { disagreement: doubt, ..Scripted::of(&["red ", "blue "]) }));
    let post = |line: &str, body: &Value| described.ask(&running, line, &people.ann, Some(body));
    let question = sample(LIVE, &people).expect("a body");
    let told = post(LIVE, &question);
    for (name, schema) in [("start", "LiveStart"), ("token", "LiveToken"), ("done", "LiveDone")] {
        let data = told.body.split(&format!("event: {name}\ndata: ")).nth(1).expect("an event");
        let data = serde_json::from_str(data.lines().next().expect("a line")).expect("JSON");
        described.validate(&format!("/components/schemas/{schema}"), &data);
    }
    let part = |text: &str| json!({ "type": "text", "text": text });
    let chat = json!({
        "model": "any", "n": 2, "temperature": 0.5, "top_p": 0.5, "max_tokens": 9, "seed": 3,
        "max_completion_tokens": 9, "stop": ["\n"], "stream": false, "store": true,
        "stream_options": { "include_usage": true },
        "messages": [
            { "role": "developer", "content": "be short" },
            { "role": "user", "content": [part("two "), part("colours?")] },
        ],
    });
    refuses_whatever_is_not_described(described, &running, LIVE, &people.ann, &question);
    refuses_whatever_is_not_described(described, &running, CHAT, &people.ann, &chat);
    assert_eq!(post(CHAT, &chat).json()["choices"].as_array().expect("choices").len(), 2);
    let mut streamed = chat;
    streamed["stream"] = json!(true);
    let reply = post(CHAT, &streamed);
    assert!(reply.body.contains("usage") && reply.body.contains("[DONE]"), "{reply:?}");
    let models = described.ask(&running, "GET /v1/models", &people.ann, None);
    assert_eq!(models.json()["data"][0]["id"], "scripted");
    let projects = described.ask(&running, "GET /api/projects", &people.ann, None);
    assert!(projects.json()["live"].is_object());
}

/// Only then is there a number to tell.
pub(super) fn two_people_judge_the_same(described: &Described) {
    let (running, people) = pairs(&["1"], 2, None);
    let agreement = || {
        let reply = described.ask(&running, "GET /api/progress?project=p", &people.ann, None);
        reply.json()["agreement"].clone()
    };
    assert_eq!(agreement(), Value::Null);
    for token in [&people.ann, &people.bob] {
        let task = next(described, &running, token);
        let is_first = task["items"][0]["text"] == "response 0 to 1";
        let what = better(if is_first { "first" } else { "second" });
        let reply = described.ask(&running, ANNOTATE, token, Some(&said(&task, &token[..8], what)));
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    // What took long to count is counted less often.
    wait("they agree", || agreement() == json!(1.0));
}
