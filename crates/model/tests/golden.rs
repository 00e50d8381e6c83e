//! Numbers of PyTorch and transformers, reproduced. `REIN_FIXTURES` names another folder of them.

#![allow(clippy::print_stdout, reason = "a test tells what it refused and why")]

#[path = "../../../fixtures/golden.rs"]
mod golden;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;

use burn::backend::Autodiff;
use burn::module::Param;
use burn::prelude::*;
use burn_flex::{Flex, FlexDevice};
use golden::*;
use rein_data::encoding::TokenRow;
use rein_data::seed::Seed;
use rein_data::stage::Train;
use rein_model::logprobs::{cross_entropy, entropy, row_logprobs, token_logprobs};
use rein_model::optim::{AdamW, Gradients, OptimizerConfig};
use rein_model::schedule::Schedule;
use rein_model::sft::{Sft, SftConfig, SftRows};
use rein_model::tokens::{TokenBatch, host, matrix};
use rein_model::{CausalLm, ModelError, Sampling, generate, load_causal_lm, load_scalar_model};
use serde_json::Value;

type B = Flex;
type AB = Autodiff<Flex>;

const DEVICE: FlexDevice = FlexDevice;

#[test]
fn models_compute_what_transformers_computes() {
    for folder in folders("models", "config.json") {
        let loaded = load_causal_lm::<B>(&folder, &DEVICE);
        if let Some(model) = as_expected(&folder, loaded) {
            check_model(&model, &folder, &json(&folder.join("expected.json")));
        }
    }
}

/// What was loaded, unless `outcome` in the folder's `expected.json` allows or asks for a refusal.
fn as_expected<T: Debug>(folder: &Path, loaded: Result<T, ModelError>) -> Option<T> {
    let expected = folder.join("expected.json");
    let outcome = if expected.exists() { json(&expected)["outcome"].clone() } else { Value::Null };
    let name = folder.display();
    println!("{name}");
    match (outcome.as_str(), loaded) {
        (Some("clear_error"), Ok(_)) => panic!("{name}: must be refused"),
        (Some("clear_error" | "correct_or_clear_error"), Err(error)) => {
            println!("refused: {error}");
            None
        }
        (_, loaded) => Some(loaded.unwrap_or_else(|error| panic!("{name}: {error}"))),
    }
}

fn check_model(model: &CausalLm<B>, folder: &Path, expected: &Value) {
    let tensors = by_name(&folder.join("expected.safetensors"));
    for side in ["right", "left"] {
        check_forward(model, &tensors, side);
    }
    check_generation(model, &expected["generation"]);
    check_completions(model, &expected["completion"]);
}

type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

fn by_name(path: &Path) -> Tensors {
    tensors(path).into_iter().map(|(name, shape, values)| (name, (shape, values))).collect()
}

/// The real tokens of each row, and the mask; without one all tokens are real.
fn unpadded(tensors: &Tensors, side: &str) -> (Vec<Vec<u32>>, Vec<f32>) {
    let name =
        |name: &str| if side.is_empty() { name.to_owned() } else { format!("{side}.{name}") };
    let (shape, ids) = &tensors[&name("input_ids")];
    let all = vec![1.0; ids.len()];
    let mask = tensors.get(&name("attention_mask")).map_or(&all, |(_, mask)| mask);
    let rows = ids.chunks(shape[1]).zip(mask.chunks(shape[1])).map(|(ids, mask)| {
        let real = ids.iter().zip(mask).filter(|(_, mask)| **mask != 0.0);
        real.map(|(id, _)| *id as u32).collect()
    });
    (rows.collect(), mask.clone())
}

fn pad(rows: &[Vec<u32>], side: &str) -> TokenBatch<B> {
    match side {
        "left" => TokenBatch::left_padded(rows, &DEVICE),
        _ => TokenBatch::right_padded(rows, &DEVICE),
    }
}

fn check_forward(model: &CausalLm<B>, tensors: &Tensors, side: &str) {
    let (rows, mask) = unpadded(tensors, side);
    let batch = pad(&rows, side);
    let hidden = model.hidden(&batch);
    let [n_batch, n_time, width] = hidden.dims();
    let flat = hidden.clone().reshape([n_batch * n_time, width]);
    for (what, got) in [("last_hidden", host(hidden)), ("logits", host(model.logits(flat)))] {
        let (shape, want) = &tensors[&format!("{side}.{what}")];
        let wide: Vec<f64> =
            mask.iter().flat_map(|mask| vec![f64::from(*mask); shape[2]]).collect();
        let want: Vec<f64> = want.iter().map(|value| f64::from(*value)).collect();
        assert_close_masked(&format!("{side}.{what}"), &got, &want, &wide, 1e-4);
    }
}

