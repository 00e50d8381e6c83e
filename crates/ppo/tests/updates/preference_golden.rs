//! Numbers of TRL's DPO, KTO, CPO and ORPO, reproduced. `REIN_FIXTURES` names another folder of them.

use std::path::Path;

use crate::golden::*;
use crate::trl::optimizer;
use burn::backend::Autodiff;
use burn::prelude::*;
use burn_flex::{Flex, FlexDevice};
use rein_data::encoding::TokenRow;
use rein_data::log::Metrics;
use rein_data::seed::Seed;
use rein_data::stage::Train;
use rein_model::load_causal_lm;
use rein_model::tokens::host;
use rein_ppo::preference::loss::{LossType, PairLoss};
use rein_ppo::preference::pairs::Pair;
use rein_ppo::preference::unpaired::{KtoLoss, reference_point};
use rein_ppo::preference::{Dpo, DpoConfig};
use rein_reward::evaluate::pair_accuracy;
use serde_json::Value;

type AB = Autodiff<Flex>;

const DEVICE: FlexDevice = FlexDevice;

fn files() -> Vec<(String, Value)> {
    rlmath_cases(|it| has(it, &["policy_chosen_logps", "ref_rejected_logps", "dpo"]))
}

fn cases<'a>(file: &'a Value, key: &str) -> &'a [Value] {
    let cases = file[key].as_array().expect("a list of cases");
    assert!(!cases.is_empty(), "no cases of {key}");
    cases
}

fn leaf(values: &[f64]) -> Tensor<AB, 1> {
    let values: Vec<f32> = values.iter().map(|it| *it as f32).collect();
    Tensor::from_data(values.as_slice(), &DEVICE)
}

/// Two sides of pairs, as TRL takes them: what the policy gives and what is subtracted.
struct Sides {
    policy: [Vec<f64>; 2],
    reference: Option<[Vec<f64>; 2]>,
}

impl Sides {
    fn of(file: &Value, policy: [&str; 2], reference: Option<[&str; 2]>) -> Self {
        let read = |keys: [&str; 2]| keys.map(|key| numbers(&file[key]));
        Self { policy: read(policy), reference: reference.map(read) }
    }

    /// The log-ratios, and the policy's leaves below them.
    fn ratios(&self) -> ([Tensor<AB, 1>; 2], [Tensor<AB, 1>; 2]) {
        let leaves = [0, 1].map(|side| leaf(&self.policy[side]).require_grad());
        let ratio = |side: usize| match &self.reference {
            Some(reference) => leaves[side].clone() - leaf(&reference[side]),
            None => leaves[side].clone(),
        };
        ([ratio(0), ratio(1)], leaves)
    }
}

fn pair_loss(case: &Value) -> PairLoss {
    let number_or = |key: &str| case[key].as_f64().unwrap_or(0.0);
    PairLoss {
        loss_type: serde_json::from_value(case["loss_type"].clone()).expect("a known name"),
        beta: number(&case["beta"]),
        label_smoothing: number_or("label_smoothing"),
        gamma: number_or("simpo_gamma"),
    }
}

/// Checks losses, their gradients to the policy's leaves, and what is read as rewards.
fn check(what: &str, loss: &PairLoss, sides: &Sides, case: &Value) {
    let ([chosen, rejected], leaves) = sides.ratios();
    let losses = loss.losses(chosen.clone(), rejected.clone());
    assert_close(what, &host(losses.clone()), &numbers(&case["losses"]), 1e-5);
    let mean = losses.mean();
    assert_near(what, f64::from(host(mean.clone())[0]), &case["mean_loss"], 1e-5);
    let gradients = mean.backward();
    for (key, leaf) in ["grad_mean_loss_chosen", "grad_mean_loss_rejected"].iter().zip(&leaves) {
        let gradient = host(leaf.grad(&gradients).expect("a leaf has a gradient"));
        assert_close(&format!("{what} {key}"), &gradient, &numbers(&case[*key]), 1e-4);
    }
    if case.get("accuracy").is_some() {
        let accuracy = pair_accuracy(&host(chosen.clone()), &host(rejected.clone()));
        assert_near(what, accuracy.value(), &case["accuracy"], 1e-6);
    }
    if case.get("chosen_rewards").is_some() {
        for (key, ratios) in [("chosen_rewards", chosen), ("rejected_rewards", rejected)] {
            assert_close(what, &host(ratios * loss.beta), &numbers(&case[key]), 1e-5);
        }
    }
}

#[test]
fn dpo_losses_and_their_gradients() {
    let (policy, reference) = (
        ["policy_chosen_logps", "policy_rejected_logps"],
        ["ref_chosen_logps", "ref_rejected_logps"],
    );
    for (name, file) in files() {
        for case in cases(&file, "dpo") {
            let what = format!("{name} {}", case["loss_type"]);
            let is_free = case["reference_free"] == true;
            let sides = Sides::of(&file, policy, (!is_free).then_some(reference));
            check(&what, &pair_loss(case), &sides, case);
        }
    }
}

