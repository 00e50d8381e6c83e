//! `rein generate`, `logprobs` and `score` give the numbers of transformers, from files to files.

#![cfg(unix)]
#![allow(dead_code, reason = "each test program uses a part of what they share")]

#[path = "../../../fixtures/golden.rs"]
mod golden;
mod program;

use std::fs;
use std::path::{Path, PathBuf};

use expect_test::{Expect, expect};
use golden::{assert_close, folders, json, number, numbers, tensors, token_rows};
use program::Workplace;
use serde_json::{Value, json};

/// Runs a command on rows and returns what it wrote for each.
fn run(command: &str, model: &Path, rows: &[Value], flags: &[&str]) -> Vec<Value> {
    let place = Workplace::new();
    let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
    place.write("rows.jsonl", &lines);
    let model = model.to_str().expect("a path is UTF-8");
    let args = [command, "--model", model, "--input", "rows.jsonl", "--output", "out.jsonl"];
    place.succeed(&[&args[..], flags].concat());
    let out = fs::read_to_string(place.path("out.jsonl")).expect("reads");
    let lines: Vec<Value> =
        out.lines().map(|line| serde_json::from_str(line).expect("is JSON")).collect();
    assert_eq!(lines.len(), rows.len());
    lines
}

fn ids(tokens: impl IntoIterator<Item = Vec<u32>>) -> Vec<Value> {
    tokens.into_iter().map(|tokens| json!({ "input_ids": tokens })).collect()
}

/// The models that must be loaded, each with what is expected of it.
fn models() -> Vec<(PathBuf, Value)> {
    let all = folders("models", "config.json").into_iter();
    let all = all.map(|folder| (folder.clone(), json(&folder.join("expected.json"))));
    all.filter(|(_, expected)| expected["outcome"] == "correct").collect()
}

#[test]
fn greedy_tokens_are_exact_in_any_batch() {
    for (model, expected) in models() {
        let rows = ids(token_rows(&expected["generation"]["prompts"]));
        let want = token_rows(&expected["generation"]["greedy"]);
        let n_new = want[0].len().to_string();
        for batch_size in ["1", "16"] {
            let flags = ["--greedy", "--max-new-tokens", &n_new, "--batch-size", batch_size];
            for (line, want) in run("generate", &model, &rows, &flags).iter().zip(&want) {
                assert_eq!(line["output_ids"], json!(want), "{}", model.display());
                assert_eq!(line["finish_reason"], "length");
            }
        }
    }
}

#[test]
fn logprobs_are_those_of_transformers() {
    for (model, expected) in models() {
        let completion = &expected["completion"];
        let prompts = token_rows(&completion["prompts"]);
        let rows = prompts.iter().zip(token_rows(&completion["completions"]));
        let rows = ids(rows.map(|(prompt, completion)| [prompt.clone(), completion].concat()));
        let lines = run("logprobs", &model, &rows, &[]);
        for ((line, prompt), want) in
            lines.iter().zip(&prompts).zip(completion["logprobs"].as_array().expect("a list"))
        {
            // The list begins with the second token of the row.
            let got: Vec<f32> = numbers(&line["logprobs"]).iter().map(|it| *it as f32).collect();
            let what = model.display().to_string();
            assert_close(&what, &got[prompt.len() - 1..], &numbers(want), 1e-4);
        }
    }
}

#[test]
fn scores_are_those_of_transformers() {
    for model in folders("reward", "config.json") {
        let tensors = tensors(&model.join("expected.safetensors"));
        let tensor = |name: &str| {
            let (_, shape, values) = tensors.iter().find(|(it, ..)| it == name).expect("is there");
            (shape.clone(), values.clone())
        };
        let ((shape, tokens), (_, mask)) = (tensor("input_ids"), tensor("attention_mask"));
        let rows = tokens.chunks(shape[1]).zip(mask.chunks(shape[1])).map(|(tokens, mask)| {
            let real = tokens.iter().zip(mask).filter(|(_, mask)| **mask != 0.0);
            real.map(|(token, _)| *token as u32).collect()
        });
        let lines = run("score", &model, &ids(rows), &["--batch-size", "4"]);
        let got: Vec<f32> = lines.iter().map(|line| number(&line["score"]) as f32).collect();
        let want: Vec<f64> = tensor("scores").1.iter().map(|score| f64::from(*score)).collect();
        assert_close(&model.display().to_string(), &got, &want, 1e-4);
    }
}

