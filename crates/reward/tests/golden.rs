//! Numbers of TRL's `RewardTrainer`, reproduced. `REIN_FIXTURES` names another folder of them.

#[path = "../../../fixtures/golden.rs"]
mod golden;
#[path = "golden/irl.rs"]
mod irl;

use std::path::Path;

use burn::backend::Autodiff;
use burn::module::AutodiffModule;
use burn::prelude::*;
use burn_flex::{Flex, FlexDevice};
use golden::*;
use rein_data::seed::Seed;
use rein_data::stage::Train;
use rein_model::load_scalar_model;
use rein_model::optim::OptimizerConfig;
use rein_model::tokens::host;
use rein_reward::encoding::{Judgements, Label, Pair, Ranking, Scored};
use rein_reward::evaluate::pair_accuracy;
use rein_reward::loss::bradley_terry;
use rein_reward::objective::{Objective, losses};
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
    let any =
        Judgements::Pairs(vec![Pair { chosen: vec![1], rejected: vec![2], ..Pair::default() }]);
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
    let pairs = pairs.map(|(chosen, rejected)| Pair { chosen, rejected, ..Pair::default() });
    Judgements::Pairs(pairs.collect())
}

/// Soft pairs, ties, rankings, grades and weighted labels, with gradients to the scores and to what is learned beside
/// the model.
#[test]
fn judgements_cost_what_their_papers_say() {
    let path = own_root().join("judgements/losses.json");
    let file = json(&path);
    let cases = file["cases"].as_array().expect("a list of cases");
    assert!(!cases.is_empty());
    for case in cases {
        check_objective(case);
    }
}

fn check_objective(case: &Value) {
    let name = format!("{} {}", case["kind"], case["config"]);
    let config = RewardConfig {
        center_rewards_coefficient: number(&case["center"]),
        loss: serde_json::from_value(case["config"].clone()).expect("a config"),
        ..RewardConfig::default()
    };
    let judgements = judgements(case);
    let scores = rows(&case["scores"]);
    let objective = Objective::new(&config, &judgements).expect("can be learned from");
    // Of pairs, all preferred sides come first.
    let order: Vec<[usize; 2]> = match &judgements {
        Judgements::Pairs(_) => {
            (0..2).flat_map(|side| (0..scores.len()).map(move |it| [it, side])).collect()
        }
        _ => {
            let of = |(judgement, scores): (usize, &Vec<f32>)| {
                (0..scores.len()).map(move |place| [judgement, place]).collect::<Vec<_>>()
            };
            scores.iter().enumerate().flat_map(of).collect()
        }
    };
    let flat: Vec<f32> = order.iter().map(|[judgement, row]| scores[*judgement][*row]).collect();
    let leaf = Tensor::<AB, 1>::from_data(flat.as_slice(), &DEVICE).require_grad();
    let got = losses(&objective, &judgements, leaf.clone());
    assert_close(&name, &host(got.clone()), &numbers(&case["losses"]), 1e-5);
    let gradients = got.mean().backward();
    let wanted = rows(&case["score_gradients"]);
    let wanted: Vec<f64> =
        order.iter().map(|[judgement, row]| f64::from(wanted[*judgement][*row])).collect();
    assert_close(&name, &host(leaf.grad(&gradients).expect("a leaf")), &wanted, 1e-5);
    let slopes: Vec<f32> =
        objective.gradient(&judgements, &scores).into_iter().map(|it| it as f32).collect();
    assert_close(&name, &slopes, &numbers(&case["number_gradients"]), 1e-5);
}

fn judgements(case: &Value) -> Judgements {
    let rows = case["rows"].as_array().expect("a list");
    let float = |row: &Value, key: &str| row[key].as_f64().map(|it| it as f32);
    match case["kind"].as_str().expect("a kind") {
        "pairs" => {
            let pair = |row: &Value| Pair {
                margin: float(row, "margin"),
                chosen_probability: float(row, "chosen_probability"),
                weight: float(row, "weight"),
                ..Pair::default()
            };
            Judgements::Pairs(rows.iter().map(pair).collect())
        }
        "labels" => {
            let label = |row: &Value| Label {
                is_good: row["is_good"].as_bool().expect("a label"),
                ..Label::default()
            };
            Judgements::Labels(rows.iter().map(label).collect())
        }
        "rankings" => {
            let ranking = |row: &Value| {
                let ranks: Vec<u32> = numbers(&row["ranks"]).iter().map(|it| *it as u32).collect();
                Ranking { rows: vec![vec![1]; ranks.len()], ranks, weight: float(row, "weight") }
            };
            Judgements::Rankings(rows.iter().map(ranking).collect())
        }
        _ => {
            let scored = |row: &Value| Scored {
                score: number(&row["score"]) as f32,
                weight: float(row, "weight"),
                ..Scored::default()
            };
            Judgements::Scores(rows.iter().map(scored).collect())
        }
    }
}
