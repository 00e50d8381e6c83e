//! Results of Amazon Mechanical Turk, written by Python's csv and html, and our own batches.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use rein_feedback::crowd::mturk::{Import, Results, Review, Reviewed, batches};
use rein_feedback::{
    Choice, Judgement, Kind, NewTask, Response, Settings, Shown, Split, Store, Task,
};
use serde_json::Value;

use crate::fixture;

pub(crate) const PROJECT: &str = "crowd";

fn truth() -> Value {
    let path = fixture("mturk/truth.json");
    let text = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).expect("JSON")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

fn judgement(name: &str) -> Judgement {
    match name {
        "first" => Judgement::preferred(Choice::First),
        "second" => Judgement::preferred(Choice::Second),
        "tie" => Judgement::Tie,
        "both_bad" => Judgement::BothBad,
        other => panic!("{other}"),
    }
}

pub(crate) fn new_task(
    name: &str,
    prompt: &str,
    responses: &[&str],
    gold: Option<Judgement>,
) -> NewTask {
    let response =
        |text: &&str| Response { text: (*text).into(), finished: true, source: "model".into() };
    NewTask {
        external_id: name.into(),
        prompt: prompt.into(),
        split: Split::Train,
        responses: responses.iter().map(response).collect(),
        overlap: 2,
        priority: 0.0,
        gold,
    }
}

/// A store with the tasks whose answers came.
fn asked(folder: &Path, truth: &Value) -> Store {
    let tasks = truth["tasks"].as_array().expect("tasks").iter().map(|task| {
        let responses = task["responses"].as_array().expect("texts");
        let responses: Vec<&str> = responses.iter().map(text).collect();
        let gold = task.get("gold").map(|it| judgement(text(it)));
        new_task(text(&task["name"]), text(&task["prompt"]), &responses, gold)
    });
    let mut store = Store::open(&folder.join("feedback.sqlite")).expect("opens");
    store.add_tasks(PROJECT, &tasks.collect::<Vec<_>>()).expect("adds");
    store
}

#[test]
fn texts_of_results_come_back_byte_for_byte() {
    let truth = truth();
    let tasks = truth["tasks"].as_array().expect("tasks").iter();
    let tasks: BTreeMap<&str, &Value> = tasks.map(|it| (text(&it["name"]), it)).collect();
    let rows = Results::open(&fixture("mturk/results.csv")).expect("opens");
    let rows: Vec<_> = rows.collect::<Result<_, _>>().expect("reads");
    assert_eq!(rows.len(), 50);
    for (row, said) in rows.iter().zip(truth["said"].as_array().expect("answers")) {
        assert_eq!(row.id, text(&said["assignment"]));
        let task = tasks[row.inputs["task"].as_str()];
        assert_eq!(row.inputs["prompt"], text(&task["prompt"]));
        for (place, item) in said["order"].as_array().expect("an order").iter().enumerate() {
            let item = item.as_u64().expect("a place") as usize;
            let shown = &row.inputs[&format!("response_{}", place + 1)];
            assert_eq!(shown, text(&task["responses"][item]));
        }
        let comment = row.answers.get("comment").map_or("", String::as_str);
        assert_eq!(comment, text(&said["comment"]));
        assert!(row.columns["Made up"].as_str().is_some_and(|it| it.ends_with(", kept")));
    }
}

#[test]
fn results_are_read_once_however_often_and_rejected_ones_on_demand() {
    let folder = tempfile::tempdir().expect("a folder");
    let truth = truth();
    let mut store = asked(folder.path(), &truth);
    let mut read = |import: Import, file: &str| {
        let done = import.run(&mut store, PROJECT, &fixture(file)).expect("reads");
        assert_eq!(done.set_aside.len(), 1, "{:?}", done.set_aside);
        assert_eq!(done.set_aside[0].reason, "`choice` wasn't answered");
        (done.n_new, done.n_known, done.n_rejected)
    };
    assert_eq!(read(Import::default(), "mturk/results.csv"), (47, 0, 2));
    assert_eq!(read(Import::default(), "mturk/results.csv"), (0, 47, 2));
    assert_eq!(read(Import::default(), "mturk/review.csv"), (0, 47, 2));
    assert_eq!(read(Import { rejected: true }, "mturk/results.csv"), (2, 47, 0));
    assert_stored(&store, &truth);
    let event = &store.events(PROJECT).expect("reads")[0]["columns"];
    assert_eq!((text(&event["Made up"]), text(&event["WorkTimeInSeconds"])), ("0, kept", "20"));
}