fn greedy(max_new_tokens: usize, eos: u32, batch_rows: usize) -> Sampling {
    Sampling { max_new_tokens, temperature: 0.0, eos, batch_rows }
}

/// Greedy tokens are exact: with the cache alone and in a left-padded batch, and without it.
fn check_generation(model: &CausalLm<B>, generation: &Value) {
    let prompts = token_rows(&generation["prompts"]);
    let want = token_rows(&generation["greedy"]);
    let max_new_tokens = want[0].len();
    for batch_rows in [1, prompts.len()] {
        let sampling = greedy(max_new_tokens, u32::MAX, batch_rows);
        let got = generate(model, &prompts, &sampling, Seed::new(0), &DEVICE).expect("generates");
        let got: Vec<_> = got.into_iter().map(|row| row.tokens).collect();
        assert_eq!(got, want, "in batches of {batch_rows}");
    }
    for (prompt, want) in prompts.iter().zip(&want) {
        let mut tokens = prompt.clone();
        for token in want {
            let batch = TokenBatch::right_padded(&[&tokens], &DEVICE);
            let hidden = model.hidden(&batch).narrow(1, tokens.len() - 1, 1);
            let logits = host(model.logits(hidden.reshape([1, model.config().hidden_size])));
            let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]));
            assert_eq!(best, Some(*token as usize), "without a cache");
            tokens.push(*token);
        }
    }
    check_generation_with_eos(model, &prompts, &generation["with_eos"], max_new_tokens);
}

/// The output stops after the end of sequence, which is part of it.
fn check_generation_with_eos(
    model: &CausalLm<B>,
    prompts: &[Vec<u32>],
    with_eos: &Value,
    max_new_tokens: usize,
) {
    let cases = match with_eos {
        Value::Array(cases) => cases.clone(),
        case => vec![case.clone()],
    };
    for case in cases {
        let eos = number(&case["eos_token_id"]) as u32;
        let want = case.get("outputs").or_else(|| case.get("greedy")).expect("tokens to expect");
        let want = token_rows(want);
        let sampling = greedy(max_new_tokens, eos, prompts.len());
        let got = generate(model, prompts, &sampling, Seed::new(0), &DEVICE).expect("generates");
        for (got, want) in got.iter().zip(&want) {
            assert_eq!(&got.tokens, want, "with {eos} as the end of sequence");
            assert_eq!(got.finished, want.last() == Some(&eos));
        }
    }
}

fn check_completions(model: &CausalLm<B>, completion: &Value) {
    let prompts = token_rows(&completion["prompts"]);
    let completions = token_rows(&completion["completions"]);
    let rows: Vec<TokenRow> = prompts
        .into_iter()
        .zip(&completions)
        .map(|(prompt, completion)| TokenRow::completion(prompt, completion))
        .collect();
    let got = row_logprobs(model, &rows.iter().collect::<Vec<_>>(), 1.0, 8, &DEVICE);
    let want = completion["logprobs"].as_array().expect("a list of rows");
    for (row, (got, want)) in got.iter().zip(want).enumerate() {
        assert_close(&format!("logprobs of row {row}"), got, &numbers(want), 1e-4);
    }
}

#[test]
fn reward_models_score_the_last_token_of_the_mask() {
    for folder in folders("reward", "config.json") {
        let loaded = load_scalar_model::<B>(&folder, &DEVICE);
        let Some(model) = as_expected(&folder, loaded) else { continue };
        let tensors = by_name(&folder.join("expected.safetensors"));
        let want = |name: &str| tensors[name].1.iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
        let (rows, mask) = unpadded(&tensors, "");
        let batch = pad(&rows, "right");
        assert_close("scores", &host(model.scores(&batch)), &want("scores"), 1e-4);
        let mask: Vec<f64> = mask.into_iter().map(f64::from).collect();
        let token_scores = host(model.values(&batch));
        assert_close_masked("token_scores", &token_scores, &want("token_scores"), &mask, 1e-4);
        let (rows, _) = unpadded(&tensors, "left");
        assert_close("left", &host(model.scores(&pad(&rows, "left"))), &want("left.scores"), 1e-4);
        let (rows, _) = unpadded(&tensors, "trap");
        let scores = host(model.scores(&pad(&rows, "right")));
        assert_close("trap", &scores, &want("trap.score_by_mask"), 1e-4);
    }
}

