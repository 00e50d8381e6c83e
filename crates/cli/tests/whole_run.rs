//! One command, from nothing to a measured model.

#![allow(dead_code, reason = "each test program uses a part of what they share")]

mod program;

use std::fs;
use std::process::Stdio;

use program::{Workplace, n_metrics};
use serde_json::{Value, json};

#[test]
fn a_run_ends_with_a_table_samples_a_report_and_models() {
    let place = Workplace::new();
    let printed = place.succeed(&["train", "--config", "tiny.toml", "--plain"]);
    for what in ["before", "SFT", "PPO", "gold", "ends properly", "report:", "run:"] {
        assert!(printed.contains(what), "no {what} in:\n{printed}");
    }
    let run = place.path("runs/tiny");
    for file in ["config.toml", "evaluation.json", "report.html", "samples.jsonl"] {
        assert!(run.join(file).is_file(), "no {file}");
    }
    let events = fs::read_dir(run.join("tensorboard")).expect("has event files");
    assert!(events.count() > 0);
    let model = run.join("checkpoints/rl/step-000005/model");
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        assert!(model.join(file).is_file(), "no {file}");
    }
    learned(&run);
    a_model_of_one_run_begins_another(&place, &model);
}

#[test]
fn rows_that_share_sequences_take_fewer_steps_and_less_padding() {
    let place = Workplace::new();
    let sft = |run: &str, set: &str| {
        let args = ["sft", "--config", "tiny.toml", "--plain", "--run", run, "--set", set];
        let output = place.output(&args);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{told}");
        (n_metrics(&place.path(run)), String::from_utf8_lossy(&output.stdout).into_owned() + &told)
    };
    let (n_plain, told) = sft("plain", "sft.packing=false");
    assert!(!told.contains("padding"), "{told}");
    let (n_packed, told) = sft("packed", "sft.packing=true");
    assert!(told.contains("sft: 256 rows share 156 sequences of at most 96 tokens; "), "{told}");
    assert!(n_packed < n_plain, "{n_packed} {n_plain}");
    let (n_grouped, told) = sft("grouped", "sft.group_by_length=true");
    assert!(told.contains("sft: rows are grouped by length; "), "{told}");
    assert_eq!(n_grouped, n_plain);
}

/// The model imitates better and better.
fn learned(run: &std::path::Path) {
    let text = fs::read_to_string(run.join("metrics.jsonl")).expect("has metrics");
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("is JSON")).collect();
    let losses: Vec<f64> = lines
        .iter()
        .filter(|line| line["stage"] == "sft")
        .filter_map(|line| line["loss"].as_f64())
        .collect();
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    assert!(last < 0.8 * first, "the loss went from {first} to {last}");
    let rl = lines.iter().find(|line| line["stage"] == "rl").expect("has metrics of PPO");
    for name in ["objective/kl", "objective/scores", "policy/entropy_avg", "loss/policy_avg"] {
        assert!(rl[name].is_f64(), "no {name}");
    }
    // Before the first update policy and reference are one, and so the ratio is 1.
    assert_eq!(rl["objective/kl"].as_f64(), Some(0.0));
}

/// What a run saved, the next one loads: policy and reward model from folders.
fn a_model_of_one_run_begins_another(place: &Workplace, model: &std::path::Path) {
    let reward = place.path("runs/tiny/checkpoints/reward");
    let reward = fs::read_dir(reward).expect("reads").map(|entry| entry.expect("reads").path());
    let reward = reward.filter(|path| path.is_dir()).max().expect("has a checkpoint").join("model");
    let [model, reward] = [model, &reward].map(|path| path.display().to_string());
    let args = ["rl", "--algorithm", "ppo", "--config", "tiny.toml", "--plain", "--run", "second"];
    place.succeed(&[&args[..], &["--model", &model, "--reward-model", &reward]].concat());
    assert!(place.path("second/checkpoints/rl/finished.json").is_file());
    assert!(!place.path("second/checkpoints/sft").exists());
    // The distance is that from the model the run began with.
    place.succeed(&["evaluate", "--plain", "--run", "second"]);
    let text = fs::read_to_string(place.path("second/evaluation.json")).expect("was written");
    let evaluation: Value = serde_json::from_str(&text).expect("is JSON");
    let kl = |model: usize| evaluation["models"][model]["kl"].as_f64().expect("is a number");
    assert_eq!(evaluation["models"][1]["name"], "PPO");
    assert_eq!(kl(0), 0.0);
    assert_ne!(kl(1), 0.0);
}

