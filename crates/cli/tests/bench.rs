//! What is measured is told in lines of JSON that are whole.

#![cfg(feature = "flex")]
#![allow(dead_code, reason = "each test program uses a part of what they share")]

mod program;

use std::fs;

use program::Workplace;
use serde_json::Value;

/// A model and batches of almost nothing.
const SMALL: [&str; 8] = ["--batch", "2", "--length", "8", "--width", "16", "--vocabulary", "24"];

fn bench(args: &[&str]) -> Vec<Value> {
    let text = Workplace::new().succeed(&[&["bench"], args, &["--backend", "flex"]].concat());
    text.lines().map(|line| serde_json::from_str(line).expect("is JSON")).collect()
}

fn number(line: &Value, key: &str) -> f64 {
    line[key].as_f64().unwrap_or_else(|| panic!("`{key}` is no number in {line}"))
}

#[test]
fn workloads_take_sizes_of_their_own() {
    for what in ["sft", "rollout", "ppo"] {
        let lines = bench(&[&[what, "--iters", "1"], &SMALL[..]].concat());
        let [line] = &lines[..] else { panic!("one line, not {lines:?}") };
        assert_eq!((&line["what"], &line["width"]), (&what.into(), &16.into()));
        assert!(number(line, "median") > 0.0 && number(line, "params") < 20_000.0);
    }
}

#[test]
fn moments_are_kept_as_asked() {
    for what in ["sft", "ppo"] {
        for moments in ["f32", "bf16"] {
            let args = [&[what, "--iters", "1", "--moments", moments], &SMALL[..]].concat();
            assert_eq!(bench(&args)[0]["moments"], moments, "on any processor");
        }
    }
}

#[test]
fn workloads_that_train_may_recompute_and_say_so() {
    for what in ["sft", "ppo"] {
        let lines =
            bench(&[&[what, "--iters", "1", "--gradient-checkpointing"], &SMALL[..]].concat());
        assert_eq!(lines[0]["gradient_checkpointing"], true);
    }
}

#[test]
fn an_iteration_may_overlap_with_the_next_rollout() {
    let [alone, overlapping] = [&[][..], &["--overlap"]].map(|flags| {
        let lines = bench(&[&["ppo", "--iters", "2"], flags, &SMALL[..]].concat());
        let [line] = &lines[..] else { panic!("one line, not {lines:?}") };
        assert!(number(line, "median") > 0.0);
        line.get("overlap").cloned()
    });
    assert_eq!((alone, overlapping), (None, Some(true.into())));
}

#[test]
fn every_operation_stands_beside_its_composition() {
    let lines = bench(&[&["ops", "--iters", "2"], &SMALL[..]].concat());
    let names: Vec<&str> = lines.iter().filter_map(|line| line["what"].as_str()).collect();
    let expected = [
        "norm",
        "norm_backward",
        "layer_norm",
        "layer_norm_backward",
        "rotate",
        "rotate_backward",
        "swiglu",
        "swiglu_backward",
        "gelu",
        "gelu_backward",
        "gelu_tanh",
        "gelu_tanh_backward",
        "linear",
        "linear_with_bias",
        "linear_backward_input",
        "linear_backward_weight",
        "sum_of_rows",
        "attention",
        "attention_backward",
        "token_stats",
        "token_stats_backward",
        "adamw",
        "adamw_bf16",
        "sum_of_squares",
        "decode_attention",
        "packed_product",
        "draw",
    ];
    assert_eq!(names, expected);
    for line in &lines {
        let [min, median, max] = ["min", "median", "max"].map(|key| number(line, key));
        assert!(0.0 < min && min <= median && median <= max, "{line}");
        let ratio = median / number(line, "composed_median");
        assert!((number(line, "ratio") / ratio - 1.0).abs() < 1e-9, "{line}");
        let rates = ["flops_per_s", "bytes_per_s"].map(|key| line.get(key).is_some());
        assert!(rates[0] != rates[1], "one of both: {line}");
    }
}

#[test]
fn slopes_follow_the_points_they_are_fitted_to() {
    let few = ["--axis", "batch", "--axis", "width", "--doublings", "2", "--iters", "1"];
    let lines = bench(&[&["slopes"], &few[..], &SMALL].concat());
    let told = |line: &Value| match line.get("of") {
        Some(of) => format!("{} of {}", line["axis"], of),
        None => format!("{} {}", line["axis"], line["value"]),
    };
    let told: Vec<String> = lines.iter().map(told).collect();
    let of_axis = |axis: &str, values: [usize; 3]| {
        let points = values.map(|value| format!("\"{axis}\" {value}"));
        let slopes = ["time", "memory"].map(|of| format!("\"{axis}\" of \"{of}\""));
        [&points[..], &slopes].concat()
    };
    assert_eq!(told, [of_axis("batch", [2, 4, 8]), of_axis("width", [16, 32, 64])].concat());
    assert!((number(&lines[3], "expected") - 1.0).abs() < 1e-9, "{}", lines[3]);
    for slope in [3, 4, 8, 9].map(|line| &lines[line]) {
        let excess = number(slope, "slope") - number(slope, "expected");
        assert_eq!(slope["worse"], excess > 0.15, "{slope}");
    }
}

