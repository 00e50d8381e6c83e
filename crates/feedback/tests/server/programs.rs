//! Tasks of other programs, and answers for them.

use rein_feedback::{Role, Settings, Store};
use serde_json::{Value, json};

use crate::live::wait;
use crate::running::Running;

fn start() -> (Running, String, String) {
    let (running, tokens) = Running::start(&Settings::default(), &[], &["ann"], |_| {});
    let mut store = Store::open(&running.store).expect("opens");
    let admin = store.change(|it| {
        it.add_annotator("root", Role::Admin)?;
        it.new_token("root")
    });
    (running, tokens[0].clone(), admin.expect("adds"))
}

fn tasks() -> Value {
    let responses = json!([{ "text": "yes", "source": "a" }, { "text": "no", "finished": false }]);
    json!({ "project": "p", "tasks": [
        { "external_id": "t1", "prompt": "well?", "responses": responses },
        { "external_id": "t2", "prompt": "so?", "responses": responses, "heldout": true, "overlap": 2 },
    ] })
}

#[test]
fn tasks_go_in_and_answers_come_out() {
    let (running, token, admin) = start();
    let add = || running.ask("POST /api/tasks", &admin, Some(&tasks())).json();
    assert_eq!(add(), json!({ "new": 2 }));
    assert_eq!(add(), json!({ "new": 0 }), "a name is a task");
    let mut by_prompt = Vec::new();
    for key in ["k1", "k2"] {
        let asked = running.ask("GET /api/next?project=p", &token, None).json()["task"].clone();
        let choice = if asked["items"][0]["text"] == "no" { "first" } else { "second" };
        let answer = json!({ "kind": "preferred", "choice": choice, "comment": "shorter\nlines" });
        let said = json!({ "do": "answer", "answer": answer });
        let body = json!({ "task": asked["id"], "idem_key": key, "active_ms": 900, "said": said });
        assert_eq!(running.ask("POST /api/annotations", &token, Some(&body)).status, 200);
        by_prompt.push((asked["id"].clone(), asked["prompt"].clone()));
    }
    let reply = running.ask("GET /api/export?project=p", &admin, None);
    assert_eq!(reply.header("content-type"), Some("application/jsonl"));
    let lines: Vec<Value> =
        reply.body.lines().map(|it| serde_json::from_str(it).expect("a line of JSON")).collect();
    assert_eq!(lines.len(), 2);
    for (line, (task, _)) in lines.iter().zip(&by_prompt) {
        let answer =
            json!({ "kind": "preferred", "choice": "second", "comment": "shorter\nlines" });
        assert_eq!((&line["task"], &line["answer"]), (task, &answer), "in the task's own order");
        assert_eq!((&line["annotator"], &line["role"]), (&json!("ann"), &json!("person")));
        assert_eq!(line["active_ms"], 900);
    }
    let prompts: Vec<&Value> = by_prompt.iter().map(|it| &it.1).collect();
    assert!(prompts.contains(&&json!("well?")) && prompts.contains(&&json!("so?")));
    // What took long to count is counted less often.
    wait("both are counted", || {
        let progress = running.ask("GET /api/progress?project=p", &admin, None).json();
        progress["progress"]["by_annotator"] == json!({ "ann": 2 })
    });
}

#[test]
fn only_admins_add_and_export() {
    let (running, token, admin) = start();
    let add = running.ask("POST /api/tasks", &token, Some(&tasks()));
    assert_eq!((add.status, add.code()), (403, "forbidden".into()));
    let export = running.ask("GET /api/export?project=p", &token, None);
    assert_eq!((export.status, export.code()), (403, "forbidden".into()));
    assert_eq!(running.send("GET /api/export?project=p", &[], "").status, 401);
    let progress = running.ask("GET /api/progress?project=p", &admin, None).json();
    assert_eq!(progress["progress"]["n_tasks"], 0, "nothing was added");
}

#[test]
fn what_is_wrong_with_tasks_is_told_and_none_of_them_is_added() {
    let (running, _, admin) = start();
    let post = |change: &dyn Fn(&mut Value)| {
        let mut body = tasks();
        change(&mut body);
        let reply = running.ask("POST /api/tasks", &admin, Some(&body));
        (reply.status, reply.code())
    };
    assert_eq!(post(&|it| it["project"] = json!("q")), (404, "no_project".into()));
    let second = |name: &'static str, value: Value| {
        post(&move |it: &mut Value| it["tasks"][1][name] = value.clone())
    };
    assert_eq!(second("responses", json!([{ "text": "alone" }])), (400, "bad_task".into()));
    assert_eq!(second("overlap", json!(0)), (400, "bad_task".into()));
    assert_eq!(second("overlap", json!(-1)), (400, "bad_request".into()));
    assert_eq!(second("gold", json!({ "kind": "thumb", "up": true })), (400, "bad_task".into()));
    assert_eq!(second("colour", json!("red")), (400, "bad_request".into()));
    let progress = running.ask("GET /api/progress?project=p", &admin, None).json();
    assert_eq!(progress["progress"]["n_tasks"], 0);
    let export = running.ask("GET /api/export?project=q", &admin, None);
    assert_eq!((export.status, export.code()), (404, "no_project".into()));
}
