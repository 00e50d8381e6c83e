//! Live mode, with a model whose answers are written down.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rein_feedback::serve::{AskWhen, Lesson, Live, Reply, ServeOptions, Server};
use rein_feedback::{Choice, Judgement, Kind, Settings, Store};
use serde_json::{Value, json};

use crate::running::{Running, task};
use crate::scripted::Scripted;

pub(crate) const ALWAYS: AskWhen = AskWhen { disagreement: Some(0.0), entropy: None };

pub(crate) fn start(
    model: Scripted,
    ask: AskWhen,
    people: &[&str],
) -> (Running, Arc<Scripted>, Vec<String>) {
    start_asking(&Settings::default(), model, ask, people)
}

/// Serves a project that asks something else, too.
pub(crate) fn start_asking(
    settings: &Settings,
    model: Scripted,
    ask: AskWhen,
    people: &[&str],
) -> (Running, Arc<Scripted>, Vec<String>) {
    let model = Arc::new(model);
    let live = Live { model: model.clone(), project: "p".into(), ask };
    let (running, tokens) = Running::start(settings, &[], people, |options| {
        options.live = Some(live);
        options.rate = 1000;
    });
    (running, model, tokens)
}

fn question(prompt: &str, key: &str) -> Value {
    json!({ "project": "p", "prompt": prompt, "idem_key": key })
}

/// Asks, and gives all events of the answer.
pub(crate) fn ask(running: &Running, token: &str, prompt: &str, key: &str) -> Vec<(String, Value)> {
    let mut reply = running.open("POST /api/live", token, &question(prompt, key));
    std::iter::from_fn(|| event(&mut reply)).collect()
}

/// The next event of a stream, if it has not ended.
fn event(reply: &mut BufReader<TcpStream>) -> Option<(String, Value)> {
    let mut name = None;
    loop {
        let mut line = String::new();
        if reply.read_line(&mut line).expect("reads") == 0 {
            return None;
        }
        if let Some(text) = line.strip_prefix("event: ") {
            name = Some(text.trim().to_owned());
        }
        if let Some(text) = line.strip_prefix("data: ") {
            return Some((name?, serde_json::from_str(text).expect("JSON")));
        }
    }
}

pub(crate) fn done(events: &[(String, Value)]) -> &Value {
    let (name, data) = events.last().expect("an event");
    assert_eq!(name, "done", "{events:?}");
    data
}

