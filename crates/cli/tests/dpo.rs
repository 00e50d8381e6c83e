//! Optimisation on judgements alone, through the program.

#![allow(dead_code, reason = "each test program uses a part of what they share")]

#[path = "../../../fixtures/golden.rs"]
mod golden;
mod program;

use std::fs;
use std::path::Path;

use program::Workplace;
use serde_json::{Value, json};

/// The metrics of the stage, in order.
fn metrics(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).expect("has metrics");
    let lines = text.lines().map(|line| serde_json::from_str(line).expect("is JSON"));
    lines.filter(|line: &Value| line["stage"] == "dpo").collect()
}

const SETS: [&str; 8] = [
    "--set",
    "dpo.batch_rows=8",
    "--set",
    "dpo.micro_batch_rows=4",
    "--set",
    "dpo.optimizer.learning_rate=1e-3",
    "--set",
    "dpo.checkpoints={ evaluate_every = 2, save_every = 2 }",
];

#[test]
fn a_fine_tuned_model_learns_from_what_people_said_and_is_evaluated() {
    let place = Workplace::new();
    let begin = ["sft", "--config", "tiny.toml", "--plain", "--run", "run"];
    place.succeed(&[&begin[..], &SETS].concat());
    let early = place.output(&["dpo", "--plain", "--run", "run"]);
    let told = String::from_utf8_lossy(&early.stderr).into_owned();
    assert_eq!(early.status.code(), Some(2), "{told}");
    assert!(told.contains("no judgements yet; run `rein feedback --run run` first"), "{told}");
    for stage in ["feedback", "dpo"] {
        place.succeed(&[stage, "--plain", "--run", "run"]);
    }
    let run = place.path("run");
    let metrics = metrics(&run);
    for name in ["loss", "rewards/margins", "rewards/accuracies", "logps/chosen", "grad_norm"] {
        assert!(metrics[0][name].is_f64(), "no {name} in {}", metrics[0]);
    }
    let loss = metrics[0]["loss"].as_f64().expect("is a number");
    assert!((loss - 2.0_f64.ln()).abs() < 1e-4, "the policy begins as its reference: {loss}");
    assert!(metrics.iter().any(|it| it["eval_loss"].is_f64()));
    assert!(run.join("checkpoints/dpo/finished.json").is_file());
    let printed = place.succeed(&["evaluate", "--plain", "--run", "run"]);
    assert!(printed.contains("DPO"), "{printed}");
}

fn write_config(place: &Workplace, preferences: &str) {
    let text = format!(
        "seed = 3\nstages = [\"sft\", \"dpo\"]\n[model]\nkind = \"new\"\nvocab_size = 300\nhidden_size = 8\n\
         mlp_size = 16\nn_layers = 1\nn_heads = 2\nn_kv_heads = 1\nmax_positions = 64\n[sft]\n\
         batch_rows = 8\nmicro_batch_rows = 8\nmax_tokens = 48\n[dpo]\nloss_type = \"orpo\"\n\
         max_tokens = 48\nlora = {{ rank = 2 }}\n[data]\nkind = \"files\"\nheldout_share = 0.2\n\
         demonstrations = \"rows.jsonl\"\npreferences = \"{preferences}\"\n"
    );
    place.write("data.toml", &text);
}