/// The store holds what was said, all of it and nothing else.
fn assert_stored(store: &Store, truth: &Value) {
    let tasks = store.tasks(PROJECT, Split::Train).expect("reads").into_iter();
    let names: BTreeMap<i64, String> = tasks.map(|task| (task.id, task.external_id)).collect();
    let answers = store.answers(PROJECT).expect("reads");
    assert_eq!((answers.len(), store.events(PROJECT).expect("reads").len()), (49, 49));
    for said in truth["said"].as_array().expect("answers") {
        let annotator = format!("mturk:{}", text(&said["worker"]));
        let mut of_task = answers.iter().filter(|it| names[&it.task] == text(&said["task"]));
        let stored = of_task.find(|it| it.annotator == annotator);
        if said["broken"] == true {
            assert!(stored.is_none());
            continue;
        }
        let stored = stored.expect("is there");
        assert_eq!(stored.answer.judgement, judgement(text(&said["choice"])));
        assert_eq!(stored.answer.comment, text(&said["comment"]));
        let order: Shown = serde_json::from_value(said["order"].clone()).expect("an order");
        assert_eq!(stored.shown, order);
    }
}

#[test]
fn golden_tasks_say_who_is_paid() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = asked(folder.path(), &truth());
    let write = |review: Review| {
        let mut table = Vec::new();
        let file = fixture("mturk/results.csv");
        let done = review.write(&store, PROJECT, &file, &mut table).expect("writes");
        (done, String::from_utf8(table).expect("UTF-8"))
    };
    let (done, table) = write(Review::default());
    assert_eq!(table, fs::read_to_string(fixture("mturk/review.csv")).expect("reads"));
    assert_eq!(done, Reviewed { n_approved: 21, n_rejected: 23, n_left: 6 });
    let (done, _) = write(Review { min_golds: 13, ..Review::default() });
    assert_eq!(done, Reviewed { n_approved: 44, n_rejected: 0, n_left: 6 });
}

pub(crate) const HOSTILE: [&str; 9] = [
    "",
    "=cmd|' /C calc'!A0",
    "</textarea><script>alert(1)</script>",
    "${prompt} $& \u{1f600}",
    "\"quoted\", \r\n\t&amp;&lt; \n",
    "你好，世界",
    "@x",
    "-1",
    "\u{202e}abc",
];

/// The results that MTurk gives for a batch where each row gets these fields.
fn results(input: &str, fields: &[(String, String)]) -> String {
    let mut rows = csv::Reader::from_reader(input.as_bytes());
    let header = rows.headers().expect("a header").clone();
    let mut table = csv::Writer::from_writer(Vec::new());
    let known = ["AssignmentId", "WorkerId", "AssignmentStatus"].map(str::to_owned);
    let inputs = header.iter().map(|it| format!("Input.{it}"));
    let names = fields.iter().map(|(name, _)| format!("Answer.{name}"));
    table.write_record(known.into_iter().chain(inputs).chain(names)).expect("writes");
    for (number, row) in rows.records().enumerate() {
        let known = [format!("A{number}"), "W".into(), "Submitted".into()];
        let cells = row.expect("reads");
        let inputs = cells.iter().map(str::to_owned);
        let values = fields.iter().map(|(_, value)| value.clone());
        table.write_record(known.into_iter().chain(inputs).chain(values)).expect("writes");
    }
    String::from_utf8(table.into_inner().expect("writes")).expect("UTF-8")
}