pub(crate) fn answer(
    running: &Running,
    token: &str,
    task: &Value,
    key: &str,
    choice: &str,
) -> Value {
    let said = json!({ "do": "answer", "answer": { "kind": "preferred", "choice": choice } });
    let body = json!({ "task": task["id"], "idem_key": key, "said": said });
    let reply = running.ask("POST /api/annotations", token, Some(&body));
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

fn events(running: &Running) -> Vec<Value> {
    Store::read(&running.store).expect("opens").events("p").expect("reads")
}

/// One of the answers "good " and "bad ", of which the first alone ended by itself.
pub(crate) fn reply(text: &str) -> Reply {
    Reply { text: text.into(), finished: text == "good " }
}

/// Waits for what must come true soon.
pub(crate) fn wait(what: &str, is_true: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_true() {
        assert!(begin.elapsed() < Duration::from_secs(20), "{what} in 20 seconds");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn pieces_arrive_while_the_model_is_still_at_it() {
    let (model, gate) = Scripted::gated(&["red green ", "blue "]);
    let (running, model, tokens) = start(model, ALWAYS, &["ann"]);
    let mut reply = running.open("POST /api/live", &tokens[0], &question("colours?", "k"));
    let (name, data) = event(&mut reply).expect("an event");
    assert_eq!(name, "start");
    assert_eq!(data["request"].as_str().expect("a name").len(), 32);
    for (number, (item, word)) in [(0, "red "), (1, "blue "), (0, "green ")].iter().enumerate() {
        assert_eq!(model.made.lock().expect("whole").len(), number, "it waits for us");
        gate.send(()).expect("it waits");
        let piece = event(&mut reply).expect("a piece");
        assert_eq!(piece, ("token".into(), json!({ "item": item, "text": word })));
    }
    let last = event(&mut reply).expect("an event");
    assert_eq!((last.0.as_str(), &last.1["best"]), ("done", &json!(0)));
    assert_eq!(event(&mut reply), None, "and that is all");
}

#[test]
fn somebody_is_asked_only_where_a_threshold_is_crossed() {
    let by = |disagreement, entropy| AskWhen { disagreement, entropy };
    let differ = ["yes ", "no "];
    let cases = [
        (differ, Some(0.5), Some(1.0), by(Some(0.5), None), true),
        (differ, Some(0.49), Some(1.0), by(Some(0.5), None), false),
        (differ, Some(0.1), Some(2.0), by(Some(0.5), Some(1.5)), true),
        (differ, Some(0.1), Some(1.4), by(Some(0.5), Some(1.5)), false),
        (differ, None, None, by(Some(0.0), Some(0.0)), false),
        (differ, Some(9.0), Some(9.0), by(None, None), false),
        (["yes ", "yes "], Some(9.0), Some(9.0), by(Some(0.0), Some(0.0)), false),
    ];
    for (texts, disagreement, entropy, when, asks) in cases {
        let model = Scripted { disagreement, entropy, ..Scripted::of(&texts) };
        let (running, _, tokens) = start(model, when, &["ann", "bob"]);
        let told = ask(&running, &tokens[0], "well?", "k");
        let told = done(&told);
        assert_eq!(told["ask"], asks, "{when:?}: {told}");
        assert_eq!(told["task"].is_object(), asks);
        assert_eq!(told["why"]["disagreement"], json!(disagreement));
        let kept = &events(&running)[..];
        assert_eq!(kept.len(), 1, "either way there is an event");
        assert_eq!((&kept[0]["type"], &kept[0]["asked"]), (&json!("live"), &json!(asks)));
        assert_eq!((&kept[0]["items"], &kept[0]["prompt"]), (&json!(texts), &json!("well?")));
        let next = |token| running.ask("GET /api/next?project=p", token, None).json();
        assert_eq!(next(&tokens[0])["task"]["id"], told["task"]["id"], "it is theirs");
        assert_eq!(next(&tokens[1])["task"], Value::Null, "and nobody else's");
    }
}

#[test]
fn what_somebody_prefers_is_taught_once_and_in_the_right_order() {
    let model = Scripted { disagreement: Some(1.0), ..Scripted::of(&["good ", "bad "]) };
    let (running, model, tokens) = start(model, ALWAYS, &["ann"]);
    // In turn, whatever side it is shown on.
    let preferred = |number: usize| if number.is_multiple_of(2) { "good " } else { "bad " };
    let mut is_turned = Vec::new();
    for number in 0..12 {
        let (prompt, key) = (format!("question {number}"), format!("k{number}"));
        let told = ask(&running, &tokens[0], &prompt, &key);
        let task = &done(&told)["task"];
        is_turned.push(task["items"][0]["text"] == "bad ");
        let wanted = preferred(number);
        let choice = if task["items"][0]["text"] == wanted { "first" } else { "second" };
        let receipts = [0, 1].map(|_| answer(&running, &tokens[0], task, &key, choice));
        assert_eq!(receipts[0]["id"], receipts[1]["id"]);
        assert_eq!(receipts.map(|it| it["replay"].clone()), [json!(false), json!(true)]);
    }
    assert!(is_turned.contains(&true) && is_turned.contains(&false), "sides are drawn");
    wait("all is learnt", || model.lessons.lock().expect("whole").len() >= 12);
    let lessons = model.lessons.lock().expect("whole").clone();
    let lesson = |number: usize| Lesson {
        prompt: format!("question {number}").into(),
        chosen: reply(preferred(number)),
        rejected: reply(preferred(number + 1)),
    };
    assert_eq!(lessons, (0..12).map(lesson).collect::<Vec<_>>());
    let stored = Store::read(&running.store).expect("opens").answers("p").expect("reads");
    let expected: Vec<_> =
        [Choice::First, Choice::Second].repeat(6).into_iter().map(Judgement::preferred).collect();
    let said: Vec<_> = stored.into_iter().map(|it| it.answer.judgement).collect();
    assert_eq!(said, expected, "in the task's own order");
}

#[test]
fn the_next_answer_knows_what_was_just_taught() {
    let model = Scripted { disagreement: Some(1.0), ..Scripted::of(&["old ", "new "]) };
    let (running, _, tokens) = start(model, ALWAYS, &["ann"]);
    let mut expected = 0;
    for number in 0..4 {
        let told = ask(&running, &tokens[0], &format!("q{number}"), &format!("k{number}"));
        assert_eq!(done(&told)["best"], expected, "question {number}");
        let wanted = ["new ", "old ", "old ", "new "][number];
        let task = &done(&told)["task"];
        let choice = if task["items"][0]["text"] == wanted { "first" } else { "second" };
        answer(&running, &tokens[0], task, &format!("a{number}"), choice);
        expected = [1, 0, 0, 0][number];
    }
}

#[test]
fn only_answers_of_live_mode_are_lessons() {
    let model = Scripted { disagreement: Some(1.0), ..Scripted::of(&["good ", "bad "]) };
    let (running, model, tokens) = start(model, ALWAYS, &["ann"]);
    let mut store = Store::open(&running.store).expect("opens");
    store
        .change(|it| {
            it.set_project("q", &Settings::default())?;
            it.add_tasks("q", &[task("other", 2, 1)])
        })
        .expect("adds");
    let other = running.ask("GET /api/next?project=q", &tokens[0], None).json()["task"].clone();
    answer(&running, &tokens[0], &other, "other", "first");
    let told = ask(&running, &tokens[0], "well?", "k");
    answer(&running, &tokens[0], &done(&told)["task"], "a", "first");
    wait("it is learnt", || !model.lessons.lock().expect("whole").is_empty());
    thread::sleep(Duration::from_millis(200));
    let lessons = model.lessons.lock().expect("whole");
    assert_eq!(lessons.iter().map(|it| it.prompt.to_text()).collect::<Vec<_>>(), ["well?"]);
}

#[test]
fn who_goes_away_stops_the_model_and_leaves_nothing() {
    let (model, gate) = Scripted::gated(&["one two three four five six ", "seven "]);
    let (running, model, tokens) =
        start(Scripted { disagreement: Some(1.0), ..model }, ALWAYS, &["ann"]);
    let mut reply = running.open("POST /api/live", &tokens[0], &question("well?", "k"));
    gate.send(()).expect("it waits");
    assert_eq!(event(&mut reply).expect("an event").0, "start");
    assert_eq!(event(&mut reply).expect("an event").0, "token");
    drop(reply);
    wait("it is stopped", || {
        thread::sleep(Duration::from_millis(50));
        let _ = gate.send(());
        *model.n_broken.lock().expect("whole") == 1
    });
    assert!(model.made.lock().expect("whole").len() < 7, "before its end");
    thread::sleep(Duration::from_millis(100));
    assert!(events(&running).is_empty(), "half an answer is none");
    let next = running.ask("GET /api/next?project=p", &tokens[0], None).json();
    assert_eq!(next["task"], Value::Null);
    (0..20).for_each(|_| gate.send(()).expect("it waits"));
    assert_eq!(done(&ask(&running, &tokens[0], "well?", "k"))["ask"], true, "it may be asked anew");
}

#[test]
fn a_fifth_at_once_is_told_that_the_model_is_busy() {
    let (model, gate) = Scripted::gated(&["a ", "b "]);
    let (running, _, tokens) = start(model, ALWAYS, &["ann"]);
    let post = |key: &str| running.open("POST /api/live", &tokens[0], &question("well?", key));
    let mut replies = ["1", "2", "3", "4"].map(post);
    for reply in &mut replies {
        assert_eq!(event(reply).expect("an event").0, "start");
    }
    let fifth = running.ask("POST /api/live", &tokens[0], Some(&question("well?", "5")));
    assert_eq!((fifth.status, fifth.code()), (503, "busy".into()));
    let chat = json!({ "messages": [{ "role": "user", "content": "well?" }] });
    assert_eq!(running.ask("POST /v1/chat/completions", &tokens[0], Some(&chat)).status, 503);
    (0..10).for_each(|_| gate.send(()).expect("it waits"));
    for mut reply in replies {
        let all: Vec<_> = std::iter::from_fn(|| event(&mut reply)).collect();
        assert_eq!(done(&all)["ask"], false, "without an ensemble nothing disagrees");
    }
    wait("there is room again", || {
        ask(&running, &tokens[0], "well?", "6").last().is_some_and(|it| it.0 == "done")
    });
}

#[test]
fn what_the_model_fails_with_reaches_the_page() {
    let failure = Some("the tokenizer is gone");
    let (running, _, tokens) =
        start(Scripted { failure, ..Scripted::of(&["a "]) }, ALWAYS, &["ann"]);
    let told = ask(&running, &tokens[0], "well?", "k");
    let error = json!({ "code": "model", "message": "the tokenizer is gone" });
    assert_eq!(told.last().expect("an event"), &("error".to_owned(), error));
    assert!(events(&running).is_empty());
}

#[test]
fn questions_that_make_no_sense_are_refused() {
    let (running, model, tokens) = start(Scripted::of(&["a "]), ALWAYS, &["ann"]);
    let long = "x".repeat((64 << 10) + 1);
    let cases = [
        question("", "k"),
        question(" \n", "k"),
        question(&long, "k"),
        question("well?", ""),
        question("well?", &"k".repeat(129)),
        json!({ "project": "q", "prompt": "well?", "idem_key": "k" }),
        json!({ "project": "p", "prompt": "well?" }),
        json!({ "project": "p", "prompt": ["well?"], "idem_key": "k" }),
    ];
    for body in cases {
        let reply = running.ask("POST /api/live", &tokens[0], Some(&body));
        assert_eq!((reply.status, reply.code()), (400, "bad_request".into()), "{reply:?}");
    }
    assert!(model.asked.lock().expect("whole").is_empty(), "the model isn't bothered");
    let at_most = "x".repeat(64 << 10);
    assert_eq!(done(&ask(&running, &tokens[0], &at_most, "k"))["ask"], false);
}

#[test]
fn only_pairs_and_attacks_are_judged_live_and_only_with_a_model() {
    let (running, tokens) = Running::start(&Settings::default(), &[], &["ann"], |_| {});
    let reply = running.ask("POST /api/live", &tokens[0], Some(&question("well?", "k")));
    assert_eq!((reply.status, reply.code()), (404, "no_model".into()));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut options = ServeOptions::local(folder.path().join("f.sqlite"));
    let mut store = Store::open(&options.store).expect("opens");
    store.change(|it| it.set_project("p", &Settings::of(Kind::Thumbs))).expect("adds");
    let bind = |project: &str, options: &mut ServeOptions| {
        let model = Arc::new(Scripted::of(&["a "]));
        options.live = Some(Live { model, project: project.into(), ask: ALWAYS });
        Server::bind(options).expect_err("is refused").to_string()
    };
    assert!(bind("p", &mut options).contains("live mode compares pairs or judges attacks"));
    assert!(bind("q", &mut options).contains('q'), "there is no such project");
}
