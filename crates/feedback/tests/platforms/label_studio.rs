//! Tasks go to Label Studio and come back in its two kinds of JSON.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use rein_feedback::crowd::Imported;
use rein_feedback::crowd::label_studio::{Export, Import, export};
use rein_feedback::{
    Aspect, Choice, FeedbackError, Judgement, Kind, Settings, Shown, Split, Store,
};
use serde_json::{Value, json};

use crate::mturk::{PROJECT, hostile};

/// The one project of a store's tasks.
fn sent(store: &Store, settings: &Settings) -> Export {
    let tasks = store.tasks(PROJECT, Split::Train).expect("reads");
    let mut exports = export(settings, &tasks);
    assert_eq!((exports.len(), exports[0].n_tasks), (1, tasks.len()));
    for (sent, task) in exports[0].tasks.as_array().expect("a list").iter().zip(&tasks) {
        assert_eq!(sent["data"]["prompt"], task.prompt.transcript());
        let order = sent["data"]["order"].as_str().expect("an order");
        for (place, item) in order.split(' ').enumerate() {
            let item: usize = item.parse().expect("a place");
            let shown = &sent["data"][format!("response_{}", place + 1)];
            assert_eq!(*shown, task.responses[item - 1].text);
        }
    }
    exports.remove(0)
}

/// What Label Studio says of a control, as its guide "Export annotations" shows it.
fn result(name: &str, kind: &str, value: Value) -> Value {
    json!({
        "id": "Dx_aB91ISN", "from_name": name, "to_name": "prompt", "type": kind, "origin": "manual",
        "value": { kind: value },
    })
}

/// Its export once somebody gave each task these answers.
fn exported(export: &Export, results: &[Value]) -> Value {
    let tasks = export.tasks.as_array().expect("a list").iter().enumerate();
    let annotated = tasks.map(|(number, task)| {
        let annotation = |id: usize, was_cancelled: bool| {
            json!({
                "id": 100 + id, "completed_by": 7, "result": results, "was_cancelled": was_cancelled,
                "ground_truth": false, "created_at": "2026-01-05T10:00:00.000000Z", "lead_time": 12.5,
                "prediction": {}, "result_count": 0, "unique_id": "b9", "task": number, "project": 1,
            })
        };
        json!({
            "id": number, "data": task["data"], "drafts": [], "predictions": [], "meta": {},
            "annotations": [annotation(2 * number, false), annotation(2 * number + 1, true)],
        })
    });
    annotated.collect()
}

fn read(store: &mut Store, folder: &Path, text: &Value) -> Result<Imported, FeedbackError> {
    let file = folder.join("project-1.json");
    fs::write(&file, text.to_string()).expect("writes");
    Import.run(store, PROJECT, &file)
}

fn round_trip(kind: Kind, n_responses: usize, results: &[Value]) -> Vec<(Shown, Judgement)> {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = Settings::of(kind);
    let mut store = hostile(folder.path(), &settings, n_responses);
    let export = sent(&store, &settings);
    let answered = exported(&export, results);
    let done = read(&mut store, folder.path(), &answered).expect("reads");
    let n_tasks = export.n_tasks;
    assert_eq!((done.n_new, done.n_rejected, done.set_aside), (n_tasks, n_tasks, Vec::new()));
    let again = read(&mut store, folder.path(), &answered).expect("reads again");
    assert_eq!((again.n_new, again.n_known), (0, n_tasks));
    let answers = store.answers(PROJECT).expect("reads");
    assert!(answers.iter().all(|it| it.annotator == "labelstudio:7"));
    assert!(answers.iter().all(|it| it.active_ms == Some(12_500)));
    answers.into_iter().map(|it| (it.shown, it.answer.judgement)).collect()
}

#[test]
fn a_side_of_the_page_is_an_item_of_the_task() {
    let chosen = [result("choice", "choices", json!(["right_1"]))];
    let said = round_trip(Kind::PAIR, 2, &chosen);
    for (Shown(order), judgement) in &said {
        let choice = if order[1] == 0 { Choice::First } else { Choice::Second };
        assert_eq!(*judgement, Judgement::preferred(choice));
    }
    assert!(said.iter().any(|it| it.0.0 == [1, 0]) && said.iter().any(|it| it.0.0 == [0, 1]));
}