#[test]
fn cpo_and_simpo_losses_and_their_gradients() {
    for (name, file) in files() {
        for case in cases(&file, "cpo_simpo") {
            let what = format!("{name} cpo {}", case["loss_type"]);
            let keys = match case["logps"] == "avg" {
                true => ["avg_chosen_logps", "avg_rejected_logps"],
                false => ["policy_chosen_logps", "policy_rejected_logps"],
            };
            let mut loss = pair_loss(case);
            if loss.loss_type == LossType::Sigmoid {
                loss.loss_type = LossType::Cpo;
            }
            check(&what, &loss, &Sides::of(&file, keys, None), case);
        }
    }
}

#[test]
fn orpo_losses_and_their_gradients() {
    for (name, file) in files() {
        let sides = Sides::of(&file, ["avg_chosen_logps", "avg_rejected_logps"], None);
        for case in cases(&file, "orpo") {
            let what = format!("{name} orpo");
            let loss = PairLoss { loss_type: LossType::Orpo, ..orpo(case) };
            let ([chosen, rejected], leaves) = sides.ratios();
            let losses = loss.losses(chosen.clone(), rejected.clone());
            let want: Vec<f64> =
                numbers(&case["beta_log_sigmoid_odds"]).into_iter().map(|it| -it).collect();
            assert_close(&what, &host(losses.clone()), &want, 1e-5);
            let loss_with_nll = losses.mean() + number(&case["nll_loss"]);
            let value = f64::from(host(loss_with_nll.clone())[0]);
            assert_near(&what, value, &case["loss"], 1e-5);
            let gradients = loss_with_nll.backward();
            let keys = ["grad_loss_avg_chosen", "grad_loss_avg_rejected"];
            for (key, leaf) in keys.iter().zip(&leaves) {
                let gradient = host(leaf.grad(&gradients).expect("a leaf has a gradient"));
                assert_close(&format!("{what} {key}"), &gradient, &numbers(&case[*key]), 1e-4);
            }
            for (key, ratios) in [("chosen_rewards", chosen), ("rejected_rewards", rejected)] {
                assert_close(&what, &host(ratios * loss.beta), &numbers(&case[key]), 1e-5);
            }
        }
    }
}

fn orpo(case: &Value) -> PairLoss {
    let beta = number(&case["beta"]);
    PairLoss { loss_type: LossType::Orpo, beta, label_smoothing: 0.0, gamma: 0.0 }
}

#[test]
fn what_is_certain_has_finite_odds() {
    let loss = PairLoss { loss_type: LossType::Orpo, beta: 0.1, label_smoothing: 0.0, gamma: 0.0 };
    let sides = Sides { policy: [vec![0.0, -1e-9, -2.0], vec![-1.0, 0.0, 0.0]], reference: None };
    let ([chosen, rejected], leaves) = sides.ratios();
    let losses = loss.losses(chosen, rejected);
    assert!(host(losses.clone()).iter().all(|it| it.is_finite()));
    let gradients = losses.mean().backward();
    for leaf in leaves {
        let gradient = host(leaf.grad(&gradients).expect("a leaf has a gradient"));
        assert!(gradient.iter().all(|it| it.is_finite()), "{gradient:?}");
    }
}

#[test]
fn kto_losses_and_their_gradients() {
    for (name, file) in files() {
        for case in cases(&file, "kto") {
            check_kto(&format!("{name} kto"), &file, case);
        }
    }
}

fn check_kto(what: &str, file: &Value, case: &Value) {
    let n_rows = ["n_chosen", "n_rejected"].map(|key| number(&case[key]) as usize);
    let both = |keys: [&str; 2]| -> Vec<f64> {
        let side = |side: usize| numbers(&file[keys[side]])[..n_rows[side]].to_vec();
        [side(0), side(1)].concat()
    };
    let policy = leaf(&both(["policy_chosen_logps", "policy_rejected_logps"])).require_grad();
    let ratios = policy.clone() - leaf(&both(["ref_chosen_logps", "ref_rejected_logps"]));
    let narrow = |key: &str| numbers(&case[key]).into_iter().map(|it| it as f32).collect();
    let (kl_policy, kl_reference): (Vec<f32>, Vec<f32>) =
        (narrow("policy_kl_logps"), narrow("ref_kl_logps"));
    let point = match case["calculate_kl"] == true {
        true => reference_point(&kl_policy, &kl_reference),
        false => reference_point(&[], &[]),
    };
    assert_close(what, &[point as f32], &numbers(&case["kl"]), 1e-5);
    let loss = KtoLoss {
        beta: number(&case["beta"]),
        desirable_weight: number(&case["desirable_weight"]),
        undesirable_weight: number(&case["undesirable_weight"]),
    };
    let is_desirable: Vec<bool> = (0..n_rows[0] + n_rows[1]).map(|row| row < n_rows[0]).collect();
    let losses = loss.losses(ratios.clone(), &is_desirable, point);
    assert_close(what, &host(losses.clone()), &numbers(&case["losses"]), 1e-5);
    let mean = losses.mean();
    assert_near(what, f64::from(host(mean.clone())[0]), &case["mean_loss"], 1e-5);
    let gradients = mean.backward();
    let concat = |keys: [&str; 2]| keys.map(|key| numbers(&case[key])).concat();
    let gradient = host(policy.grad(&gradients).expect("a leaf has a gradient"));
    let want = concat(["grad_mean_loss_chosen", "grad_mean_loss_rejected"]);
    assert_close(what, &gradient, &want, 1e-4);
    let rewards = host(ratios * loss.beta);
    assert_close(what, &rewards, &concat(["chosen_rewards", "rejected_rewards"]), 1e-5);
}