/// `[batch, time, vocab]` logits as `[batch · time, vocab]`.
fn logit_rows(value: &Value) -> Vec<Vec<f32>> {
    value.as_array().expect("a batch").iter().flat_map(rows).collect()
}

fn ids(values: Vec<f64>) -> Tensor<B, 1, Int> {
    let values: Vec<i32> = values.into_iter().map(|value| value as i32).collect();
    Tensor::from_data(values.as_slice(), &DEVICE)
}

#[test]
fn logprobs_and_entropy() {
    for (file, case) in rlmath_cases(|it| has(it, &["logits", "labels", "temperature", "entropy"]))
    {
        let logits =
            matrix::<B>(&logit_rows(&case["logits"]), &DEVICE) / number(&case["temperature"]);
        let logprobs = token_logprobs(logits.clone(), ids(numbers(&case["labels"])));
        assert_close(&file, &host(logprobs), &numbers(&case["logprobs"]), 1e-5);
        assert_close(&file, &host(entropy(logits)), &numbers(&case["entropy"]), 1e-5);
    }
}

#[test]
fn cross_entropy_on_completion_tokens() {
    for (file, case) in rlmath_cases(|it| has(it, &["labels", "label_smoothing", "grad_logits"])) {
        let n_time = case["labels"][0].as_array().expect("a row").len();
        let labels = numbers(&case["labels"]);
        // Cell t predicts the label at t + 1.
        let cells: Vec<usize> =
            (0..labels.len()).filter(|cell| cell % n_time > 0 && labels[*cell] >= 0.0).collect();
        let before: Vec<i32> = cells.iter().map(|cell| *cell as i32 - 1).collect();
        let targets = cells.iter().map(|cell| labels[*cell] as i32).collect::<Vec<_>>();
        let all = matrix::<AB>(&logit_rows(&case["logits"]), &DEVICE).require_grad();
        let logits = all.clone().select(0, Tensor::from_data(before.as_slice(), &DEVICE));
        let targets = Tensor::from_data(targets.as_slice(), &DEVICE);
        let smoothing = number(&case["label_smoothing"]);
        let loss = cross_entropy(logits, targets, smoothing).sum() / cells.len() as f64;
        assert_near(&file, f64::from(host(loss.clone())[0]), &case["loss_token_mean"], 1e-5);
        let gradient = all.grad(&loss.backward()).expect("a leaf has a gradient");
        assert_close(&file, &host(gradient), &numbers(&case["grad_logits"]), 1e-4);
    }
}

#[test]
fn schedules_are_those_of_transformers() {
    for (file, case) in rlmath_cases(|it| has(it, &["schedule", "lr_at_step"])) {
        let schedule: Schedule =
            serde_json::from_value(case["schedule"].clone()).expect("a known name");
        let count = |key: &str| case.get(key).map_or(0, |value| number(value) as usize);
        let floor = case.get("min_lr_rate").map_or(0.0, number);
        for (step, want) in case["lr_at_step"].as_array().expect("a list").iter().enumerate() {
            let factor = schedule.factor(
                step,
                count("num_warmup_steps"),
                count("num_training_steps"),
                floor,
            );
            let got = factor * number(&case["base_lr"]);
            assert!(
                (got - number(want)).abs() < 1e-12,
                "{file} {schedule:?} at {step}: {got}, {want}"
            );
        }
    }
}

/// A module of one tensor.
#[derive(Module, Debug)]
struct Weights<B: Backend> {
    values: Param<Tensor<B, 1>>,
}

fn weights(values: &[f64]) -> Weights<AB> {
    let values: Vec<f32> = values.iter().map(|value| *value as f32).collect();
    Weights { values: Param::from_tensor(Tensor::from_data(values.as_slice(), &DEVICE)) }
}

/// The gradients of a loss that is linear in the weights: its coefficients.
fn gradients(module: &Weights<AB>, coefficients: &[f64]) -> Gradients<B> {
    let values: Vec<f32> = coefficients.iter().map(|value| *value as f32).collect();
    let coefficients: Tensor<AB, 1> = Tensor::from_data(values.as_slice(), &DEVICE);
    Gradients::of((module.values.val() * coefficients).sum(), module)
}

