//! LoRA adapters through the program: beside a model, alone, and merged into what is exported.

#![cfg(unix)]
#![allow(dead_code, reason = "each test program uses a part of what they share")]

#[path = "../../../fixtures/golden.rs"]
mod golden;
mod program;

use std::fs;
use std::path::{Path, PathBuf};

use golden::{assert_close, json, number, numbers, own_root, tensors};
use program::Workplace;
use serde_json::{Value, json};

fn text(path: &Path) -> &str {
    path.to_str().expect("a path is UTF-8")
}

/// Runs a command on rows of tokens and returns what it wrote for each.
fn run(place: &Workplace, command: &str, rows: &[Vec<u32>], flags: &[&str]) -> Vec<Value> {
    let lines: String =
        rows.iter().map(|row| format!("{}\n", json!({ "input_ids": row }))).collect();
    place.write("rows.jsonl", &lines);
    let printed = place.succeed(&[&[command, "--input", "rows.jsonl"], flags].concat());
    printed.lines().map(|line| serde_json::from_str(line).expect("is JSON")).collect()
}

/// An adapter of the fixtures, its base, its rows and a tensor that is expected.
struct Case {
    adapter: PathBuf,
    base: PathBuf,
    rows: Vec<Vec<u32>>,
    shape: Vec<usize>,
    want: Vec<f32>,
}

impl Case {
    fn new(name: &str, expected: &str) -> Self {
        let adapter = own_root().join("lora").join(name);
        let about = json(&adapter.join("expected.json"));
        let base = own_root().join(about["base"].as_str().expect("names its base"));
        let tensors = tensors(&adapter.join("expected.safetensors"));
        let tensor = |name: &str| {
            let (_, shape, values) = tensors.iter().find(|(it, ..)| it == name).expect("is there");
            (shape.clone(), values.clone())
        };
        let ((shape, ids), (_, mask)) = (tensor("input_ids"), tensor("attention_mask"));
        let row = |(ids, mask): (&[f32], &[f32])| {
            let real = ids.iter().zip(mask).filter(|(_, mask)| **mask != 0.0);
            real.map(|(id, _)| *id as u32).collect()
        };
        let rows = ids.chunks(shape[1]).zip(mask.chunks(shape[1])).map(row).collect();
        let (shape, want) = tensor(expected);
        Self { adapter, base, rows, shape, want }
    }

    /// `log p` of each token but the first, from PEFT's logits.
    fn logprobs(&self) -> Vec<Vec<f64>> {
        let (n_time, width) = (self.shape[1], self.shape[2]);
        let logprob = |row: usize, column: usize, token: u32| {
            let logits = &self.want[(row * n_time + column) * width..][..width];
            let total: f64 = logits.iter().map(|it| f64::from(*it).exp()).sum();
            f64::from(logits[token as usize]) - total.ln()
        };
        let rows = self.rows.iter().enumerate();
        rows.map(|(number, row)| {
            (1..row.len()).map(|column| logprob(number, column - 1, row[column])).collect()
        })
        .collect()
    }

    fn check(&self, what: &str, lines: &[Value]) {
        for (line, want) in lines.iter().zip(self.logprobs()) {
            let got: Vec<f32> =
                numbers(&line["logprobs"]).into_iter().map(|it| it as f32).collect();
            assert_close(what, &got, &want, 1e-4);
        }
    }
}

#[test]
fn a_model_is_run_with_an_adapter_or_exported_with_it() {
    for name in ["gpt2", "gpt_neox", "llama_rslora", "qwen2"] {
        let place = Workplace::new();
        let case = Case::new(name, "logits");
        let (base, adapter) = (text(&case.base), text(&case.adapter));
        let with = ["--model", base, "--adapter", adapter];
        case.check(name, &run(&place, "logprobs", &case.rows, &with));
        place.succeed(&[&["export", "--output", "merged"], &with[..]].concat());
        let merged = run(&place, "logprobs", &case.rows, &["--model", "merged"]);
        case.check(&format!("{name} merged"), &merged);
        let unmerge = ["export", "--unmerge", "--model", "merged", "--output", "base"];
        place.succeed(&[&unmerge, &with[2..]].concat());
        let off = Case::new(name, "base.logits");
        let unmerged = run(&place, "logprobs", &case.rows, &["--model", "base"]);
        off.check(&format!("{name} unmerged"), &unmerged);
    }
}

#[test]
fn an_adapter_alone_is_run_on_the_base_that_it_names() {
    let place = Workplace::new();
    let case = Case::new("llama", "logits");
    let copy = |name: &str| {
        let bytes = fs::read(case.adapter.join(name)).expect("reads");
        fs::write(place.path("adapter").join(name), bytes).expect("writes");
    };
    fs::create_dir(place.path("adapter")).expect("creates");
    copy("adapter_config.json");
    copy("adapter_model.safetensors");
    let error = place.output(&["logprobs", "--model", "adapter", "--input", "tiny.toml"]);
    let error = String::from_utf8_lossy(&error.stderr).into_owned();
    assert!(error.contains("llama"), "names the base that is nowhere: {error}");
    std::os::unix::fs::symlink(&case.base, place.path("llama")).expect("links");
    case.check("alone", &run(&place, "logprobs", &case.rows, &["--model", "adapter"]));
}

#[test]
fn an_adapter_of_a_reward_model_scores_with_its_own_head() {
    for name in ["rm_llama", "rm_gpt2"] {
        let place = Workplace::new();
        let case = Case::new(name, "scores");
        let with = ["--model", text(&case.base), "--adapter", text(&case.adapter)];
        let want: Vec<f64> = case.want.iter().map(|it| f64::from(*it)).collect();
        let check = |what: &str, lines: &[Value]| {
            let got: Vec<f32> = lines.iter().map(|it| number(&it["score"]) as f32).collect();
            assert_close(what, &got, &want, 1e-4);
        };
        check(name, &run(&place, "score", &case.rows, &with));
        place.succeed(&[&["export", "--output", "merged"], &with[..]].concat());
        check(&format!("{name} merged"), &run(&place, "score", &case.rows, &["--model", "merged"]));
    }
}