/// A store of hostile tasks of this kind.
pub(crate) fn hostile(folder: &Path, settings: &Settings, n_responses: usize) -> Store {
    let mut store = Store::open(&folder.join("s.sqlite")).expect("opens");
    store.change(|change| change.set_project(PROJECT, settings)).expect("makes");
    let task = |number: usize| {
        let text = |it: usize| format!("{}{it}", HOSTILE[(number + it) % HOSTILE.len()]);
        let texts: Vec<String> = (0..n_responses).map(text).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        new_task(&format!("{}{number}", HOSTILE[number]), HOSTILE[number], &texts, None)
    };
    store.add_tasks(PROJECT, &(0..HOSTILE.len()).map(task).collect::<Vec<_>>()).expect("adds");
    store
}

/// Sends hostile tasks out, lets a worker fill in these fields, and says in which order items were shown and what the
/// store holds then.
fn round_trip(
    kind: Kind,
    n_responses: usize,
    fields: &[(String, String)],
) -> Vec<(Shown, Judgement)> {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = Settings::of(kind);
    let mut store = hostile(folder.path(), &settings, n_responses);
    let tasks = store.tasks(PROJECT, Split::Train).expect("reads");
    let batches = batches(&settings, &tasks);
    assert_eq!((batches.len(), batches[0].n_hits), (1, HOSTILE.len()));
    let file = folder.path().join("results.csv");
    fs::write(&file, results(&batches[0].input, fields)).expect("writes");
    for (row, task) in Results::open(&file).expect("opens").zip(&tasks) {
        assert_shown(&row.expect("reads").inputs, task);
    }
    let done = Import::default().run(&mut store, PROJECT, &file).expect("reads");
    assert_eq!((done.n_new, done.set_aside), (tasks.len(), Vec::new()));
    let answers = store.answers(PROJECT).expect("reads");
    answers.into_iter().map(|it| (it.shown, it.answer.judgement)).collect()
}

/// Workers saw the task's own texts, in some order.
fn assert_shown(inputs: &BTreeMap<String, String>, task: &Task) {
    assert_eq!(inputs["task"], task.external_id);
    assert_eq!(inputs.get("prompt").map_or("", String::as_str), task.prompt.transcript());
    let mut texts: Vec<&str> = task.responses.iter().map(|it| it.text.as_str()).collect();
    let places = 1..=texts.len();
    let mut shown: Vec<&str> =
        places.map(|it| inputs[&format!("response_{it}")].as_str()).collect();
    shown.sort_unstable();
    texts.sort_unstable();
    assert_eq!(shown, texts);
}

pub(crate) fn one(name: &str, value: &str) -> Vec<(String, String)> {
    vec![(name.into(), value.into())]
}

#[test]
fn a_side_of_the_page_is_an_item_of_the_task() {
    let said = round_trip(Kind::Pair { points: 4, ties: true }, 2, &one("choice", "left_2"));
    for (Shown(order), judgement) in &said {
        let choice = if order[0] == 0 { Choice::First } else { Choice::Second };
        assert_eq!(*judgement, Judgement::Preferred { choice, strength: 2 });
    }
    let n_turned = said.iter().filter(|(shown, _)| shown.0 == [1, 0]).count();
    assert!((1..9).contains(&n_turned), "{n_turned} of 9 are turned");
}

#[test]
fn each_kind_comes_back() {
    let ranks: Vec<_> = (1..=4).map(|it| (format!("rank_{it}"), it.to_string())).collect();
    for (Shown(order), judgement) in round_trip(Kind::Ranking { ties: false }, 4, &ranks) {
        let Judgement::Ranked { ranks } = judgement else { panic!("{judgement:?}") };
        let best_first: Vec<u8> = order.iter().map(|item| ranks[*item]).collect();
        assert_eq!(best_first, [1, 2, 3, 4]);
    }
    let all = |kind, fields: Vec<(String, String)>, want: Judgement| {
        let said = round_trip(kind, 1, &fields);
        assert!(said.iter().all(|(_, it)| *it == want), "{said:?}");
    };
    all(Kind::Score { least: -1, most: 3 }, one("score", "-1"), Judgement::Scored { score: -1.0 });
    all(Kind::Thumbs, one("thumb.down", "true"), Judgement::Thumb { up: false });
    let attacked = Judgement::Attacked { success: 3, tags: Vec::new() };
    let json = r#"[{"success":{"2":false,"3":true},"comment":"a"}]"#;
    all(Kind::RedTeam, one("taskAnswers", json), attacked.clone());
    all(Kind::RedTeam, one("taskAnswers", &json.replace('"', "&#34;")), attacked);
    let edit = one("text", "a &amp;lt; b\r\nc");
    all(Kind::Edit, edit, Judgement::Edited { text: "a &lt; b\nc".into() });
}

