//! `rein export` casts and splits a model and takes its tokenizer along.

#![allow(dead_code, reason = "each test program uses a part of what they share")]

#[path = "../../../fixtures/golden.rs"]
mod golden;
mod program;

use std::fs;
use std::path::{Path, PathBuf};

use expect_test::{Expect, expect};
use golden::{folders, json, token_rows};
use program::Workplace;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};

/// A folder `model` with a model of the fixtures and a tokenizer beside it.
fn place_with(model: &Path) -> Workplace {
    let place = Workplace::new();
    fs::create_dir(place.path("model")).expect("creates");
    let tokenizer = &folders("tokenizer", "chat_template.jinja")[0];
    for folder in [tokenizer, model] {
        for entry in fs::read_dir(folder).expect("reads") {
            let path = entry.expect("reads").path();
            let name = path.file_name().expect("has a name").to_string_lossy().into_owned();
            if !name.starts_with("expected") && !name.contains(".v") {
                fs::copy(&path, place.path("model").join(name)).expect("copies");
            }
        }
    }
    place
}

/// The models that must be loaded, each with what is expected of it.
fn models() -> Vec<(PathBuf, Value)> {
    let all = folders("models", "config.json").into_iter();
    let all = all.map(|folder| (folder.clone(), json(&folder.join("expected.json"))));
    all.filter(|(_, expected)| expected["outcome"] == "correct").collect()
}

fn files(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).expect("reads").map(|entry| entry.expect("reads").file_name());
    let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn an_export_computes_what_the_model_computes() {
    for (model, expected) in models() {
        let place = place_with(&model);
        let args = ["export", "--model", "model", "--output", "out", "--dtype", "f32"];
        place.succeed(&[&args[..], &["--max-shard-size", "10KB"]].concat());
        let shards = files(&place.path("out"));
        assert!(shards.iter().any(|name| name.starts_with("model-00001-of-")), "{shards:?}");
        for name in ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"] {
            let bytes = |folder: &str| fs::read(place.path(folder).join(name)).expect("reads");
            assert!(bytes("model") == bytes("out"), "{name} differs");
        }
        let generation = |folder: &str| json(&place.path(folder).join("generation_config.json"));
        assert_eq!(generation("model"), generation("out"));
        let prompts = token_rows(&expected["generation"]["prompts"]);
        let lines = prompts.iter().map(|row| format!("{}\n", json!({ "input_ids": row })));
        place.write("rows.jsonl", &lines.collect::<String>());
        let want = token_rows(&expected["generation"]["greedy"]);
        let n_new = want[0].len().to_string();
        let args = ["generate", "--model", "out", "--input", "rows.jsonl", "--greedy"];
        let printed = place.succeed(&[&args[..], &["--max-new-tokens", &n_new]].concat());
        for (line, want) in printed.lines().zip(want) {
            let line: Value = serde_json::from_str(line).expect("is JSON");
            assert_eq!(line["output_ids"], json!(want), "{}", model.display());
        }
    }
}

#[test]
fn classifiers_are_cast_too() {
    let place = place_with(&folders("reward", "config.json")[0]);
    place.succeed(&["export", "--model", "model", "--output", "out", "--dtype", "bf16"]);
    let bytes = fs::read(place.path("out/model.safetensors")).expect("reads");
    let file = SafeTensors::deserialize(&bytes).expect("a whole file");
    assert!(file.iter().all(|(_, view)| view.dtype() == Dtype::BF16));
    assert!(file.tensor("score.weight").is_ok());
    assert_eq!(json(&place.path("out/config.json"))["dtype"], "bfloat16");
    place.write("rows.jsonl", "{\"input_ids\": [3, 4]}\n");
    let printed = place.succeed(&["score", "--model", "out", "--input", "rows.jsonl"]);
    assert!(printed.contains("\"score\":"), "{printed}");
}

#[test]
fn what_is_there_is_not_written_over_by_accident() {
    let place = place_with(&models()[0].0);
    let refused = |args: &[&str], expected: &Expect| {
        let output = place.output(&[&["export", "--model", "model"][..], args].concat());
        assert_eq!(output.status.code(), Some(2));
        expected.assert_eq(String::from_utf8_lossy(&output.stderr).trim_end());
    };
    for flags in [&["--output", "model/../model"][..], &["--output", "model", "--force"]] {
        let path = flags[1];
        let output = place.output(&[&["export", "--model", "model"][..], flags].concat());
        let told = String::from_utf8_lossy(&output.stderr);
        let want = format!("error: {path}: is the model itself; name another --output\n");
        assert_eq!((output.status.code(), &*told), (Some(2), &*want));
    }
    fs::create_dir(place.path("out")).expect("creates");
    place.write("out/model-00001-of-00009.safetensors", "of an earlier model");
    place.write("out/notes.txt", "mine");
    refused(
        &["--output", "out"],
        &expect!["error: out: is not empty; name another --output, or add --force"],
    );
    place.succeed(&["export", "--model", "model", "--output", "out", "--force"]);
    let found = files(&place.path("out"));
    assert!(found.contains(&"notes.txt".into()) && found.contains(&"model.safetensors".into()));
    assert!(!found.contains(&"model-00001-of-00009.safetensors".into()), "{found:?}");
    refused(
        &["--output", "other", "--max-shard-size", "lots"],
        &expect![[r#"
            error: invalid value 'lots' for '--max-shard-size <SIZE>': write it as in 2GB, 500MB or 1GiB

            For more information, try '--help'."#]],
    );
}

#[test]
fn values_without_room_in_the_type_are_named_and_nothing_is_left() {
    let of_f32 = |(_, expected): &(PathBuf, Value)| expected["stored_dtype"] == "float32";
    let (model, _) = models().into_iter().find(of_f32).expect("one is f32");
    let place = place_with(&model);
    let file = place.path("model/model.safetensors");
    let mut bytes = fs::read(&file).expect("reads");
    let last = bytes.len() - 4;
    bytes[last..].copy_from_slice(&1e6_f32.to_le_bytes());
    fs::write(&file, bytes).expect("writes");
    let args = ["export", "--model", "model", "--output", "out", "--dtype", "f16"];
    let output = place.output(&args);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("` holds 1000000, which f16 has no room for"), "{told}");
    assert_eq!(files(&place.path("")), ["model", "tiny.toml"]);
}