#[test]
fn stages_run_one_by_one_too() {
    let place = Workplace::new();
    for stage in ["sft", "feedback", "reward", "rl"] {
        let config = ["--config", "tiny.toml"];
        let config = if stage == "sft" { &config[..] } else { &[] };
        place.succeed(&[&[stage, "--plain", "--run", "run"][..], config].concat());
    }
    let printed = place.succeed(&["evaluate", "--plain", "--run", "run"]);
    assert!(printed.contains("PPO"), "{printed}");
}

#[test]
fn a_plan_tells_size_and_time_and_does_nothing() {
    let place = Workplace::new();
    let plan = place.succeed(&["train", "--config", "tiny.toml", "--dry-run"]);
    for what in ["sft", "value model", "optimiser", "activations", "All told about"] {
        assert!(plan.contains(what), "no {what} in:\n{plan}");
    }
    assert!(!place.path("runs").exists());
}

#[test]
fn a_run_goes_on_when_nobody_listens_any_more() {
    let place = Workplace::new();
    let args = ["sft", "--config", "tiny.toml", "--plain", "--run", "unheard"];
    let mut child =
        place.rein(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    drop((child.stdout.take(), child.stderr.take()));
    assert!(child.wait().expect("ends").success());
    assert!(place.path("unheard/checkpoints/sft").is_dir());
}

#[test]
fn judgements_from_a_file_are_stored_and_trained_on() {
    let place = Workplace::new();
    let row = |by: &str, number: usize, chosen: &str, rejected: &str| {
        let prompt = format!("Hi, my router is slow. What now? {number}");
        let row =
            json!({"prompt": prompt, "chosen": chosen, "rejected": rejected, "annotator": by});
        format!("{row}\n")
    };
    let (good, bad) = (" Glad to help, never tired.", " Tired, never glad to help.");
    let rows: String = (0..24)
        .flat_map(|it| {
            [row("ann", it, good, bad), row("ben", it, bad, good), row("cy", it, good, bad)]
        })
        .collect();
    place.write("rows.jsonl", &rows);
    let import = ["feedback", "import", "--store", "s.sqlite", "--heldout", "0.3", "rows.jsonl"];
    assert!(place.succeed(&import).contains("72 answers of 72 rows, 24 new tasks"));
    assert!(place.succeed(&import).contains("0 answers of 72 rows, 0 new tasks, 72 known already"));

    place.succeed(&[
        "feedback",
        "export",
        "--store",
        "s.sqlite",
        "--each",
        "--output",
        "each.jsonl",
    ]);
    let n_rows = fs::read_to_string(place.path("each.jsonl")).expect("reads").lines().count();
    let again = place.succeed(&["feedback", "import", "--store", "t.sqlite", "each.jsonl"]);
    assert!(again.contains(&format!("{n_rows} answers of {n_rows} rows")), "{again}");

    let learned = |run: &str, more: &[&str]| {
        let sets =
            ["--set", "feedback.store=\"s.sqlite\"", "--set", "stages=[\"sft\", \"reward\"]"];
        let train = ["train", "--config", "tiny.toml", "--plain", "--run", run];
        place.succeed(&[&train[..], &sets, more].concat());
        let metrics = fs::read_to_string(place.path(run).join("metrics.jsonl")).expect("reads");
        let records =
            metrics.lines().map(|line| serde_json::from_str::<Value>(line).expect("is JSON"));
        let losses = records.filter(|it| it["stage"] == "reward").map(|it| it["loss"].to_string());
        losses.collect::<Vec<_>>()
    };
    let shares = learned("shares", &[]);
    let believed = learned("believed", &["--set", "feedback.aggregation=\"dawid_skene\""]);
    assert!(!shares.is_empty());
    assert_ne!(shares, believed, "what a model believes is learned instead of shares");
}
