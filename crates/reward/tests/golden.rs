//! Numbers of TRL's `RewardTrainer`, reproduced. `REIN_FIXTURES` names another folder of them.

#[path = "../../../fixtures/golden.rs"]
mod golden;

use std::path::Path;

use burn::backend::Autodiff;
use burn::prelude::*;
use burn_flex::{Flex, FlexDevice};
use golden::*;
use rein_data::seed::Seed;
use rein_data::stage::Train;
use rein_model::load_scalar_model;
use rein_model::optim::OptimizerConfig;
use rein_model::tokens::host;
use rein_reward::encoding::{Judgements, Pair};
use rein_reward::evaluate::pair_accuracy;
use rein_reward::loss::bradley_terry;
use rein_reward::train::{RewardConfig, RewardTraining};
use serde_json::Value;

type AB = Autodiff<Flex>;

const DEVICE: FlexDevice = FlexDevice;

#[test]
fn pairwise_losses_and_their_gradients() {
    let folder = root().join("reward");
    let mut n_cases = 0;
    for entry in std::fs::read_dir(&folder).expect("a folder of fixtures") {
        let path = entry.expect("is readable").path();
        if path.extension().is_none_or(|it| it != "json") {
            continue;
        }
        for case in json(&path)["cases"].as_array().expect("a list of cases") {
            check_pairwise(case);
            n_cases += 1;
        }
    }
    assert!(n_cases > 0, "no cases in {}", folder.display());
}

fn check_pairwise(case: &Value) {
    let leaf = |key: &str| {
        let values: Vec<f32> = numbers(&case[key]).into_iter().map(|it| it as f32).collect();
        Tensor::<AB, 1>::from_data(values.as_slice(), &DEVICE)
    };
    let (chosen, rejected) = (leaf("chosen").require_grad(), leaf("rejected").require_grad());
    let margins = (!case["margin"].is_null()).then(|| leaf("margin"));
    let center = case["center_rewards_coefficient"].as_f64().unwrap_or(0.0);
    let losses = bradley_terry(chosen.clone(), rejected.clone(), margins, center);
    let loss = losses.mean();
    assert_near("loss", f64::from(host(loss.clone())[0]), &case["loss"], 1e-5);
    let gradients = loss.backward();
    for (key, leaf) in [("grad_chosen", &chosen), ("grad_rejected", &rejected)] {
        let gradient = leaf.grad(&gradients).expect("a leaf has a gradient");
        assert_close(key, &host(gradient), &numbers(&case[key]), 1e-4);
    }
    let accuracy = pair_accuracy(&host(chosen), &host(rejected)).value();
    assert_near("accuracy", accuracy, &case["metric_accuracy"], 1e-6);
}

#[test]
fn reward_training_follows_the_reference_run() {
    for (folder, trajectory) in training_runs(|run| has(&run["steps"][0], &["chosen_scores"])) {
        for micro_batch_rows in [1, 64] {
            check_training(&folder, &trajectory, micro_batch_rows);
        }
    }
}

fn check_training(folder: &Path, trajectory: &Value, micro_batch_rows: usize) {
    let hyper = &trajectory["hyperparameters"];
    let betas = numbers(&hyper["betas"]);
    let batches = trajectory["batches"].as_array().expect("a list");
    let config = RewardConfig {
        epochs: batches.len() as f64,
        batch_rows: 1,
        micro_batch_rows,
        center_rewards_coefficient: number(&hyper["center_rewards_coefficient"]),
        optimizer: OptimizerConfig {
            learning_rate: number(&hyper["lr"]),
            schedule: serde_json::from_value(hyper["schedule"].clone()).expect("a known schedule"),
            betas: [betas[0], betas[1]],
            epsilon: number(&hyper["eps"]),
            weight_decay: number(&hyper["weight_decay"]),
            max_grad_norm: number(&hyper["max_grad_norm"]),
            ..OptimizerConfig::default()
        },
        ..RewardConfig::default()
    };
    let model = load_scalar_model::<AB>(&folder.join("init"), &DEVICE).expect("loads");
    let any = Judgements::Pairs(vec![Pair { chosen: vec![1], rejected: vec![2], margin: None }]);
    let none = Judgements::Pairs(vec![]);
    let mut training = RewardTraining::new(config, model, None, [any, none], Seed::new(0), &DEVICE)
        .expect("begins");
    for (step, batch) in batches.iter().enumerate() {
        let got = training.update(step, &pairs(batch)).expect("updates");
        let want = &trajectory["steps"][step];
        let metric = |name: &str| got.get(name).expect("is measured");
        assert_near(&format!("loss at {step}"), metric("loss"), &want["loss"], 1e-4);
        assert_near(&format!("norm at {step}"), metric("grad_norm"), &want["grad_norm"], 1e-3);
        assert_near(&format!("accuracy at {step}"), metric("accuracy"), &want["accuracy"], 1e-6);
        let (chosen, rejected) =
            (numbers(&want["chosen_scores"]), numbers(&want["rejected_scores"]));
        let margin = chosen.iter().sum::<f64>() - rejected.iter().sum::<f64>();
        let margin = margin / chosen.len() as f64;
        assert_near(&format!("margin at {step}"), metric("margin"), &margin.into(), 1e-4);
    }
    let saved = tempfile::tempdir().expect("a temporary folder");
    training.save(saved.path()).expect("saves");
    let saved = saved.path().join("model/model.safetensors");
    assert_same_weights(&saved, ["", ""], &folder.join("final.safetensors"));
}

fn pairs(batch: &Value) -> Judgements {
    let side = |name: &str| {
        let ids = token_rows(&batch[name]["input_ids"]);
        let masks = rows(&batch[name]["attention_mask"]);
        let real = |(ids, mask): (Vec<u32>, Vec<f32>)| -> Vec<u32> {
            ids.into_iter().zip(mask).filter(|(_, mask)| *mask != 0.0).map(|(id, _)| id).collect()
        };
        ids.into_iter().zip(masks).map(real).collect::<Vec<_>>()
    };
    let pairs = side("chosen").into_iter().zip(side("rejected"));
    let pairs = pairs.map(|(chosen, rejected)| Pair { chosen, rejected, margin: None });
    Judgements::Pairs(pairs.collect())
}