#[test]
fn training_follows_the_reference_run() {
    for (folder, trajectory) in
        training_runs(|run| has(&run["steps"][0], &["policy_chosen_logps", "rewards_rejected"]))
    {
        for micro_batch_rows in [1, 64] {
            check_training(&folder, &trajectory, micro_batch_rows);
        }
    }
}

fn config(hyper: &Value, micro_batch_rows: usize) -> DpoConfig {
    let PairLoss { loss_type, beta, label_smoothing, .. } = pair_loss(hyper);
    DpoConfig {
        micro_batch_rows,
        loss_type,
        beta,
        label_smoothing,
        optimizer: optimizer(hyper),
        ..DpoConfig::default()
    }
}

fn check_training(folder: &Path, trajectory: &Value, micro_batch_rows: usize) {
    let config = config(&trajectory["hyperparameters"], micro_batch_rows);
    let batches = trajectory["batches"].as_array().expect("a list");
    let batches: Vec<Vec<Pair>> = batches.iter().map(pairs).collect();
    let policy = load_causal_lm::<AB>(&folder.join("init"), &DEVICE).expect("loads");
    let rows = [batches.concat(), Vec::new()];
    let mut dpo =
        Dpo::new(config.clone(), policy, None, rows, Seed::new(0), &DEVICE).expect("begins");
    let mut first = 0;
    for (step, batch) in batches.iter().enumerate() {
        let numbers: Vec<usize> = (first..first + batch.len()).collect();
        first += batch.len();
        let got = dpo.update(step, &numbers).expect("updates");
        let references = numbers.iter().map(|pair| dpo.reference_logprobs()[*pair]).collect();
        check_step(step, &got, references, &trajectory["steps"][step]);
    }
    let saved = tempfile::tempdir().expect("a temporary folder");
    dpo.save(saved.path()).expect("saves");
    let saved = saved.path().join("model/model.safetensors");
    assert_same_weights(&saved, ["", ""], &folder.join("final.safetensors"));
}

fn check_step(step: usize, got: &Metrics, references: Vec<[f32; 2]>, want: &Value) {
    let near = |name: &str, want: &Value, tolerance: f64| {
        let got = got.get(name).expect("is measured");
        assert_near(&format!("{name} at {step}"), got, want, tolerance);
    };
    let mean = |key: &str| {
        let values = numbers(&want[key]);
        values.iter().sum::<f64>() / values.len() as f64
    };
    near("loss", &want["loss"], 1e-4);
    near("grad_norm", &want["grad_norm"], 1e-3);
    let (chosen, rejected) = (mean("rewards_chosen"), mean("rewards_rejected"));
    near("rewards/chosen", &chosen.into(), 1e-4);
    near("rewards/rejected", &rejected.into(), 1e-4);
    near("rewards/margins", &(chosen - rejected).into(), 1e-4);
    near("logps/chosen", &mean("policy_chosen_logps").into(), 1e-4);
    near("logps/rejected", &mean("policy_rejected_logps").into(), 1e-4);
    let rewards = ["rewards_chosen", "rewards_rejected"].map(|key| numbers(&want[key]));
    let won = |(chosen, rejected): (&f64, &f64)| f64::from(u8::from(chosen > rejected));
    let n_won: f64 = rewards[0].iter().zip(&rewards[1]).map(won).sum();
    if step > 0 {
        // Before, the policy is the reference, and rounding decides.
        near("rewards/accuracies", &(n_won / rewards[0].len() as f64).into(), 1e-6);
    }
    for (side, key) in ["ref_chosen_logps", "ref_rejected_logps"].into_iter().enumerate() {
        let got: Vec<f32> = references.iter().map(|sides| sides[side]).collect();
        assert_close(&format!("{key} at {step}"), &got, &numbers(&want[key]), 1e-4);
    }
}

fn pairs(batch: &Value) -> Vec<Pair> {
    let side = |name: &str| -> Vec<TokenRow> {
        let of = &batch[name];
        let ids = token_rows(&of["input_ids"]).into_iter();
        let masks = rows(&of["attention_mask"]).into_iter().zip(rows(&of["completion_mask"]));
        let row = |(mut ids, (real, learned)): (Vec<u32>, (Vec<f32>, Vec<f32>))| {
            let n_tokens = real.iter().filter(|it| **it != 0.0).count();
            ids.truncate(n_tokens);
            TokenRow::new(ids, learned[..n_tokens].iter().map(|it| *it != 0.0).collect())
        };
        ids.zip(masks).map(row).collect()
    };
    let pair = |(chosen, rejected)| Pair { chosen, rejected };
    side("chosen").into_iter().zip(side("rejected")).map(pair).collect()
}
