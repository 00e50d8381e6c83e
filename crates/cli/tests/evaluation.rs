//! Who judges, against whom, by what.

#![cfg(unix)]
#![allow(dead_code, reason = "each test program uses a part of what they share")]

mod program;

use std::fs;
use std::path::Path;

use program::{Workplace, final_files, prefers};
use rein_feedback::{Annotation, Choice, Role, Split, Store, Task};
use serde_json::Value;

const TRAIN: [&str; 6] = ["train", "--config", "tiny.toml", "--plain", "--run", "run"];
const ROUNDS: [&str; 6] = [
    "--set",
    "loop={ rounds = 2, pairs = 12, heldout_pairs = 8, candidates = 3, patience = 0, judge = \"brief\" }",
    "--set",
    "rl.steps=3",
    "--set",
    "evaluate={ prompts = 32, samples = 1, judges = [{ kind = \"length\", max = 4, name = \"brief\" }] }",
];
/// What every reply keeps, what none does, and what depends on the policy.
const SUITE: &str = r#"{"name": "any", "prompt": "Hi, my router is slow. Any idea?", "rules": [{"kind": "length", "max": 99}]}
{"name": "none", "prompt": "Hi, my router is slow. Any idea?", "rules": [{"kind": "regex", "must_match": ["no reply says this"]}]}
"#;

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("is there")).expect("is JSON")
}

/// The names of what lies in a list.
fn each<'a>(list: &'a Value, key: &str) -> Vec<&'a str> {
    let all = list.as_array().expect("is a list").iter();
    all.map(|it| it[key].as_str().expect("is a text")).collect()
}

#[test]
fn a_run_is_judged_by_whom_it_names_and_once_more_against_others() {
    let place = Workplace::new();
    let printed = place.succeed(&[&TRAIN[..], &ROUNDS].concat());
    assert!(printed.contains("round 2 against SFT, by brief"), "{printed}");
    assert!(printed.contains("By category of the prompt, as gold has it"), "{printed}");
    let run = place.path("run");
    for round in read(&run.join("rounds.json"))["rounds"].as_array().expect("has rounds") {
        assert_eq!(round["against_before"]["by"], "brief");
    }
    let told = read(&run.join("rounds/2/evaluation.json"));
    let brief = &told["models"][1]["judges"][0];
    assert_eq!(brief["by"], "brief");
    assert!((-1.0..=0.0).contains(&brief["mean"].as_f64().expect("a number")), "{brief}");
    adds_up(&told);
    let (weights, decided) = (final_files(&run), fs::read(run.join("rounds.json")).expect("reads"));
    measured_again(&place, &run);
    judged_by_people(&place, &run);
    refused_again(&place, &told["models"][1]["folder"]);
    assert!(weights == final_files(&run), "measuring changes no model");
    assert!(decided == fs::read(run.join("rounds.json")).expect("reads"), "nor what was decided");
}

/// Categories are parts of the whole.
fn adds_up(told: &Value) {
    let categories = told["categories"].as_array().expect("is a list");
    assert!((4..=8).contains(&categories.len()), "{} categories", categories.len());
    let (mut n_prompts, mut sum) = (0.0, 0.0);
    for it in categories {
        let n = it["n_prompts"].as_f64().expect("a number");
        let gold = &it["models"][1]["judges"][0];
        assert_eq!((&it["models"][1]["name"], &gold["by"]), (&"SFT".into(), &"gold".into()));
        (n_prompts, sum) = (n_prompts + n, sum + n * gold["mean"].as_f64().expect("a number"));
    }
    let whole = told["models"][1]["gold"].as_f64().expect("a number");
    assert!(n_prompts == 32.0 && (sum / n_prompts - whole).abs() < 1e-9, "{sum} of {n_prompts}");
}