#[test]
fn pairs_of_files_are_learned_from_without_a_reward_model() {
    let place = Workplace::new();
    let lines =
        |row: fn(usize) -> Value| (0..60).map(|n| format!("{}\n", row(n))).collect::<String>();
    let demonstration = |n| json!({ "prompt": format!("count to {n}"), "completion": " one" });
    place.write("rows.jsonl", &lines(demonstration));
    place.write(
        "pairs.jsonl",
        &lines(|n| {
            let prompt = format!("count to {n}");
            json!({ "prompt": prompt, "chosen": " yes", "rejected": " no, never" })
        }),
    );
    place.write("labels.jsonl", &lines(|n| {
        json!({ "prompt": format!("count to {n}"), "completion": " a", "label": n % 2 == 0 })
    }));
    let config = |preferences: &str| write_config(&place, preferences);
    config("pairs.jsonl");
    let train = ["train", "--config", "data.toml", "--plain", "--run"];
    let plan = place.succeed(&["train", "--config", "data.toml", "--dry-run"]);
    assert!(plan.contains("dpo") && plan.contains("policy"), "{plan}");
    place.succeed(
        &[&train[..], &["run", "--set", "dpo.batch_rows=8"], &["--set", "dpo.micro_batch_rows=8"]]
            .concat(),
    );
    let run = place.path("run");
    assert!(metrics(&run)[0]["nll_loss"].is_f64());
    assert!(!run.join("checkpoints/reward").exists());
    let checkpoints = fs::read_dir(run.join("checkpoints/dpo")).expect("reads");
    let folders = checkpoints.map(|entry| entry.expect("reads").path()).filter(|it| it.is_dir());
    let newest = folders.max().expect("there is a checkpoint");
    assert!(newest.join("adapter/adapter_model.safetensors").is_file());
    config("labels.jsonl");
    let output = place.output(&[&train[..], &["other"]].concat());
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("set `dpo.loss_type` to \"kto\""), "{told}");
    let kto = ["--set", "dpo.loss_type=kto", "--set", "dpo.batch_rows=8"];
    let kto = [&kto[..], &["--set", "dpo.micro_batch_rows=4"]].concat();
    for (preferences, run) in [("labels.jsonl", "labels"), ("pairs.jsonl", "halves")] {
        config(preferences);
        place.succeed(&[&train[..], &[run], &kto].concat());
        let metrics = metrics(&place.path(run));
        let first = &metrics[0];
        let kl = first["kl"].as_f64().expect("is a number");
        assert!(kl < 1e-4, "the policy begins as its reference: {kl}");
        let loss = first["loss"].as_f64().expect("is a number");
        assert!((loss - 0.5).abs() < 1e-4, "nothing is more probable yet: {loss}");
        assert!(metrics.iter().any(|it| it["rewards/margins"].is_f64()));
    }
    let rows = |run: &str| {
        let metrics = metrics(&place.path(run));
        metrics.iter().filter(|it| it["loss"].is_f64()).count()
    };
    assert!(rows("halves") > rows("labels"), "a pair is two rows");
}

#[test]
fn pairs_are_enough_and_reinforcement_learning_begins_with_what_came_of_them() {
    let place = Workplace::new();
    let pair = |n: usize| {
        let prompt = format!("count to {n}");
        format!("{}\n", json!({ "prompt": prompt, "chosen": " yes", "rejected": " no, never" }))
    };
    place.write("pairs.jsonl", &(0..60).map(pair).collect::<String>());
    let config = |stages: &str| {
        format!(
            "seed = 3\nstages = {stages}\n[model]\nkind = \"new\"\nvocab_size = 300\nhidden_size = 8\n\
             mlp_size = 16\nn_layers = 1\nn_heads = 2\nn_kv_heads = 1\nmax_positions = 64\n[sft]\n\
             batch_rows = 8\nmicro_batch_rows = 8\nmax_tokens = 48\n[reward]\nbatch_rows = 8\n\
             micro_batch_rows = 8\nmax_tokens = 48\n[dpo]\nmax_tokens = 48\nbatch_rows = 8\n\
             micro_batch_rows = 8\noptimizer = {{ learning_rate = 1e-2 }}\n[rl]\nsteps = 1\n\
             prompts_per_step = 8\nmax_new_tokens = 8\nmicro_batch_rows = 8\n\
             optimizer = {{ learning_rate = 1e-9 }}\n[data]\nkind = \"files\"\nheldout_share = 0.2\n\
             preferences = \"pairs.jsonl\"\n"
        )
    };
    place.write("chain.toml", &config("[\"sft\", \"reward\", \"dpo\", \"rl\"]"));
    place.succeed(&["train", "--config", "chain.toml", "--plain", "--run", "chain"]);
    // Next to nothing is learned at this rate: what reinforcement learning left is what it began with.
    let weights = |stage: &str| -> Vec<f32> {
        let folder = place.path("chain/checkpoints").join(stage);
        let entries = fs::read_dir(folder).expect("reads").map(|it| it.expect("reads").path());
        let newest = entries.filter(|it| it.is_dir()).max().expect("there is a checkpoint");
        let mut tensors = golden::tensors(&newest.join("model/model.safetensors"));
        tensors.sort_by(|a, b| a.0.cmp(&b.0));
        tensors.into_iter().flat_map(|(_, _, values)| values).collect()
    };
    let apart = |first: &str, second: &str| {
        let both = weights(first).into_iter().zip(weights(second));
        both.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    assert!(apart("rl", "dpo") < 1e-6 && apart("dpo", "sft") > 1e-3);
    let early = place.output(&["rl", "--config", "chain.toml", "--plain", "--run", "early"]);
    let told = String::from_utf8_lossy(&early.stderr).into_owned();
    assert_eq!(early.status.code(), Some(2), "{told}");
}

#[test]
fn help_teaches_what_the_command_does() {
    let help = Workplace::new().succeed(&["dpo", "--help"]);
    for what in ["dpo.loss_type", "dpo.beta", "`chosen`", "`kto`", "`label`", "rewards/margins"] {
        assert!(help.contains(what), "no {what} in:\n{help}");
    }
}