#[test]
fn each_kind_comes_back() {
    let ranks: Vec<Value> =
        (1..=4).map(|it| result(&format!("rank_{it}"), "number", json!(5 - it))).collect();
    for (Shown(order), judgement) in round_trip(Kind::Ranking { ties: false }, 4, &ranks) {
        let Judgement::Ranked { ranks } = judgement else { panic!("{judgement:?}") };
        let on_page: Vec<u8> = order.iter().map(|item| ranks[*item]).collect();
        assert_eq!(on_page, [4, 3, 2, 1]);
    }
    let all = |kind, result: Value, want: Judgement| {
        let said = round_trip(kind, 1, &[result]);
        assert!(said.iter().all(|(_, it)| *it == want), "{said:?}");
    };
    let choice = |name: &str, value: &str| result(name, "choices", json!([value]));
    all(
        Kind::Score { least: -1, most: 3 },
        choice("score", "-1"),
        Judgement::Scored { score: -1.0 },
    );
    all(Kind::Thumbs, choice("thumb", "down"), Judgement::Thumb { up: false });
    let attacked = Judgement::Attacked { success: 3, tags: Vec::new() };
    all(Kind::RedTeam, choice("success", "3"), attacked);
    let text = result("text", "textarea", json!(["a &lt; \u{202e}b\nc 中文"]));
    all(Kind::Edit, text, Judgement::Edited { text: "a &lt; \u{202e}b\nc 中文".into() });
}

#[test]
fn the_short_kind_of_export_says_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = Settings {
        reasons: vec!["true".into(), "kind".into()],
        aspects: vec!["tone".into()],
        ..Settings::default()
    };
    let mut store = hostile(folder.path(), &settings, 2);
    let export = sent(&store, &settings);
    let mut row = export.tasks[0]["data"].clone();
    let said = json!({
        "id": 1, "annotation_id": 5, "annotator": 3, "created_at": "2026-01-05T10:00:00Z",
        "lead_time": 3600.0, "choice": "tie", "reason_2": "yes", "aspect_1": "left", "comment": "x",
    });
    row.as_object_mut().expect("an object").extend(said.as_object().expect("one").clone());
    assert_eq!(read(&mut store, folder.path(), &json!([row])).expect("reads").n_new, 1);
    let stored = &store.answers(PROJECT).expect("reads")[0];
    assert_eq!(stored.answer.judgement, Judgement::Tie);
    assert_eq!(stored.answer.reasons, ["kind"]);
    let choice = Some(if stored.shown.0[0] == 0 { Choice::First } else { Choice::Second });
    assert_eq!(stored.answer.aspects, [Aspect { name: "tone".into(), choice }]);
    assert_eq!((stored.answer.comment.as_str(), stored.active_ms), ("x", None));
}

#[test]
fn what_does_not_fit_is_set_aside_and_what_is_foreign_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = Settings::default();
    let mut store = hostile(folder.path(), &settings, 2);
    let export = sent(&store, &settings);
    let odd = exported(&export, &[result("choice", "choices", json!(["left_1", "tie"]))]);
    let done = read(&mut store, folder.path(), &odd).expect("reads");
    assert_eq!((done.n_new, done.set_aside.len()), (0, export.n_tasks));
    assert_eq!(done.set_aside[0].answer, "100");
    let good = exported(&export, &[result("choice", "choices", json!(["tie"]))]);
    let mut refused = |change: &dyn Fn(&mut Value), reason: &str| {
        let mut bad = good.clone();
        change(&mut bad[1]);
        let error = read(&mut store, folder.path(), &bad).expect_err("is refused").to_string();
        assert!(error.contains(reason) && error.contains("project-1.json"), "{error}");
    };
    refused(&|it| it["data"]["task"] = json!("nothing"), "isn't in the project");
    refused(&|it| it["data"]["check"] = json!("x0"), "other texts");
    refused(&|it| it["data"] = json!(7), "`data` is no object");
    refused(&|it| it["annotations"] = json!("all"), "`annotations` is no list");
    refused(&|it| it["annotations"][0]["id"] = Value::Null, "has no `id`");
    assert!(store.all_answers(PROJECT).expect("reads").is_empty(), "nothing was changed");
}

#[test]
fn the_interface_holds_texts_as_texts() {
    let settings = Settings {
        kind: Kind::Pair { points: 4, ties: true },
        guidelines: "\"/><HyperText value=\"$prompt\"/>\nsecond".into(),
        reasons: vec!["\"><Style>".into()],
        ..Settings::default()
    };
    let folder = tempfile::tempdir().expect("a folder");
    let config = sent(&hostile(folder.path(), &settings, 2), &settings).config;
    assert!(!config.contains("<HyperText") && !config.contains("<Style"), "{config}");
    assert_eq!(config.matches("$prompt").count(), 1, "guidelines name no columns");
    for alias in ["left_2", "left_1", "tie", "both_bad", "right_1", "right_2"] {
        assert_eq!(config.matches(&format!("alias=\"{alias}\"")).count(), 1, "{alias}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_file_makes_it_panic(text in any::<String>(), number in any::<f64>(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = Settings::default();
        let mut store = hostile(folder.path(), &settings, 2);
        let mut odd = exported(&sent(&store, &settings), &[result(&text, &text, json!([number, text]))]);
        odd[0]["annotations"][0]["lead_time"] = json!(number);
        odd[0]["annotations"][0]["completed_by"] = json!({ "id": text });
        let _ = read(&mut store, folder.path(), &odd);
        let file = folder.path().join("any.json");
        fs::write(&file, &bytes).expect("writes");
        let _ = Import.run(&mut store, PROJECT, &file);
    }
}