#[test]
fn adamw_steps_like_torch() {
    for (file, case) in rlmath_cases(|it| has(it, &["grads", "params_after_step", "betas"])) {
        let betas = numbers(&case["betas"]);
        let config = OptimizerConfig {
            betas: [betas[0], betas[1]],
            epsilon: number(&case["eps"]),
            weight_decay: number(&case["weight_decay"]),
            ..OptimizerConfig::default()
        };
        let mut optimizer = AdamW::<B>::new(config);
        let mut module = weights(&numbers(&case["init"]));
        let steps = case["grads"].as_array().expect("a list").iter();
        for (gradient, want) in steps.zip(case["params_after_step"].as_array().expect("a list")) {
            let gradients = gradients(&module, &numbers(gradient));
            module = optimizer.update(module, gradients, number(&case["lr"]));
            assert_close(&file, &host(module.values.val()), &numbers(want), 1e-5);
        }
    }
}

#[test]
fn gradients_are_clipped_by_their_global_norm() {
    for (file, case) in rlmath_cases(|it| has(it, &["grads", "max_norm", "total_norm"])) {
        let module = weights(&vec![0.0; numbers(&case["grads"]).len()]);
        let mut gradients = gradients(&module, &numbers(&case["grads"]));
        let norm = gradients.clip(number(&case["max_norm"]));
        assert_near(&file, norm, &case["total_norm"], 1e-5);
        let clipped: f64 = numbers(&case["clipped"]).iter().map(|value| value * value).sum();
        assert_near(&file, gradients.norm(), &clipped.sqrt().into(), 1e-5);
    }
}

#[test]
fn fine_tuning_follows_the_reference_run() {
    for (folder, trajectory) in training_runs(|run| has(&run["steps"][0], &["num_label_tokens"])) {
        for micro_batch_rows in [1, 64] {
            check_sft(&folder, &trajectory, micro_batch_rows);
        }
    }
}

fn check_sft(folder: &Path, trajectory: &Value, micro_batch_rows: usize) {
    let hyper = &trajectory["hyperparameters"];
    let n_steps = number(&hyper["total_steps"]);
    let betas = numbers(&hyper["betas"]);
    let schedule = serde_json::from_value(hyper["schedule"].clone()).expect("a known schedule");
    let config = SftConfig {
        epochs: n_steps,
        batch_rows: 1,
        micro_batch_rows,
        optimizer: OptimizerConfig {
            learning_rate: number(&hyper["lr"]),
            schedule,
            warmup_ratio: number(&hyper["warmup_steps"]) / n_steps,
            betas: [betas[0], betas[1]],
            epsilon: number(&hyper["eps"]),
            weight_decay: number(&hyper["weight_decay"]),
            max_grad_norm: number(&hyper["max_grad_norm"]),
            ..OptimizerConfig::default()
        },
        ..SftConfig::default()
    };
    let model = load_causal_lm::<AB>(&folder.join("init"), &DEVICE).expect("loads");
    let rows = SftRows { train: vec![TokenRow::new(vec![0, 0], vec![true; 2])], heldout: vec![] };
    let mut sft = Sft::new(config, model, None, rows, Seed::new(0), &DEVICE).expect("begins");
    let batches = trajectory["batches"].as_array().expect("a list");
    for (step, batch) in batches.iter().enumerate() {
        let rows = label_rows(batch);
        let got = sft.update(step, &rows.iter().collect::<Vec<_>>()).expect("updates");
        let want = &trajectory["steps"][step];
        let metric = |name: &str| got.get(name).expect("is measured");
        assert_near(&format!("loss at {step}"), metric("loss"), &want["loss"], 1e-4);
        assert_near(&format!("norm at {step}"), metric("grad_norm"), &want["grad_norm"], 1e-3);
        assert_near(&format!("rate at {step}"), metric("learning_rate"), &want["lr"], 1e-9);
    }
    let saved = tempfile::tempdir().expect("a temporary folder");
    sft.save(saved.path()).expect("saves");
    let saved = saved.path().join("model/model.safetensors");
    assert_same_weights(&saved, ["", ""], &folder.join("final.safetensors"));
}

/// Rows of tokens with a label on each token that is learned.
fn label_rows(batch: &Value) -> Vec<TokenRow> {
    let parts = ["input_ids", "attention_mask", "labels"].map(|key| rows(&batch[key]));
    let [ids, mask, labels] = parts;
    let row = |row: usize| {
        let real: Vec<usize> = (0..ids[row].len()).filter(|cell| mask[row][*cell] != 0.0).collect();
        let tokens = real.iter().map(|cell| ids[row][*cell] as u32).collect();
        TokenRow::new(tokens, real.iter().map(|cell| labels[row][*cell] >= 0.0).collect())
    };
    (0..ids.len()).map(row).collect()
}
