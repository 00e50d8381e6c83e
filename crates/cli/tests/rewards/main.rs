//! Rewards that a run's config names.

#![allow(dead_code, reason = "each test program uses a part of what they share")]

#[path = "../program/mod.rs"]
mod program;
#[cfg(unix)]
mod rules;
#[cfg(unix)]
mod server;

use std::fs;

use expect_test::{Expect, expect};
use program::Workplace;
use serde_json::Value;

/// What the steps of reinforcement learning told.
fn told(place: &Workplace, run: &str) -> Vec<Value> {
    let text = fs::read_to_string(place.path(run).join("metrics.jsonl")).expect("reads");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("is JSON"));
    lines.filter(|it| it["stage"] == "rl" && it.get("objective/kl").is_some()).collect()
}

fn train(place: &Workplace, run: &str, stages: &str, rewards: &str) -> Vec<Value> {
    let [stages, rewards] = [format!("stages={stages}"), format!("rl.rewards={rewards}")];
    let args = ["train", "--config", "tiny.toml", "--plain", "--run", run];
    place.succeed(&[&args[..], &["--set", &stages, "--set", &rewards]].concat());
    told(place, run)
}

fn number(line: &Value, name: &str) -> f64 {
    line[name].as_f64().unwrap_or_else(|| panic!("no {name} in {line}"))
}

#[test]
fn rewards_are_mixed_by_their_weights() {
    let place = Workplace::new();
    let mix = "[{ kind = \"model\" }, { kind = \"gold\", weight = 0.5 }]";
    let steps = train(&place, "run", "[\"sft\", \"feedback\", \"reward\", \"rl\"]", mix);
    assert!(!steps.is_empty());
    for step in steps {
        let [mixture, learned, gold] = ["mixture", "learned", "gold"]
            .map(|name| number(&step, &format!("rewards/{name}/mean")));
        assert!((mixture - learned - 0.5 * gold).abs() < 1e-5, "{step}");
    }
    let saved = fs::read_to_string(place.path("run/config.toml")).expect("reads");
    assert!(saved.contains("[[rl.rewards]]"), "{saved}");
}

#[test]
fn a_run_that_asks_no_reward_model_needs_none() {
    let place = Workplace::new();
    let steps = train(&place, "run", "[\"sft\", \"rl\"]", "[{ kind = \"gold\" }]");
    assert!(steps.iter().all(|it| number(it, "rewards/gold/std") >= 0.0) && !steps.is_empty());
    assert!(!place.path("run/checkpoints/reward").exists());
}

/// The model that a finished stage left.
fn model(place: &Workplace, run: &str, stage: &str) -> String {
    let folder = format!("{run}/checkpoints/{stage}");
    let finished = fs::read(place.path(&folder).join("finished.json")).expect("is finished");
    let finished: Value = serde_json::from_slice(&finished).expect("is JSON");
    format!("{folder}/step-{:06}/model", finished["step"].as_u64().expect("a step"))
}

#[test]
fn rewards_are_read_off_demonstrations_and_costs_are_limited() {
    let place = Workplace::new();
    place.succeed(&["sft", "--config", "tiny.toml", "--plain", "--run", "base"]);
    let base = model(&place, "base", "sft");
    let sets = [
        "data.expert_temperature=1.0",
        "sft.iq_learn={ coefficient = 0.05 }",
        "reward.demonstrations={ count = 64, max_ent = { features = { min_count = 2 } } }",
        "rl.rewards=[{ kind = \"model\" }, { kind = \"log_ratio\", clip = 3.0 }, { kind = \"features\", weight = 0.0 }]",
        "rl.constraints=[{ cost = \"features\", limit = -1e6 }]",
    ];
    let mut args =
        vec!["train", "--config", "tiny.toml", "--plain", "--model", &base, "--run", "run"];
    sets.iter().for_each(|set| args.extend(["--set", set]));
    place.succeed(&args);
    let multipliers: Vec<f64> =
        told(&place, "run").iter().map(|it| number(it, "constraint/lambda")).collect();
    let grow = multipliers.windows(2).all(|it| it[1] >= it[0]);
    assert!(multipliers.len() > 1 && grow, "{multipliers:?}");
    let [first, ..] = &told(&place, "run")[..] else { panic!("there are steps") };
    let [mixture, learned, ratio] = ["mixture", "learned", "log_ratio"]
        .map(|name| number(first, &format!("rewards/{name}/mean")));
    assert!((mixture - learned - ratio).abs() < 1e-4 && ratio != 0.0, "{first}");
    let weights = fs::read(place.path("run/feature_reward.json")).expect("was written");
    let weights: Value = serde_json::from_slice(&weights).expect("is JSON");
    assert!(weights["weights"]["word:."].is_number(), "{weights}");
    assert!(!place.path("run/checkpoints/feedback").exists(), "nobody was asked");
}