/// A finished run against a checkpoint, by another reward model, with a suite and the best of several replies.
fn measured_again(place: &Workplace, run: &Path) {
    place.write("suite.jsonl", SUITE);
    let before = read(&run.join("rounds/2/evaluation.json"));
    let sft = before["models"][1]["folder"].as_str().expect("a path");
    let reward = read(&run.join("rounds.json"))["rounds"][0]["reward_model"].clone();
    let reward = format!("run/{}", reward.as_str().expect("a path"));
    let judges = format!(
        "evaluate.judges=[{{ kind = \"model\", path = \"{reward}\", name = \"first\" }}, {{ kind = \"length\", max = 4 }}]"
    );
    let against = format!("evaluate.against=[\"{sft}\"]");
    let sets = [&*judges, &*against, "evaluate.best_of=3", "evaluate.regression=suite.jsonl"];
    let sets: Vec<&str> = sets.iter().flat_map(|it| ["--set", it]).collect();
    let printed = place.succeed(&[&["evaluate", "--run", "run", "--plain"], &sets[..]].concat());
    for what in [
        &*format!("round 2 against {sft}, by first"),
        "Regression suite of 2 prompts",
        "The best of n",
    ] {
        assert!(printed.contains(what), "no {what} in:\n{printed}");
    }
    let told = read(&run.join("rounds/2/evaluation.json"));
    let names = ["before", "SFT", "best of 3", "round 1", sft, "round 2"];
    assert_eq!(each(&told["models"], "name"), names);
    // The checkpoint is the fine-tuned model, whose replies are the same.
    for figure in ["reward", "gold", "length", "judges"] {
        assert_eq!(told["models"][1][figure], told["models"][4][figure], "{figure}");
    }
    assert_eq!(told["models"][4]["kl"].as_f64(), Some(0.0));
    let best = told["best_of"].as_array().expect("is a list");
    assert_eq!(best.iter().map(|it| it["n"].as_u64()).collect::<Vec<_>>(), [1, 2, 3].map(Some));
    let rewards: Vec<f64> = best.iter().filter_map(|it| it["reward"].as_f64()).collect();
    assert!(rewards.is_sorted() && rewards[0] < rewards[2], "{rewards:?}");
    let picked = told["models"][2]["reward"].as_f64().expect("a number");
    assert!((rewards[2] - picked).abs() < 1e-6, "{rewards:?} and {picked}");
    let suite = &told["regression"];
    assert_eq!(each(&suite["models"], "name"), ["before", "SFT", "round 1", sft, "round 2"]);
    assert_eq!(suite["models"][1]["failed"], serde_json::json!(["none"]));
    let page = fs::read_to_string(run.join("report.html")).expect("there is a report");
    for what in
        ["By category of the prompt: first", "Regression suite of 2 prompts", "<th>first</th>"]
    {
        assert!(page.contains(what), "no {what}");
    }
}

/// A policy is no judge, and a finished run's training can't be changed.
fn refused_again(place: &Workplace, policy: &Value) {
    let judge = format!("evaluate.judges=[{{ kind = \"model\", path = {policy}, name = \"a\" }}]");
    let cases = [(&*judge, "score.weight"), ("rl.steps=9", "holds a run with a config of its own")];
    for (set, reason) in cases {
        let output = place.output(&["evaluate", "--run", "run", "--set", set]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && error.contains(reason), "{set}: {error}");
    }
}

/// Pairs are put into the store once, and somebody who likes the newest policy judges most of them.
fn judged_by_people(place: &Workplace, run: &Path) {
    let ask = ["evaluate", "--run", "run", "--plain", "--set", "evaluate.people=5"];
    let printed = place.succeed(&ask);
    for what in ["people have judged 0 of 5 pairs", "feedback serve --run run --project evaluation"]
    {
        assert!(printed.contains(what), "no {what} in:\n{printed}");
    }
    let mut store = Store::open(&run.join("feedback.sqlite")).expect("opens");
    store.add_annotator("ann", Role::Person).expect("makes known");
    let tasks = store.tasks("evaluation", Split::Heldout).expect("reads");
    let answer = |(number, task): (usize, &Task)| {
        let newest = task.responses.iter().position(|it| it.source == "round 2");
        let choices = [Choice::First, Choice::Second];
        prefers(task, "ann", choices[newest.expect("is one of both") ^ usize::from(number == 0)])
    };
    let answers: Vec<Annotation> = tasks.iter().take(4).enumerate().map(answer).collect();
    store.annotate(&answers).expect("stores");
    drop(store);
    let printed = place.succeed(&ask[..4]);
    assert!(printed.contains("people have judged 4 of 5 pairs"), "{printed}");
    let told = read(&run.join("rounds/2/evaluation.json"));
    let versus = told["versus"].as_array().expect("is a list");
    let people = versus.iter().find(|it| it["by"] == "people").expect("people judge");
    let counts = ["wins", "ties", "losses"].map(|it| people[it].as_u64().expect("a number"));
    assert_eq!((counts, &people["against"]), ([3, 0, 1], &"SFT".into()));
}

