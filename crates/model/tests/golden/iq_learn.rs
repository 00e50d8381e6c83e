//! Logits as values: numbers of an independent computation, and what doesn't change them.

use burn::prelude::*;
use rein_data::store::TokenStore;
use rein_kernels::ops::token_stats;
use rein_kernels::{HeadLayout, Precision};
use rein_model::iq_learn::{IqLearnConfig, chosen_logits, implied_rewards};
use rein_model::sft::SftConfig;
use rein_model::tokens::{host, matrix};
use serde_json::Value;

use crate::golden::{assert_close, assert_near, json, number, numbers, own_root, root, rows};
use crate::packing::{begin, cases, learned};
use crate::{AB, DEVICE};

#[test]
fn losses_and_gradients_are_those_of_whole_distributions() {
    let name = "inverse/iq_learn.json";
    let path = root().join(name);
    let path = if path.exists() { path } else { own_root().join(name) };
    let file = json(&path);
    for case in file["cases"].as_array().expect("a list of cases") {
        for is_tied in [true, false] {
            check(case, is_tied);
        }
    }
}

fn check(case: &Value, is_tied: bool) {
    let leaf = |key: &str| matrix::<AB>(&rows(&case[key]), &DEVICE).require_grad();
    let (hidden, head) = (leaf("hidden"), leaf("head"));
    let targets: Vec<i32> = numbers(&case["targets"]).into_iter().map(|it| it as i32).collect();
    let n_tokens = targets.len() as f64;
    let targets = Tensor::<AB, 1, Int>::from_data(targets.as_slice(), &DEVICE);
    let lengths: Vec<usize> = numbers(&case["lengths"]).into_iter().map(|it| it as usize).collect();
    let laid = if is_tied { head.clone().transpose() } else { head.clone() };
    let layout = HeadLayout { tied: is_tied, temperature: 1.0, precision: Precision::F32 };
    let stats = token_stats(hidden.clone(), laid.clone(), targets.clone(), layout);
    let chosen = chosen_logits(hidden.clone(), (laid, is_tied), targets);
    let gamma = number(&case["gamma"]);
    let rewards = implied_rewards(chosen, stats.logprobs.clone(), &lengths, gamma);
    let penalty = rewards.square().sum() / n_tokens;
    let loss = penalty.clone() * number(&case["coefficient"]) - stats.logprobs.sum() / n_tokens;
    assert_near("penalty", f64::from(host(penalty)[0]), &case["penalty"], 1e-5);
    assert_near("loss", f64::from(host(loss.clone())[0]), &case["loss"], 1e-5);
    let gradients = loss.backward();
    for (key, leaf) in [("grad_hidden", &hidden), ("grad_head", &head)] {
        let gradient = leaf.grad(&gradients).expect("a leaf has a gradient");
        assert_close(key, &host(gradient), &numbers(&case[key]), 1e-4);
    }
}

#[test]
fn a_step_is_the_same_however_it_is_cut_or_packed() {
    for (model, tokens) in cases::<AB>() {
        let tokens = learned(tokens);
        let step = |micro_batch_rows, is_packed| {
            let iq_learn = Some(IqLearnConfig { coefficient: 0.3, gamma: 0.9 });
            let config = SftConfig { micro_batch_rows, iq_learn, ..SftConfig::default() };
            let mut sft = begin(&config, &model, TokenStore::in_memory(tokens.clone()));
            let sequences = match is_packed {
                true => vec![tokens.iter().collect()],
                false => tokens.iter().map(|row| vec![row]).collect(),
            };
            sft.update_packed(0, &sequences).expect("updates")
        };
        let whole = step(64, false);
        let plain = whole.get("iq_learn/penalty").expect("is measured");
        assert!(plain > 0.0, "rewards of random logits aren't 0");
        for (name, other) in [("cut", step(1, false)), ("packed", step(64, true))] {
            for metric in ["loss", "iq_learn/penalty", "grad_norm"] {
                let [got, want] = [&other, &whole].map(|it| it.get(metric).expect("is measured"));
                assert_close(&format!("{name}: {metric}"), &[got as f32], &[want], 1e-5);
            }
        }
    }
}