#[test]
fn a_soak_tells_memory_and_a_verdict() {
    let args = [&["bench", "soak", "--iterations", "60"], &SMALL[..]].concat();
    let output = Workplace::new().output(&args);
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("is JSON")).collect();
    let (summary, samples) = lines.split_last().expect("a summary");
    let iterations: Vec<f64> = samples.iter().map(|line| number(line, "iteration")).collect();
    assert_eq!(iterations, [10.0, 20.0, 30.0, 40.0, 50.0, 60.0]);
    let [settled, last] = [4, 5].map(|line| number(&samples[line], "rss_mib"));
    assert_eq!(number(summary, "settled_rss_mib"), settled);
    let deviation = (last / settled - 1.0).abs() * 100.0;
    assert!((number(summary, "largest_deviation_percent") - deviation).abs() < 1e-9, "{summary}");
    let is_steady = deviation <= 2.0;
    assert_eq!(summary["verdict"], if is_steady { "steady" } else { "strays" });
    assert_eq!(output.status.code(), Some(if is_steady { 0 } else { 1 }));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("iteration 60 of 60: "), "{told}");
}

#[test]
fn an_algorithm_learns_which_arm_is_the_best_and_is_not_run_again() {
    let place = Workplace::new();
    let learn =
        ["bench", "learn", "--task", "bandit", "--algorithms", "reinforce,dpo", "--seeds", "2"];
    let table = place.succeed(&learn);
    assert!(table.contains("reinforce ") && table.contains("(at least 0.95): yes"), "{table}");
    assert!(table.contains("dpo ") && table.contains("(below 0.01): yes"), "{table}");
    let out = place.path("runs/learn");
    let read = |name: &str| fs::read_to_string(out.join(name)).expect("was written");
    let curves = read("curves.jsonl");
    let points: Vec<Value> =
        curves.lines().map(|line| serde_json::from_str(line).expect("is JSON")).collect();
    let first = points.iter().filter(|point| point["step"] == 0);
    assert_eq!(first.clone().count(), 4, "a curve for each algorithm and seed");
    assert!(first.clone().all(|point| number(point, "kl") == 0.0 && number(point, "reward") < 0.6));
    assert!(points.iter().any(|point| number(point, "success") > 0.9 && number(point, "kl") > 1.0));
    assert!(read("learning.svg").contains("REINFORCE"));
    let metrics = "bandit/reinforce-2/metrics.jsonl";
    let (before, seconds) =
        (read(metrics), |it: &str| fs::metadata(out.join(it)).and_then(|it| it.modified()));
    let written = seconds(metrics).expect("a time");
    assert_eq!(place.succeed(&learn), table);
    assert_eq!((read(metrics), seconds(metrics).expect("a time")), (before, written));
    let other = place.output(&[&learn[..], &["--set", "rl.steps=7"]].concat());
    let told = String::from_utf8_lossy(&other.stderr);
    assert!(told.contains("holds a run with other settings; remove it, or name another"), "{told}");
}

#[test]
fn what_runs_begin_with_is_written_and_read() {
    let place = Workplace::new();
    place.succeed(&["bench", "learn", "--task", "bandit", "--export", "start"]);
    for name in ["model/config.json", "model/tokenizer.json", "prompts.jsonl", "heldout.jsonl"] {
        assert!(place.path("start").join(name).exists(), "{name}");
    }
    let pairs = fs::read_to_string(place.path("start/pairs.jsonl")).expect("was written");
    let pair: Value = serde_json::from_str(pairs.lines().next().expect("a pair")).expect("is JSON");
    assert_eq!(pair["prompt"], "arm:");
    let from = ["--task", "bandit", "--from", "start", "--algorithms", "grpo", "--seed", "3"];
    let sets = ["--set", "rl.steps=4", "--set", "rl.checkpoints.evaluate_every=2", "--out", "one"];
    place.succeed(&[&["bench", "learn"], &from[..], &sets].concat());
    let curves = fs::read_to_string(place.path("one/curves.jsonl")).expect("was written");
    let steps: Vec<u64> = curves
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("is JSON"))
        .map(|point| point["step"].as_u64().expect("a step"))
        .collect();
    assert_eq!(steps, [0, 2, 4]);
    assert!(place.path("one/bandit/grpo-3/checkpoints/rl/step-000004/model/config.json").exists());
}

#[test]
fn sizes_that_make_no_model_are_refused() {
    let output = Workplace::new().output(&["bench", "sft", "--width", "40"]);
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(told, "error: --width 40: not a multiple of 16, a key's heads\n");
}

#[cfg(feature = "cuda")]
#[test]
fn a_machine_without_a_driver_is_told_so_at_once() {
    if std::path::Path::new("/dev/nvidia0").exists() {
        return;
    }
    let output = Workplace::new().output(&["bench", "sft", "--backend", "cuda"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.starts_with("error: the NVIDIA driver was not found (looked for "), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
}
