//! Rewards and policies for single people.

#![allow(dead_code, reason = "each test program uses a part of what they share")]

mod program;

use std::fs;
use std::path::Path;

use program::Workplace;
use serde_json::Value;

const TRAIN: [&str; 14] = [
    "train",
    "--config",
    "tiny.toml",
    "--plain",
    "--run",
    "run",
    "--set",
    "data.population=divided",
    "--set",
    "feedback={ pairs = 96, heldout_pairs = 16, batch_pairs = 16, annotators = 8, overlap = 1 }",
    "--set",
    "reward.personal.joint=true",
    "--set",
    "personal={ policy = \"lora\", newcomers = 2, answers = 6, steps = 2 }",
];

fn people(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("people.json")).expect("there are people");
    let told: Value = serde_json::from_str(&text).expect("is JSON");
    told["people"].as_array().expect("is a list").clone()
}

fn is_against<'a>(person: &'a Value, model: &str, by: &str) -> &'a Value {
    let all = person["versus"].as_array().expect("a list");
    let is_it = |it: &&Value| it["model"] == model && it["against"] == "SFT" && it["by"] == by;
    all.iter().find(is_it).unwrap_or_else(|| panic!("{model} by {by} isn't in {all:?}"))
}

#[test]
fn newcomers_get_policies_of_their_own_at_the_end_of_a_run() {
    let place = Workplace::new();
    let printed = place.succeed(&TRAIN);
    assert!(
        printed.contains("SFT beaten by run's policy") && printed.contains("newcomer-01"),
        "{printed}"
    );
    assert!(
        !printed.contains("gold (± std)"),
        "people who differ have no common truth:\n{printed}"
    );
    let run = place.path("run");
    let people = people(&run);
    assert_eq!(people.len(), 2);
    for person in &people {
        assert_eq!(person["answers"], 6);
        for model in ["run's policy", "own policy"] {
            let versus = is_against(person, model, "gold");
            let n: u64 = ["wins", "ties", "losses"]
                .map(|it| versus[it].as_u64().expect("a number"))
                .iter()
                .sum();
            assert_eq!(n, 8);
        }
        let policy = run.join(person["policy"].as_str().expect("a path"));
        let adapter = policy.with_file_name("adapter").join("adapter_config.json");
        assert!(policy.join("config.json").is_file() && adapter.is_file(), "{}", policy.display());
        assert!(run.join(person["person"].as_str().expect("a path")).is_file());
    }
    let policies: Vec<&Value> = people.iter().map(|it| &it["policy"]).collect();
    assert_ne!(policies[0], policies[1]);
}

#[test]
fn a_run_that_is_there_looks_at_people_who_answered_in_it() {
    let place = Workplace::new();
    place.succeed(
        &[&TRAIN[..12], &["--set", "stages=[\"sft\", \"feedback\", \"reward\", \"rl\"]"]].concat(),
    );
    let command = ["personal", "--run", "run", "--plain", "--annotator", "person-003"];
    let printed = place.succeed(&[&command[..], &["--samples", "4"]].concat());
    assert!(printed.contains("person-003"), "{printed}");
    let run = place.path("run");
    let person = &people(&run)[0];
    assert_eq!((&person["kind"], &person["policy"]), (&"rerank".into(), &Value::Null));
    // A real person's truth isn't known, and the best of some scores no less than the first of others would on average.
    let all = person["versus"].as_array().expect("a list");
    assert!(all.iter().all(|it| it["by"] == "reward"));
    let difference =
        |model| is_against(person, model, "reward")["difference"].as_f64().expect("a number");
    assert!(difference("own policy") > difference("run's policy"));
    // Nothing is done again that was done with the same settings; else it begins anew.
    let report = run.join("people/person-003/rerank/report.json");
    let made = || fs::metadata(&report).expect("is there").modified().expect("a time");
    let first = made();
    place.succeed(&[&command[..], &["--samples", "4"]].concat());
    assert_eq!(made(), first);
    place.succeed(&[&command[..], &["--samples", "2"]].concat());
    assert_ne!(made(), first);
}

#[test]
fn a_run_that_is_stopped_while_people_get_policies_goes_on() {
    let (place, other) = (Workplace::new(), Workplace::new());
    place.succeed(&TRAIN);
    other.succeed(&TRAIN);
    let (run, again) = (place.path("run"), other.path("run"));
    // As if it had been killed in the middle of the second person's steps.
    let second = again.join("people/newcomer-01/lora");
    fs::remove_file(again.join("people.json")).expect("is there");
    fs::remove_file(second.join("report.json")).expect("is there");
    fs::remove_file(second.join("checkpoints/rl/finished.json")).expect("is there");
    other.succeed(&["train", "--resume", "run", "--plain"]);
    let read = |run: &Path| fs::read(run.join("people.json")).expect("is there");
    assert!(read(&run) == read(&again), "other people");
}

#[test]
fn what_cannot_be_is_refused() {
    let place = Workplace::new();
    let refused = |args: &[&str]| {
        let output = place.output(args);
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let error = refused(&["train", "--config", "tiny.toml", "--set", "personal={}"]);
    assert!(error.contains("set `reward.personal`"), "{error}");
    let error = refused(&["personal", "--run", "nowhere"]);
    assert!(error.contains("holds no run"), "{error}");
    place.succeed(
        &[&TRAIN[..12], &["--set", "stages=[\"sft\", \"feedback\", \"reward\"]"]].concat(),
    );
    let error = refused(&["personal", "--run", "run", "--annotator", "ann"]);
    assert!(error.contains("\"ann\" has compared no pair"), "{error}");
}
