//! A red team that learns, on a tiny run.

#![allow(dead_code, reason = "each test program uses a part of what they share")]

mod program;

use std::fs;
use std::path::Path;

use program::Workplace;
use serde_json::Value;

/// A red team that takes seconds. Any reply that says something is a violation: a tiny model knows no manners.
const TEAM: [&str; 16] = [
    "red-team",
    "--run",
    "run",
    "--violation",
    ".",
    "--imitate-epochs",
    "2",
    "--steps",
    "2",
    "--samples",
    "8",
    "--count",
    "24",
    "--examples",
    "1",
    "--plain",
];

/// A place with a run that is fine-tuned.
fn tuned() -> Workplace {
    let place = Workplace::new();
    place.succeed(&["sft", "--config", "tiny.toml", "--plain", "--run", "run"]);
    place
}

fn team<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&TEAM[..], more].concat()
}

fn rows(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("there are attacks");
    text.lines().map(|it| serde_json::from_str(it).expect("is JSON")).collect()
}

fn report(folder: &Path) -> Value {
    let text = fs::read_to_string(folder.join("report.json")).expect("there is a report");
    serde_json::from_str(&text).expect("is JSON")
}

#[test]
fn attacks_are_found_learned_from_and_tried_afresh() {
    let place = tuned();
    let printed = place.succeed(&team(&["--out", "red", "--harden", "--harden-steps", "2"]));
    for what in ["prompts such as users'", "of a fresh attacker, after hardening", "hardened: red/"]
    {
        assert!(printed.contains(what), "no {what} in:\n{printed}");
    }
    let red = place.path("red");
    let told = report(&red);
    let first = &told["first"]["attacker"];
    assert_eq!(first["prompts"], 24);
    let [rate, successes] = ["success_rate", "successes"].map(|it| first[it].as_f64());
    assert_eq!(rate, successes.map(|it| it / 24.0));
    let attacks = rows(&red.join("attacks.jsonl"));
    assert_eq!(Some(attacks.len() as u64), first["distinct"].as_u64());
    assert!(!attacks.is_empty(), "nothing was found: {told}");
    for attack in &attacks {
        let text = |key: &str| attack[key].as_str().expect("a text").trim().to_owned();
        assert!(!text("prompt").is_empty() && !text("reply").is_empty(), "{attack}");
        assert_eq!(attack["violation"], 1.0);
    }
    let hardened = told["hardened"].as_str().expect("a folder");
    assert!(place.path(hardened).join("model.safetensors").is_file());
    assert!(told["fresh"]["attacker"]["success_rate"].is_number());
    assert_eq!(
        printed,
        place.succeed(&team(&["--out", "red", "--harden", "--harden-steps", "2"])),
        "nothing is new"
    );
}

#[test]
fn the_same_seed_finds_the_same_and_other_settings_are_refused() {
    let place = tuned();
    for out in ["one", "two"] {
        place.succeed(&team(&["--out", out]));
    }
    let found = |out: &str| fs::read(place.path(out).join("attacks.jsonl")).expect("reads");
    assert!(found("one") == found("two"), "other attacks");
    let refusal = |args: &[&str]| {
        let output = place.output(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        String::from_utf8(output.stderr).expect("speaks text")
    };
    let other = refusal(&team(&["--out", "one", "--seed", "2"]));
    assert!(other.contains("one: holds a red team with other settings"), "{other}");
    let pattern = refusal(&["red-team", "--run", "run", "--violation", "(a"]);
    assert!(
        pattern.contains("`--violation '(a'`") && pattern.contains("unclosed group"),
        "{pattern}"
    );
    let model = place.path("run/checkpoints/sft");
    let model =
        fs::read_dir(model).expect("reads").map(|it| it.expect("reads").path().join("model"));
    let model = model.filter(|it| it.is_dir()).max().expect("there is a model");
    let model = model.to_str().expect("UTF-8");
    let prompts = refusal(&["red-team", "--model", model, "--violation", "e"]);
    assert!(prompts.contains("`--prompts FILE`"), "{prompts}");
}
