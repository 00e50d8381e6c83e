//! What a model is taught: all that counts, and nothing else.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use rein_feedback::aggregate::Aggregation;
use rein_feedback::serve::{Lesson, Live};
use rein_feedback::{Ruling, Split, Store, Subject, Verdict, judged};
use serde_json::{Value, json};

use crate::live::{ALWAYS, answer, ask, done, reply, start, wait};
use crate::running::Running;
use crate::scripted::Scripted;

fn two(texts: [&'static str; 2]) -> Scripted {
    Scripted { disagreement: Some(1.0), ..Scripted::of(&texts) }
}

/// Asks something, and gives what is to be judged.
fn asked(running: &Running, token: &str, prompt: &str) -> Value {
    done(&ask(running, token, prompt, prompt))["task"].clone()
}

/// Says that this text is better, whatever side it is shown on.
fn prefer(running: &Running, token: &str, task: &Value, text: &str, key: &str) -> i64 {
    let choice = if task["items"][0]["text"] == text { "first" } else { "second" };
    answer(running, token, task, key, choice)["id"].as_i64().expect("a row")
}

fn undo(running: &Running, token: &str, key: &str) -> Value {
    let body = json!({ "project": "p", "idem_key": key });
    let reply = running.ask("POST /api/undo", token, Some(&body));
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()["task"].clone()
}

fn lesson(prompt: &str, chosen: &str, rejected: &str) -> Lesson {
    let [chosen, rejected] = [chosen, rejected].map(reply);
    Lesson { prompt: prompt.into(), chosen, rejected }
}

fn thrown_out(annotation: i64) -> Ruling {
    Ruling {
        subject: Subject::Annotation(annotation),
        rule: "test".into(),
        verdict: Verdict::Drop,
        reason: "it is out".into(),
    }
}

/// Stops the server, and starts it with a model that knows nothing.
fn start_again(running: &mut Running, model: Scripted) -> Arc<Scripted> {
    let model = Arc::new(model);
    let live = Live { model: model.clone(), project: "p".into(), ask: ALWAYS };
    running.start_again(|options| {
        options.live = Some(live);
        options.rate = 1000;
    });
    model
}

#[test]
fn after_a_restart_the_model_knows_what_counts_before_it_answers() {
    let texts = ["good ", "bad "];
    let (mut running, model, tokens) = start(two(texts), ALWAYS, &["ann"]);
    let token = &tokens[0];
    let kept = asked(&running, token, "kept");
    prefer(&running, token, &kept, "bad ", "1");
    let dropped = asked(&running, token, "dropped");
    let annotation = prefer(&running, token, &dropped, "good ", "2");
    let changed = asked(&running, token, "changed");
    prefer(&running, token, &changed, "good ", "3");
    assert_eq!(undo(&running, token, "4")["id"], changed["id"]);
    prefer(&running, token, &changed, "bad ", "5");
    let tied = asked(&running, token, "tied");
    let said = json!({ "do": "answer", "answer": { "kind": "tie" } });
    let body = json!({ "task": tied["id"], "idem_key": "6", "said": said });
    assert_eq!(running.ask("POST /api/annotations", token, Some(&body)).status, 200);
    let undone = asked(&running, token, "undone");
    prefer(&running, token, &undone, "good ", "7");
    undo(&running, token, "8");
    asked(&running, token, "more");
    let before = [
        lesson("kept", "bad ", "good "),
        lesson("dropped", "good ", "bad "),
        lesson("changed", "bad ", "good "),
    ];
    assert_eq!(*model.lessons.lock().expect("whole"), before);

    let mut store = Store::open(&running.store).expect("opens");
    store.change(|it| it.rule(&[thrown_out(annotation)])).expect("is ruled");
    let model = start_again(&mut running, two(texts));
    let told = ask(&running, token, "again", "again");
    assert_eq!(done(&told)["best"], 1, "the first answer is ranked by what was said before");
    let [kept, _, changed] = before;
    assert_eq!(*model.lessons.lock().expect("whole"), [kept, changed]);
}

#[test]
fn what_is_taken_back_is_not_a_lesson_for_the_next_answer() {
    let (running, _, tokens) = start(two(["old ", "new "]), ALWAYS, &["ann"]);
    let best = |prompt: &str| done(&ask(&running, &tokens[0], prompt, prompt))["best"].clone();
    let task = asked(&running, &tokens[0], "well?");
    prefer(&running, &tokens[0], &task, "new ", "1");
    assert_eq!(best("taught"), 1);
    undo(&running, &tokens[0], "2");
    assert_eq!(best("taken back"), 0);
    prefer(&running, &tokens[0], &task, "new ", "3");
    assert_eq!(best("taught again"), 1);
    // Said again without being taken back first.
    prefer(&running, &tokens[0], &task, "old ", "4");
    assert_eq!(best("changed"), 0);
}

#[test]
fn what_another_program_throws_out_is_not_a_lesson_for_the_next_answer() {
    let (running, model, tokens) = start(two(["old ", "new "]), ALWAYS, &["ann"]);
    let task = asked(&running, &tokens[0], "well?");
    let annotation = prefer(&running, &tokens[0], &task, "new ", "1");
    let best = |prompt: &str| done(&ask(&running, &tokens[0], prompt, prompt))["best"].clone();
    assert_eq!((best("taught"), best("and again")), (json!(1), json!(1)));
    assert_eq!(model.n_taught.load(Ordering::Relaxed), 1, "nothing is taught twice");
    let mut store = Store::open(&running.store).expect("opens");
    store.change(|it| it.rule(&[thrown_out(annotation)])).expect("is ruled");
    assert_eq!(best("thrown out"), 0);
}

#[test]
fn of_what_many_say_at_once_nothing_is_lost() {
    let people: Vec<String> = (0..12).map(|it| format!("person {it}")).collect();
    let names: Vec<&str> = people.iter().map(String::as_str).collect();
    let (running, model, tokens) = start(two(["good ", "bad "]), ALWAYS, &names);
    let tasks: Vec<_> = tokens.iter().map(|token| asked(&running, token, "well?")).collect();
    thread::scope(|scope| {
        for (token, task) in tokens.iter().zip(&tasks) {
            scope.spawn(|| prefer(&running, token, task, "good ", token));
        }
    });
    let is_known = || model.lessons.lock().expect("whole").len() == 12;
    wait("all is learnt", is_known);
}

#[test]
fn the_newest_come_last_and_older_ones_make_room() {
    let (running, _, tokens) = start(two(["good ", "bad "]), ALWAYS, &["ann"]);
    for prompt in ["first", "second", "third"] {
        let task = asked(&running, &tokens[0], prompt);
        prefer(&running, &tokens[0], &task, "good ", prompt);
    }
    let store = Store::read(&running.store).expect("opens");
    let lessons = |prefix: &str, most| store.lessons("p", prefix, most).expect("reads");
    let expected = ["second", "third"].map(|it| lesson(it, "good ", "bad "));
    assert_eq!(lessons("live/", 2), expected);
    assert_eq!(lessons("live/", 9).len(), 3);
    assert_eq!(lessons("other/", 9), []);
    assert_eq!(store.lessons("q", "live/", 9).expect("reads"), []);
}

#[test]
fn what_a_chat_model_was_asked_is_kept_and_taught_as_a_conversation() {
    let model = || Scripted { reads_messages: true, ..two(["old ", "new "]) };
    let (mut running, _, tokens) = start(model(), ALWAYS, &["ann"]);
    let task = asked(&running, &tokens[0], "well?");
    let asked = json!([{ "role": "user", "content": "well?" }]);
    assert_eq!(task["prompt"], asked);
    prefer(&running, &tokens[0], &task, "new ", "1");
    let model = start_again(&mut running, model());
    ask(&running, &tokens[0], "again", "again");
    let lessons = model.lessons.lock().expect("whole");
    assert_eq!(json!(lessons.iter().map(|it| &it.prompt).collect::<Vec<_>>()), json!([asked]));
    let rows =
        judged(&Store::read(&running.store).expect("opens"), "p", Split::Train, Aggregation::Share);
    let row = &rows.expect("reads")[0].body;
    assert!(row.is_conversational(), "{row:?}");
}
