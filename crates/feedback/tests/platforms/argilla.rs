//! Tasks go to Argilla and come back as its records.

use std::fs;
use std::path::Path;

use rein_feedback::crowd::Imported;
use rein_feedback::crowd::argilla::{Export, Import, export};
use rein_feedback::{
    Aspect, Choice, FeedbackError, Judgement, Kind, Settings, Shown, Split, Store,
};
use serde_json::{Value, json};

use crate::mturk::{PROJECT, hostile};

const USERS: [&str; 2] =
    ["00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"];

fn sent(store: &Store, settings: &Settings) -> Export {
    let tasks = store.tasks(PROJECT, Split::Train).expect("reads");
    let mut exports = export(settings, &tasks);
    assert_eq!((exports.len(), exports[0].n_records), (1, tasks.len()));
    for (sent, task) in exports[0].records.as_array().expect("a list").iter().zip(&tasks) {
        assert_eq!(sent["id"], task.external_id);
        assert_eq!(sent["fields"]["prompt"], task.prompt.transcript());
        let order = sent["metadata"]["order"].as_str().expect("an order");
        for (place, item) in order.split(' ').enumerate() {
            let item: usize = item.parse().expect("a place");
            let shown = &sent["fields"][format!("response_{}", place + 1)];
            assert_eq!(*shown, task.responses[item - 1].text);
        }
    }
    exports.remove(0)
}

/// Its records once two people gave each these answers, as `Record.to_dict` writes them.
fn answered(export: &Export, answers: &[(&str, Value)]) -> Value {
    let records = export.records.as_array().expect("a list").iter().enumerate();
    let answered = records.map(|(number, record)| {
        let mut record = record.clone();
        for (question, value) in answers {
            let responses = USERS.map(|user| json!({ "value": value, "user_id": user }));
            record["responses"][*question] = json!(responses);
        }
        record["status"] = json!("completed");
        record["_server_id"] = json!(format!("server-{number}"));
        record
    });
    answered.collect()
}

fn read(store: &mut Store, folder: &Path, records: &Value) -> Result<Imported, FeedbackError> {
    let file = folder.join("records.json");
    fs::write(&file, records.to_string()).expect("writes");
    Import.run(store, PROJECT, &file)
}

fn round_trip(
    kind: Kind,
    n_responses: usize,
    answers: &[(&str, Value)],
) -> Vec<(Shown, Judgement)> {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = Settings::of(kind);
    let mut store = hostile(folder.path(), &settings, n_responses);
    let export = sent(&store, &settings);
    let records = answered(&export, answers);
    let done = read(&mut store, folder.path(), &records).expect("reads");
    assert_eq!((done.n_new, done.set_aside), (2 * export.n_records, Vec::new()));
    let again = read(&mut store, folder.path(), &records).expect("reads again");
    assert_eq!((again.n_new, again.n_known), (0, 2 * export.n_records));
    let answers = store.answers(PROJECT).expect("reads");
    assert!(answers.iter().any(|it| it.annotator == format!("argilla:{}", USERS[1])));
    answers.into_iter().map(|it| (it.shown, it.answer.judgement)).collect()
}

#[test]
fn each_kind_comes_back() {
    for (Shown(order), judgement) in round_trip(Kind::PAIR, 2, &[("choice", json!("left_1"))]) {
        let choice = if order[0] == 0 { Choice::First } else { Choice::Second };
        assert_eq!(judgement, Judgement::preferred(choice));
    }
    let by_rank = json!([{ "value": "response_2", "rank": 1 }, { "value": "response_1", "rank": 2 }, { "value": "response_3", "rank": 2 }]);
    let by_order = json!(["response_2", "response_1", "response_3"]);
    for (value, want) in [(by_rank, [2, 1, 2]), (by_order, [2, 1, 3])] {
        for (Shown(order), judgement) in
            round_trip(Kind::Ranking { ties: true }, 3, &[("rank", value.clone())])
        {
            let Judgement::Ranked { ranks } = judgement else { panic!("{judgement:?}") };
            let on_page: Vec<u8> = order.iter().map(|item| ranks[*item]).collect();
            assert_eq!(on_page, want);
        }
    }
    let all = |kind, question: &str, value: &str, want: Judgement| {
        let said = round_trip(kind, 1, &[(question, json!(value))]);
        assert!(said.iter().all(|(_, it)| *it == want), "{said:?}");
    };
    all(Kind::Score { least: -1, most: 3 }, "score", "-1", Judgement::Scored { score: -1.0 });
    all(Kind::Thumbs, "thumb", "up", Judgement::Thumb { up: true });
    let attacked = Judgement::Attacked { success: 4, tags: Vec::new() };
    all(Kind::RedTeam, "success", "4", attacked);
    let text = "<b>\u{202e}\n中文 &lt;";
    all(Kind::Edit, "text", text, Judgement::Edited { text: text.into() });
}

#[test]
fn reasons_aspects_and_comments_come_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = Settings {
        reasons: vec!["true".into(), "kind".into()],
        aspects: vec!["tone".into()],
        ..Settings::default()
    };
    let mut store = hostile(folder.path(), &settings, 2);
    let export = sent(&store, &settings);
    let names: Vec<&Value> = export.settings["questions"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| &it["name"])
        .collect();
    assert_eq!(names, ["choice", "aspect_1", "reasons", "comment"]);
    let said = [
        ("choice", json!("both_bad")),
        ("reasons", json!(["reason_2"])),
        ("aspect_1", json!("neither")),
        ("comment", json!("x")),
    ];
    read(&mut store, folder.path(), &answered(&export, &said)).expect("reads");
    let answer = &store.answers(PROJECT).expect("reads")[0].answer;
    assert_eq!((&answer.judgement, answer.comment.as_str()), (&Judgement::BothBad, "x"));
    assert_eq!(answer.reasons, ["kind"]);
    assert_eq!(answer.aspects, [Aspect { name: "tone".into(), choice: None }]);
}

#[test]
fn what_does_not_fit_is_set_aside_and_what_is_foreign_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = Settings::default();
    let mut store = hostile(folder.path(), &settings, 2);
    let export = sent(&store, &settings);
    let odd = answered(&export, &[("comment", json!("only a comment"))]);
    let done = read(&mut store, folder.path(), &odd).expect("reads");
    assert_eq!((done.n_new, done.set_aside.len()), (0, 2 * export.n_records));
    let good = answered(&export, &[("choice", json!("tie"))]);
    let mut refused = |change: &dyn Fn(&mut Value), reason: &str| {
        let mut bad = good.clone();
        change(&mut bad[1]);
        let error = read(&mut store, folder.path(), &bad).expect_err("is refused").to_string();
        assert!(error.contains(reason) && error.contains("records.json"), "{error}");
    };
    refused(&|it| it["metadata"]["task"] = json!("nothing"), "isn't in the project");
    refused(&|it| it["metadata"] = json!([]), "`metadata` is no object");
    refused(&|it| it["responses"] = json!(7), "`responses` is no object");
    refused(&|it| it["responses"]["choice"] = json!("tie"), "lists by question");
    refused(&|it| it["responses"]["choice"][0] = json!({}), "no `user_id`");
    assert!(store.all_answers(PROJECT).expect("reads").is_empty(), "nothing was changed");
}
