//! A person's way through a project, request by request.

use rein_feedback::{Answer, Choice, Judgement, Kind, Settings, Store};
use serde_json::{Value, json};

use crate::running::{Running, task};

fn start(kind: Kind, n_items: usize) -> (Running, String) {
    let tasks = [task("1", n_items, 1), task("2", n_items, 1)];
    let (running, tokens) = Running::start(&Settings::of(kind), &tasks, &["ann"], |_| {});
    (running, tokens[0].clone())
}

fn next(running: &Running, token: &str) -> Value {
    let reply = running.ask("GET /api/next?project=p", token, None);
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

fn say(running: &Running, token: &str, task: &Value, key: &str, said: Value) -> (u16, Value) {
    let body = json!({ "task": task["id"], "idem_key": key, "active_ms": 1200, "said": said });
    let reply = running.ask("POST /api/annotations", token, Some(&body));
    (reply.status, reply.json())
}

fn answer(judgement: Value) -> Value {
    json!({ "do": "answer", "answer": judgement })
}

fn stored(running: &Running) -> Vec<Answer> {
    let store = Store::read(&running.store).expect("opens");
    store.answers("p").expect("reads").into_iter().map(|it| it.answer).collect()
}

#[test]
fn sides_on_the_page_are_kept_as_items_of_the_task() {
    let tasks: Vec<_> = (0..12).map(|number| task(&number.to_string(), 2, 1)).collect();
    let (running, tokens) = Running::start(&Settings::default(), &tasks, &["ann"], |_| {});
    let mut first_sides = Vec::new();
    for number in 0..12 {
        let asked = next(&running, &tokens[0])["task"].clone();
        let left = asked["items"][0]["text"].as_str().expect("a text").to_owned();
        first_sides.push(left.starts_with("response 0"));
        // Always response 1, wherever it stands.
        let choice = if first_sides[number] { "second" } else { "first" };
        let said = answer(json!({ "kind": "preferred", "choice": choice, "comment": "good" }));
        let (status, receipt) = say(&running, &tokens[0], &asked, &format!("k{number}"), said);
        assert_eq!(status, 200, "{receipt}");
    }
    assert!(first_sides.contains(&true) && first_sides.contains(&false), "sides are drawn");
    let second = Judgement::preferred(Choice::Second);
    assert!(stored(&running).iter().all(|it| it.judgement == second && it.comment == "good"));
    assert_eq!(next(&running, &tokens[0])["task"], Value::Null);
    assert_eq!(next(&running, &tokens[0])["progress"]["n_mine"], 12);
}

#[test]
fn rankings_scores_thumbs_edits_and_attacks_are_kept() {
    let cases = [
        (Kind::Ranking { ties: true }, 3, json!({ "kind": "ranked", "ranks": [2, 1, 2] })),
        (Kind::Score { least: 1, most: 7 }, 1, json!({ "kind": "scored", "score": 6.0 })),
        (Kind::Thumbs, 1, json!({ "kind": "thumb", "up": false })),
        (Kind::Edit, 1, json!({ "kind": "edited", "text": "better" })),
        (Kind::RedTeam, 1, json!({ "kind": "attacked", "success": 3, "tags": ["insult"] })),
    ];
    for (kind, n_items, said) in cases {
        let (running, token) = start(kind, n_items);
        let asked = next(&running, &token)["task"].clone();
        let wrong = answer(json!({ "kind": "preferred", "choice": "first" }));
        let (status, error) = say(&running, &token, &asked, "wrong", wrong);
        assert_eq!((status, &error["error"]["code"]), (400, &json!("bad_answer")), "{kind:?}");
        let (status, receipt) = say(&running, &token, &asked, "k", answer(said.clone()));
        assert_eq!(status, 200, "{receipt}");
        let undone = running.ask(
            "POST /api/undo",
            &token,
            Some(&json!({ "project": "p", "idem_key": "u" })),
        );
        assert_eq!(undone.json()["task"]["draft"], said, "it comes back as it was said");
        assert_eq!(undone.json()["task"]["items"], asked["items"], "in the same order");
        say(&running, &token, &asked, "l", answer(said));
        assert_eq!(stored(&running).len(), 1);
    }
}

#[test]
fn a_task_is_held_through_reloads_with_its_draft() {
    let (running, token) = start(Kind::PAIR, 2);
    let asked = next(&running, &token)["task"].clone();
    let draft = json!({ "choice": 1, "comment": "not sure" });
    let said = json!({ "do": "draft", "draft": draft });
    assert_eq!(say(&running, &token, &asked, "d", said).0, 200);
    let again = next(&running, &token)["task"].clone();
    assert_eq!((&again["id"], &again["draft"]), (&asked["id"], &draft));
    assert_eq!(again["items"], asked["items"]);
    assert!(stored(&running).is_empty());
}

#[test]
fn what_was_not_asked_or_makes_no_sense_is_told_so() {
    let (running, token) = start(Kind::PAIR, 2);
    let post = |body: &Value| {
        let reply = running.ask("POST /api/annotations", &token, Some(body));
        (reply.status, reply.code())
    };
    let skip = json!({ "do": "skip" });
    let sent = |task: i64, said: &Value| json!({ "task": task, "idem_key": "k", "said": said });
    assert_eq!(post(&sent(1, &skip)), (409, "not_asked".into()));
    assert_eq!(post(&sent(99, &skip)), (404, "no_task".into()));
    assert_eq!(post(&json!({ "task": 1 })), (400, "bad_request".into()));
    assert_eq!(post(&sent(1, &json!({ "do": "dance" }))), (400, "bad_request".into()));
    let mut unknown = sent(1, &skip);
    unknown["colour"] = json!("red");
    assert_eq!(post(&unknown), (400, "bad_request".into()));
    next(&running, &token);
    let nan = r#"{"task":1,"idem_key":"k","said":{"do":"answer","answer":{"kind":"scored","score":NaN}}}"#;
    let bearer = format!("Bearer {token}");
    let reply = running.send("POST /api/annotations", &[("authorization", &bearer)], nan);
    assert_eq!(reply.code(), "bad_request");
    assert_eq!(running.ask("GET /api/next?project=q", &token, None).code(), "no_project");
    assert_eq!(running.ask("GET /api/next", &token, None).code(), "bad_request");
}

#[test]
fn events_are_kept_once() {
    let (running, token) = start(Kind::PAIR, 2);
    let body = json!({ "project": "p", "idem_key": "e", "event": { "type": "copy", "t_ms": 5 } });
    let post = || running.ask("POST /api/events", &token, Some(&body)).json()["new"].clone();
    assert_eq!((post(), post()), (json!(true), json!(false)));
    let store = Store::read(&running.store).expect("opens");
    assert_eq!(store.events("p").expect("reads"), [body["event"].clone()]);
}