#[test]
fn samples_follow_from_the_seed_and_differ() {
    let (model, expected) = models().remove(0);
    let rows = ids(token_rows(&expected["generation"]["prompts"]).into_iter().take(1));
    let place = Workplace::new();
    place.write("rows.jsonl", &format!("{}\n", rows[0]));
    let model = model.to_str().expect("a path is UTF-8");
    let sample = |seed: &str, batch_size: &str| {
        let args = ["generate", "--model", model, "--input", "rows.jsonl", "--samples", "3"];
        let flags = ["--temperature", "0.9", "--top-k", "40", "--top-p", "0.95"];
        let varied = ["--seed", seed, "--batch-size", batch_size];
        place.succeed(&[&args[..], &flags, &varied].concat())
    };
    let first = sample("1", "1");
    assert_eq!(first.lines().count(), 3);
    assert_eq!(first, sample("1", "3"), "a row draws the same numbers in any batch");
    assert_ne!(first, sample("2", "1"));
    let lines: Vec<&str> = first.lines().collect();
    assert!(lines[0] != lines[1] && lines[1] != lines[2]);
}

#[test]
fn texts_go_in_and_come_out() {
    let place = Workplace::new();
    place.succeed(&["sft", "--config", "tiny.toml", "--plain", "--run", "run"]);
    let stage = place.path("run/checkpoints/sft");
    let checkpoints = fs::read_dir(stage).expect("reads").map(|it| it.expect("reads").path());
    let model = checkpoints.filter(|it| it.is_dir()).max().expect("a checkpoint").join("model");
    let rows = [json!({"prompt": "My phone gets hot.", "completion": " Glad", "other": 1})];
    let line = run("generate", &model, &rows, &["--max-new-tokens", "5"]).remove(0);
    assert!(line["text"].is_string() && line["output_ids"].is_array(), "{line}");
    let line = run("logprobs", &model, &rows, &[]).remove(0);
    assert!(numbers(&line["logprobs"]).iter().all(|nats| *nats < 0.0), "{line}");
}

/// A row that a golden model without a tokenizer refuses, or settings that it does.
fn refused(command: &str, row: &Value, flags: &[&str], expected: Expect) {
    let place = Workplace::new();
    let (model, _) = models().remove(0);
    std::os::unix::fs::symlink(&model, place.path("model")).expect("links");
    place.write("rows.jsonl", &format!("{row}\n"));
    let args = [command, "--model", "model", "--input", "rows.jsonl", "--output", "out.jsonl"];
    let output = place.output(&[&args[..], flags].concat());
    assert_eq!(output.status.code(), Some(2));
    assert!(!place.path("out.jsonl").exists(), "something was written");
    expected.assert_eq(String::from_utf8_lossy(&output.stderr).trim_end());
}

#[test]
fn what_is_wrong_with_the_rows_is_told() {
    let row = json!({ "input_ids": [5, 6] });
    refused(
        "logprobs",
        &json!({ "prompt": "a" }),
        &[],
        expect![
            "error: rows.jsonl:1: text needs a tokenizer, and the model's folder holds none; give `input_ids`"
        ],
    );
    refused(
        "logprobs",
        &json!({ "input_ids": [5, 99_999] }),
        &[],
        expect![
            "error: rows.jsonl:1: the row holds the token 99999, but the model's vocabulary has 320"
        ],
    );
    refused(
        "generate",
        &row,
        &["--max-new-tokens", "100000"],
        expect![
            "error: rows.jsonl:1: the row has 2 tokens and shall get 100000 more, but the model has 64 positions"
        ],
    );
    refused(
        "score",
        &row,
        &[],
        expect!["error: model/model.safetensors: `score.weight` is missing"],
    );
}

#[test]
fn settings_that_mean_nothing_are_told() {
    let row = json!({ "input_ids": [5, 6] });
    refused(
        "generate",
        &row,
        &["--top-p", "1.5"],
        expect!["error: `top_p` is 1.5; it must be within 0..=1"],
    );
    refused(
        "generate",
        &row,
        &["--batch-size", "0"],
        expect!["error: `--batch-size` is 0; it must be above 0"],
    );
    refused(
        "generate",
        &row,
        &["--stop", "."],
        expect![
            "error: model: holds no tokenizer, which `--stop`, `--ban` and expressions need; give tokens: `--stop-token`, `--ban-tokens`"
        ],
    );
    refused(
        "generate",
        &row,
        &["--ban-tokens", "5,400"],
        expect!["error: `banned` holds the token 400, but the model's vocabulary has 320"],
    );
    refused(
        "generate",
        &row,
        &["--greedy", "--attempts", "2"],
        expect![
            "error: `attempts` is above 1, but the best token is the same each time; draw at random"
        ],
    );
}
