use burn::module::Param;
use burn::prelude::*;
use rein_kernels::ops::{TokenStats, token_stats};
use rein_kernels::{HeadLayout, Kernels, Precision};
use rein_model::logprobs::cross_entropy;
use rein_model::optim::{AdamW, Gradients, OptimizerConfig};
use rein_model::schedule::Schedule;
use rein_model::tokens::{host, matrix};
use serde_json::Value;

use crate::golden::{assert_close, assert_near, has, number, numbers, rlmath_cases, rows};
use crate::{AB, B, DEVICE};

/// `[batch, time, vocab]` logits as `[batch · time, vocab]`.
fn logit_rows(value: &Value) -> Vec<Vec<f32>> {
    value.as_array().expect("a batch").iter().flat_map(rows).collect()
}

fn ids(values: Vec<f64>) -> Tensor<B, 1, Int> {
    let values: Vec<i32> = values.into_iter().map(|value| value as i32).collect();
    Tensor::from_data(values.as_slice(), &DEVICE)
}

/// Statistics of given logits: those of hidden states under a head that changes nothing.
fn stats_of<K: Kernels>(
    logits: Tensor<K, 2>,
    targets: Tensor<K, 1, Int>,
    temperature: f32,
) -> TokenStats<K> {
    let head = Tensor::eye(logits.dims()[1], &logits.device());
    token_stats(
        logits,
        head,
        targets,
        HeadLayout { tied: false, temperature, precision: Precision::F32 },
    )
}

#[test]
fn logprobs_and_entropy() {
    for (file, case) in rlmath_cases(|it| has(it, &["logits", "labels", "temperature", "entropy"]))
    {
        let logits = matrix::<B>(&logit_rows(&case["logits"]), &DEVICE);
        let temperature = number(&case["temperature"]) as f32;
        let stats = stats_of(logits, ids(numbers(&case["labels"])), temperature);
        assert_close(&file, &host(stats.logprobs), &numbers(&case["logprobs"]), 1e-5);
        assert_close(&file, &host(stats.entropies), &numbers(&case["entropy"]), 1e-5);
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
        let loss =
            cross_entropy(&stats_of(logits, targets, 1.0), smoothing).sum() / cells.len() as f64;
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
    Gradients::of(module, [coefficients], |module, coefficients| {
        (module.values.val() * coefficients).sum()
    })
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