#[test]
fn own_data_name_their_categories_and_right_answers() {
    let place = Workplace::new();
    let row = |number: usize| {
        let (topic, what) = [("sums", "How much"), ("names", "What")][number % 2];
        format!(
            "{{\"prompt\": \"{what} is {number}?\", \"completion\": \" It is {number}.\", \"topic\": \"{topic}\"}}\n"
        )
    };
    let rows: String = (0..200).map(row).collect();
    place.write("rows.jsonl", &rows);
    let evaluate = "evaluate={ prompts = 16, category = \"topic\", judges = [{ kind = \"exact_answer\", column = \"completion\" }] }";
    let data = "data={ kind = \"files\", demonstrations = \"rows.jsonl\", heldout_share = 0.2 }";
    let sets = ["--set", data, "--set", evaluate, "--set", "stages=[]"];
    let printed = place.succeed(&[&TRAIN[..], &sets].concat());
    assert!(printed.contains("By category of the prompt, as exact_answer has it"), "{printed}");
    let told = read(&place.path("run/evaluation.json"));
    assert_eq!(each(&told["categories"], "name"), ["names", "sums"]);
    let n_prompts = |it: &Value| it["n_prompts"].as_u64().expect("a number");
    assert_eq!(
        told["categories"].as_array().expect("a list").iter().map(n_prompts).sum::<u64>(),
        16
    );
    let heldout = rows.replace("\"topic\": \"names\"", "\"theme\": \"names\"");
    place.write("heldout.jsonl", &heldout);
    let data = data.replace("heldout_share = 0.2", "heldout = \"heldout.jsonl\"");
    let sets = ["--run", "other", "--set", &data, "--set", evaluate, "--set", "stages=[]"];
    let output = place.output(&[&TRAIN[..4], &sets].concat());
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        error.contains("heldout.jsonl:2: has no column `topic`, which `evaluate` reads"),
        "{error}"
    );
}

#[test]
fn what_cannot_be_measured_is_refused_before_anything_begins() {
    let place = Workplace::new();
    place.write("suite.jsonl", "{\"prompt\": \"Hi\"}\n");
    let cases = [
        ("evaluate.regression=suite.jsonl", "suite.jsonl:1: `rules` must be a list"),
        ("evaluate.against=[\"nowhere\"]", "nowhere: holds no model.safetensors"),
        (
            "evaluate.judges=[{ kind = \"model\", path = \"nowhere\", name = \"a\" }]",
            "nowhere: holds no",
        ),
        (
            "evaluate.judges=[{ kind = \"length\", max = 3, name = \"gold\" }]",
            "`evaluate.judges[0].name` is",
        ),
        (
            "evaluate.judges=[{ kind = \"length\", most = 3 }]",
            "unknown key `evaluate.judges[0].most`",
        ),
        ("evaluate.judges=[{ kind = \"exact_answer\" }]", "`evaluate` reads the column `answer`"),
        ("evaluate.category=topic", "`evaluate` reads the column `topic`"),
        ("loop={ judge = \"referee\" }", "`loop.judge` is \"referee\", but nobody is called that"),
    ];
    for (set, reason) in cases {
        let output = place.output(&[&TRAIN[..], &["--set", set]].concat());
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && error.contains(reason), "{set}: {error}");
    }
    assert!(!place.path("run").exists());
}
