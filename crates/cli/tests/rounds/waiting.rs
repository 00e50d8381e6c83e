//! Rounds that wait for people.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use rein_feedback::{Annotation, Choice, Role, Split, Store};
use serde_json::{Value, json};

use crate::program::{Workplace, prefers, wait_until};
use crate::{rounds, train};

#[test]
fn people_are_waited_for() {
    // As models of annotators have it, which simulated people don't need.
    waits_for_people(&Workplace::new(), &["ann"], &["--set", "feedback.aggregation=one_coin"]);
}

#[test]
fn people_are_waited_for_where_data_have_prompts_only() {
    let place = Workplace::new();
    let row = |number| {
        let question = if number % 2 == 0 { "How much" } else { "What" };
        format!(
            "{{\"prompt\": \"{question} is {number}?\", \"completion\": \" It is {number}.\"}}\n"
        )
    };
    place.write("rows.jsonl", &(0..200).map(row).collect::<String>());
    let data = "data={ kind = \"files\", demonstrations = \"rows.jsonl\", heldout_share = 0.2 }";
    // Of one person alone, nobody can be told apart from another.
    let joint = ["--set", "reward.personal={ joint = true }", "--set", "personal={}"];
    let sets = [&["--set", data][..], &joint].concat();
    waits_for_people(&place, &["ann"], &sets);
    let round = &rounds(&place.path("run"))[0];
    let by = &round["against_before"]["by"];
    assert_eq!((&round["gold"], by), (&Value::Null, &Value::from("reward")));
}

#[test]
fn people_are_waited_for_where_prompts_are_conversations() {
    let place = Workplace::new();
    let says = |role: &str, content: String| json!({ "role": role, "content": content });
    let row = |number| {
        let talk = json!([
            says("user", format!("Count to {number}")),
            says("assistant", "1 2 3".into()),
            says("user", "Go on".into()),
            says("assistant", "4 5 6".into()),
        ]);
        format!("{}\n", json!({ "messages": talk }))
    };
    place.write("rows.jsonl", &(0..200).map(row).collect::<String>());
    let data = "data={ kind = \"files\", demonstrations = \"rows.jsonl\", heldout_share = 0.2, \
                chat_template = \"chatml\" }";
    let sets = ["model.max_positions=256", data, "reward.personal={}"];
    waits_for_people(&place, &["ann", "ben"], &sets.map(|it| ["--set", it]).concat());
    // What one of them said of conversations gives that person a reward.
    let own = ["personal", "--run", "run", "--plain", "--annotator", "ann", "--samples", "2"];
    let own = [&own[..], &["--policy", "lora", "--steps", "1"]].concat();
    place.succeed(&own);
    let people = fs::read_to_string(place.path("run/people.json")).expect("there are people");
    let people: Value = serde_json::from_str(&people).expect("is JSON");
    let person = &people["people"][0];
    assert_eq!((&person["name"], &person["answers"]), (&json!("ann"), &json!(24)));
    assert!(place.path("run").join(person["policy"].as_str().expect("a path")).is_dir());
    let store = Store::read(&place.path("run/feedback.sqlite")).expect("opens");
    let asked = &store.tasks("replies", Split::Train).expect("reads")[0];
    let turns = json!(asked.prompt);
    assert_eq!(turns[1], says("assistant", "1 2 3".into()));
    assert_eq!((turns.as_array().map(Vec::len), &turns[2]["role"]), (Some(3), &json!("user")));
    // What they said goes through a file without loss.
    let export = |store: &str, project: &str, file: &str| {
        let place_of = ["--store", store, "--project", project, "--output", file];
        place.succeed(&[&["feedback", "export"][..], &place_of].concat());
        fs::read_to_string(place.path(file)).expect("reads")
    };
    let rows = export("run/feedback.sqlite", "replies", "said.jsonl");
    place.succeed(&["feedback", "import", "--store", "again.sqlite", "said.jsonl"]);
    assert_eq!(export("again.sqlite", "people", "again.jsonl"), rows);
}

fn waits_for_people(place: &Workplace, names: &[&str], sets: &[&str]) {
    let people =
        ["--set", "loop.answers=people", "--set", "feedback.overlap=1", "--set", "loop.rounds=1"];
    let args = [&train()[..], &people[..], sets].concat();
    let mut child = place.rein(&args).stdout(Stdio::null()).spawn().expect("starts");
    let store = place.path("run/feedback.sqlite");
    wait_until("all pairs to be asked", || {
        let n_open = || -> Option<usize> {
            let store = Store::read(&store).ok()?;
            let tasks = |split| Some(store.tasks("replies", split).ok()?.len());
            Some(tasks(Split::Train)? + tasks(Split::Heldout)?)
        };
        assert!(child.try_wait().expect("asks").is_none(), "it ended");
        place.path("run/checkpoints/feedback/finished.json").is_file() && n_open() > Some(40)
    });
    assert!(child.try_wait().expect("asks").is_none(), "it waits");
    answer_all(&store, names);
    assert!(child.wait().expect("waits").success());
    let rounds = rounds(&place.path("run"));
    assert_eq!(rounds[0]["pairs"], rounds[0]["answers"]);
}

/// People who like short replies, and take turns.
fn answer_all(path: &Path, people: &[&str]) {
    let mut store = Store::open(path).expect("opens");
    for name in people {
        store.add_annotator(name, Role::Person).expect("makes known");
    }
    for split in [Split::Train, Split::Heldout] {
        let tasks = store.tasks("replies", split).expect("reads");
        let answers: Vec<Annotation> = tasks
            .iter()
            .zip(people.iter().cycle())
            .map(|(task, name)| {
                let is_shorter = task.responses[0].text.len() < task.responses[1].text.len();
                let choice = if is_shorter { Choice::First } else { Choice::Second };
                prefers(task, name, choice)
            })
            .collect();
        store.annotate(&answers).expect("stores");
    }
}