#[test]
fn the_page_holds_only_what_is_asked() {
    let settings = Settings {
        kind: Kind::Pair { points: 6, ties: true },
        guidelines: "</div><script>x</script> ${prompt}".into(),
        reasons: vec!["\"><img src=x onerror=y>".into()],
        aspects: vec!["help & care".into()],
        ..Settings::default()
    };
    let folder = tempfile::tempdir().expect("a folder");
    let store = hostile(folder.path(), &settings, 2);
    let batch = &batches(&settings, &store.tasks(PROJECT, Split::Train).expect("reads"))[0];
    let page = &batch.layout;
    assert_eq!(page.matches("<script").count(), 1);
    assert!(!page.contains("<img"));
    let header = batch.input.lines().next().expect("a header");
    let filled = page.split("${").skip(1).map(|it| it.split('}').next().expect("ends"));
    let filled: Vec<&str> = filled.collect();
    assert_eq!(filled, ["prompt", "response_1", "response_2"]);
    assert!(filled.iter().all(|it| header.contains(&format!("\"{it}\""))), "{header}");
    for value in ["left_3", "left_1", "tie", "both_bad", "right_1", "right_3"] {
        assert_eq!(page.matches(&format!("value=\"{value}\"")).count(), 1, "{value}");
    }
}

#[test]
fn files_of_others_are_refused_with_their_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = asked(folder.path(), &truth());
    let whole = fs::read_to_string(fixture("mturk/results.csv")).expect("reads");
    let mut refusal = |from: &str, to: &str| {
        let file = folder.path().join("broken.csv");
        fs::write(&file, whole.replacen(from, to, 1)).expect("writes");
        let error = Import::default().run(&mut store, PROJECT, &file).expect_err("is refused");
        let error = error.to_string();
        error.split_once("broken.csv:").expect("names the file").1.to_owned()
    };
    assert!(refusal("\"WorkerId\"", "\"Worker\"").starts_with("2: no column `WorkerId`"));
    assert!(refusal("\"Submitted\"", "\"Lost\"").starts_with("2: `AssignmentStatus`"));
    assert!(refusal("\"x", "\"y").contains("has other texts"));
    assert!(refusal("\"task 1\"", "\"task 99\"").contains("task `task 99` isn't in the project"));
    assert!(refusal("Input.order", "Input.other").starts_with("2: no `order`"));
    let long = format!("\"{}\"", "a".repeat(1 << 21));
    assert!(refusal("\"text, compare\"", &long).contains("`Keywords` has more than"));
    assert!(store.all_answers(PROJECT).expect("reads").is_empty(), "nothing was changed");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_file_makes_it_panic(
        cells in prop::collection::vec(any::<String>(), 0..12),
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store = asked(folder.path(), &truth());
        let file = folder.path().join("any.csv");
        let header = "AssignmentId,WorkerId,AssignmentStatus,Input.task,Input.order,Answer.taskAnswers\n";
        let mut table = header.as_bytes().to_vec();
        for row in cells.chunks_exact(6) {
            let cells = row.iter().map(|it| format!("\"{}\"", it.replace('"', "\"\"")));
            table.extend(cells.collect::<Vec<_>>().join(",").into_bytes());
            table.push(b'\n');
        }
        table.extend(&bytes);
        fs::write(&file, table).expect("writes");
        let _ = Import::default().run(&mut store, PROJECT, &file);
        let _ = Review::default().write(&store, PROJECT, &file, Vec::new());
    }
}