fn refused(place: &Workplace, rewards: &str, expected: &Expect) {
    let rewards = format!("rl.rewards={rewards}");
    let output = place.output(&["train", "--config", "tiny.toml", "--set", &rewards]);
    assert_eq!(output.status.code(), Some(2));
    expected.assert_eq(String::from_utf8_lossy(&output.stderr).trim_end());
}

#[test]
fn rewards_that_mean_nothing_are_refused() {
    let place = Workplace::new();
    refused(
        &place,
        "[{ kind = \"modle\" }]",
        &expect![[
            r#"error: --set rl.rewards=[{ kind = "modle" }]: `rl.rewards[0].kind` is "modle", which isn't known; did you mean "model"?"#
        ]],
    );
    refused(
        &place,
        "[{ kind = \"gold\" }, { kind = \"gold\" }]",
        &expect![[r#"error: tiny.toml with --set: `rl.rewards` holds "gold" twice"#]],
    );
    refused(
        &place,
        "[{ kind = \"log_ratio\" }]",
        &expect![[
            r#"error: tiny.toml with --set: `rl.rewards`: "log_ratio" needs a `base` where the run begins with a new model"#
        ]],
    );
    let texts = "text\tlabel\na b c d\t1\ne f g h\t0\n";
    place.write("t.tsv", texts);
    let table = "{ path = \"t.tsv\", text = \"text\", label = \"label\" }";
    let data = format!("[data]\nkind = \"labels\"\ntrain = {table}\nheldout = {table}\n");
    place.write("tiny.toml", &data);
    refused(
        &place,
        "[{ kind = \"gold\" }]",
        &expect![[
            r#"error: tiny.toml with --set: `rl.rewards` holds "gold", but only the help-desk world knows the truth"#
        ]],
    );
}

/// The folder of a run's reward model.
fn reward_model(place: &Workplace, run: &str) -> String {
    let stage = place.path(run).join("checkpoints/reward");
    let finished = fs::read_to_string(stage.join("finished.json")).expect("reads");
    let finished: Value = serde_json::from_str(&finished).expect("is JSON");
    let step = finished["step"].as_u64().expect("a number");
    stage.join(format!("step-{step:06}/model")).display().to_string()
}

#[test]
fn an_ensemble_is_searched_for_what_fools_it_optimised_with_doubts_and_attacked() {
    let place = Workplace::new();
    let sets = [
        "stages=[\"sft\", \"feedback\", \"reward\", \"rl\"]",
        "sft.neftune_noise_alpha=5",
        "reward.ensemble={ prior_scale = 2.0 }",
        "reward.adversarial={ steps = 2 }",
        "reward.search={ rounds = 1, steps = 2, prompts = 16, min_score = -9.0, quantile = 0.5 }",
        "rl.rewards=[{ kind = \"model\", pessimism = { kind = \"lower_bound\", coefficient = 2 } }]",
    ];
    let args = ["train", "--config", "tiny.toml", "--plain", "--run", "run"];
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    let output = place.output(&[&args[..], &sets].concat());
    let notes = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{notes}");
    assert!(notes.contains("reward: round 1: of 16 completions, "), "{notes}");
    assert!(place.path("run/checkpoints/reward-1/finished.json").exists());
    let steps = told(&place, "run");
    let rl: Vec<&Value> = steps.iter().filter(|it| it.get("rewards/gold/mean").is_none()).collect();
    assert!(!rl.is_empty());
    for step in rl {
        let [score, mean, std] = ["learned", "learned_mean", "learned_std"]
            .map(|name| number(step, &format!("rewards/{name}/mean")));
        assert!(std > 0.0 && (score - (mean - 2.0 * std)).abs() < 1e-4, "{step}");
    }
    let model = reward_model(&place, "run");
    let attack = ["reward", "attack", "--reward-model", &model, "--pairs", "12", "--budget", "2"];
    let report = place.succeed(&[&attack[..], &["--json"]].concat());
    let report: Value = serde_json::from_str(&report).expect("is JSON");
    let attempts = report["attempts"].as_array().expect("a list");
    assert_eq!(attempts.len(), 12);
    let attacked: Vec<&Value> = attempts.iter().filter(|it| it["attack"].is_object()).collect();
    assert_eq!(report["accuracy"]["count"], attacked.len());
    for attempt in attacked {
        let scores = attempt["scores"].as_array().expect("two");
        let outcome = &attempt["attack"];
        let [goal, before] = [&scores[0], &scores[1]].map(|it| it.as_f64().expect("a number"));
        let after = number(outcome, "score");
        assert!(after >= before && (after > goal) == (outcome["succeeded"] == true), "{attempt}");
        assert!(outcome["flips"].as_u64().expect("a number") <= 2, "{attempt}");
    }
    place.write("empty.jsonl", "");
    let output = place.output(&[&attack[..], &["--data", "empty.jsonl"]].concat());
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn an_ensemble_with_a_backbone_for_each_is_trained_exported_and_optimised() {
    let place = Workplace::new();
    let sets = [
        "stages=[\"sft\", \"feedback\", \"reward\", \"rl\"]",
        "reward.ensemble={ heads = 3, backbones = \"own\" }",
        "rl.rewards=[{ kind = \"model\", pessimism = { kind = \"minimum\" } }]",
    ];
    let args = ["train", "--config", "tiny.toml", "--plain", "--run", "run"];
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    place.succeed(&[&args[..], &sets].concat());
    let steps = told(&place, "run");
    assert!(!steps.is_empty());
    for step in steps {
        let [least, mean, std] = ["learned", "learned_mean", "learned_std"]
            .map(|name| number(&step, &format!("rewards/{name}/mean")));
        assert!(std > 0.0 && least < mean, "{step}");
    }
    let model = reward_model(&place, "run");
    let members = |model: &str| {
        let found = fs::read_dir(place.path(model).join("members")).expect("has members");
        found.map(|it| it.expect("reads").file_name().into_string().expect("a number")).collect()
    };
    let mut found: Vec<String> = members(&model);
    found.sort();
    assert_eq!(found, ["2", "3"]);
    place.write("rows.jsonl", "{\"prompt\": \"Hi.\", \"completion\": \" For your phone.\"}\n");
    let score = |model: &str| place.succeed(&["score", "--model", model, "--input", "rows.jsonl"]);
    let scores = score(&model);
    let line: Value = serde_json::from_str(&scores).expect("is JSON");
    assert!(number(&line, "std") > 0.0 && number(&line, "bald") > 0.0, "{line}");
    place.succeed(&["export", "--model", &model, "--output", "exported"]);
    assert_eq!(score("exported"), scores);
    let first = place.path("run/first");
    fs::create_dir(&first).expect("makes");
    for entry in fs::read_dir(&model).expect("reads") {
        let path = entry.expect("reads").path();
        if path.is_file() {
            fs::copy(&path, first.join(path.file_name().expect("has one"))).expect("copies");
        }
    }
    let first = first.display().to_string();
    assert_ne!(score(&first), scores, "the first model alone");
    place.succeed(&["export", "--model", &first, "--output", "exported", "--force"]);
    assert_eq!(score("exported"), score(&first), "what an earlier model had beside it is gone");
}

#[test]
fn doubts_need_heads_that_differ() {
    let place = Workplace::new();
    refused(
        &place,
        "[{ kind = \"model\", pessimism = { kind = \"minimum\" } }]",
        &expect![[
            r#"error: tiny.toml with --set: `rl.rewards` holds a `pessimism`, but `reward.ensemble` isn't set: one head can't differ"#
        ]],
    );
}
