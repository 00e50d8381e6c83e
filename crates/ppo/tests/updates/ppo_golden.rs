//! Numbers of TRL's PPO, reproduced. `REIN_FIXTURES` names another folder of them.

mod trpo;

use std::path::Path;

use crate::golden::*;
use crate::trl::optimizer;
use burn::backend::Autodiff;
use burn::module::AutodiffModule;
use burn::prelude::*;
use burn_flex::{Flex, FlexDevice};
use rein_data::encoding::TokenRow;
use rein_model::tokens::host;
use rein_model::{
    Frozen, Precision, load_causal_lm, load_scalar_model, save_causal_lm, save_scalar_model,
};
use rein_ppo::advantage::{Mean, Variance, whiten};
use rein_ppo::config::{PpoConfig, ScorePlacement};
use rein_ppo::diagnostics::Diagnostics;
use rein_ppo::experience::prepare;
use rein_ppo::hyperparameters::Hyperparameters;
use rein_ppo::kl::{KlConfig, KlController, KlEstimator};
use rein_ppo::loss::{policy_loss, value_loss};
use rein_ppo::rollout::{Judges, Row, collect};
use rein_ppo::update::update_minibatch;
use rein_ppo::{ActorCritic, Learners};
use rein_reward::{Reward, RewardError};
use serde_json::{Map, Value};

type AB = Autodiff<Flex>;

const DEVICE: FlexDevice = FlexDevice;

/// The first numbers of each row, as many as the mask has ones.
fn ragged(values: &Value, mask: &Value) -> Vec<Vec<f64>> {
    let lengths = rows(mask).into_iter().map(|mask| mask.iter().filter(|it| **it != 0.0).count());
    let values = values.as_array().expect("a list of rows").iter().map(numbers);
    values.zip(lengths).map(|(row, length)| row[..length].to_vec()).collect()
}

fn narrow(values: Vec<f64>) -> Vec<f32> {
    values.into_iter().map(|value| value as f32).collect()
}

fn flat(values: &[Vec<f64>]) -> Vec<f32> {
    narrow(values.concat())
}

#[test]
fn kl_estimators() {
    for (file, case) in rlmath_cases(|it| has(it, &["logprobs", "ref_logprobs", "k1", "k3"])) {
        let mask = numbers(&case["mask"]);
        let (policy, reference) = (numbers(&case["logprobs"]), numbers(&case["ref_logprobs"]));
        for (name, estimator) in
            [("k1", KlEstimator::K1), ("k2", KlEstimator::K2), ("k3", KlEstimator::K3)]
        {
            let nats: Vec<f64> = policy
                .iter()
                .zip(&reference)
                .map(|(policy, reference)| estimator.estimate(*policy, *reference))
                .collect();
            assert_close_masked(&file, &narrow(nats.clone()), &numbers(&case[name]), &mask, 1e-5);
            let total: f64 = nats.iter().zip(&mask).map(|(nats, mask)| nats * mask).sum();
            let mean = total / mask.iter().sum::<f64>();
            assert_near(&file, mean, &case["masked_mean"][name], 1e-5);
        }
    }
}

#[test]
fn whitening() {
    for (file, case) in rlmath_cases(|it| has(it, &["values", "masked_var_unbiased"])) {
        for (mean_is, key) in
            [(Mean::Removed, "whitened_shift_mean_true"), (Mean::Kept, "whitened_shift_mean_false")]
        {
            let mut values = ragged(&case["values"], &case["mask"]);
            whiten(&mut values, mean_is, Variance::Unbiased);
            let want = ragged(&case[key], &case["mask"]).concat();
            assert_close(&format!("{file} {key}"), &flat(&values), &want, 1e-5);
        }
    }
}

#[test]
fn kl_controllers_follow_their_target() {
    for (file, case) in rlmath_cases(|it| has(it, &["init_kl_coef", "coef_after_update"])) {
        let mut controller = KlController::new(KlConfig::Adaptive {
            coefficient: number(&case["init_kl_coef"]),
            target_nats_per_completion: number(&case["target"]),
            horizon: number(&case["horizon"]),
        });
        let coefficients = numbers(&case["coef_after_update"]);
        for (kl, want) in numbers(&case["observed_kl"]).into_iter().zip(coefficients) {
            controller.observe(kl, number(&case["n_steps"]) as usize);
            assert!((controller.coefficient() - want).abs() <= 1e-10 * (1.0 + want), "{file}");
        }
    }
}

/// Rows as a rollout would have collected them. Tokens matter only by their number.
fn rollout_rows(case: &Value, token_mask: &Value) -> Vec<Row> {
    let n_slots = case["values"][0].as_array().expect("a row").len();
    let logprobs = ragged(&case["logprobs"], token_mask);
    let references = ragged(&case["ref_logprobs"], token_mask);
    let values = rows(&case["values"]);
    let scores = numbers(&case["scores"]);
    let finished = case["contains_eos"].as_array().expect("a list");
    (0..scores.len())
        .map(|row| {
            let n_tokens = logprobs[row].len();
            Row {
                tokens: TokenRow::completion(vec![1], &vec![3; n_tokens]),
                finished: finished[row] == true,
                logprobs: narrow(logprobs[row].clone()),
                sampled_logprobs: None,
                reference_logprobs: narrow(references[row].clone()),
                values: values[row][..(n_tokens + 1).min(n_slots)].to_vec(),
                score: scores[row] as f32,
                turn_scores: Vec::new(),
                part_scores: Vec::new(),
                failed_parts: Vec::new(),
            }
        })
        .collect()
}

fn shaping_config(case: &Value) -> PpoConfig {
    PpoConfig {
        max_new_tokens: case["values"][0].as_array().expect("a row").len(),
        gamma: (number(&case["gamma"]) as f32).into(),
        lambda: (number(&case["lam"]) as f32).into(),
        whiten_rewards: case["whiten_rewards"] == true,
        missing_eos_penalty: case["missing_eos_penalty"].as_f64().unwrap_or(0.0) as f32,
        kl_estimator: serde_json::from_value(case["kl_estimator"].clone()).expect("a known name"),
        ..PpoConfig::default()
    }
}

#[test]
fn rewards_and_advantages() {
    let is_case = |it: &Value| has(it, &["responses_truncated", "contains_eos", "trl", "last"]);
    for (file, case) in rlmath_cases(is_case) {
        for (score_at, key) in
            [(ScorePlacement::PostEos, "trl"), (ScorePlacement::LastToken, "last")]
        {
            check_shaping(&format!("{file} {key}"), &case, &case[key], score_at);
        }
    }
}

fn check_shaping(what: &str, case: &Value, want: &Value, score_at: ScorePlacement) {
    let (token_mask, value_mask) = (&case["token_mask"], &want["value_mask"]);
    let rows = rollout_rows(case, token_mask);
    let config = PpoConfig { score_at, ..shaping_config(case) };
    let now = Hyperparameters { kl_coefficient: number(&case["kl_coef"]), ..config.at(0) };
    let (shaped, experience) = prepare(&rows, &config, &now);
    let want_tokens = |value: &Value| ragged(value, token_mask).concat();
    let want_slots = |value: &Value| ragged(value, value_mask).concat();

    let scores: Vec<f64> = shaped.iter().map(|it| it.score).collect();
    assert_close(what, &narrow(scores), &numbers(&case["scores_after_penalty"]), 1e-5);
    let kl: Vec<_> = shaped.iter().map(|it| it.kl.clone()).collect();
    assert_close(what, &flat(&kl), &want_tokens(&case["kl"]), 1e-5);
    let rewards: Vec<_> = shaped.iter().map(|it| it.rewards.clone()).collect();
    assert_close(&format!("{what} rewards"), &flat(&rewards), &want_slots(&want["rewards"]), 1e-5);
    let returns: Vec<f32> = experience.iter().flat_map(|it| it.returns.clone()).collect();
    assert_close(&format!("{what} returns"), &returns, &want_slots(&want["returns"]), 1e-5);
    let advantages: Vec<f32> = experience.iter().flat_map(|it| it.advantages.clone()).collect();
    let whitened = want_tokens(&want["advantages_whitened"]);
    assert_close(&format!("{what} advantages"), &advantages, &whitened, 1e-5);

    let (_, raw) = prepare(&rows, &PpoConfig { whiten_advantages: false, ..config }, &now);
    let advantages: Vec<f32> = raw.iter().flat_map(|it| it.advantages.clone()).collect();
    assert_close(what, &advantages, &want_tokens(&want["advantages_raw"]), 1e-5);
}

#[test]
fn clipped_losses_and_their_gradients() {
    for (file, case) in rlmath_cases(|it| has(it, &["old_logprobs", "new_values", "cliprange"])) {
        check_losses(&file, &case);
    }
}

fn check_losses(file: &str, case: &Value) {
    let mask = numbers(&case["mask"]);
    let kept: Vec<usize> = (0..mask.len()).filter(|cell| mask[*cell] != 0.0).collect();
    let real = |key: &str| -> Vec<f32> {
        let all = numbers(&case[key]);
        kept.iter().map(|cell| all[*cell] as f32).collect()
    };
    let tensor = |values: &[f32]| Tensor::<AB, 1>::from_data(values, &DEVICE);
    let [old, new, advantages] = ["old_logprobs", "new_logprobs", "advantages"].map(real);
    let [old_values, new_values, returns] = ["old_values", "new_values", "returns"].map(real);
    let clip = number(&case["cliprange"]) as f32;
    let clip_value = number(&case["cliprange_value"]) as f32;
    let new_logprobs = tensor(&new).require_grad();
    let values = tensor(&new_values).require_grad();
    let objective = PpoConfig { clip_range: clip, ..PpoConfig::default() }.objective();
    let policy = policy_loss(
        &objective,
        new_logprobs.clone(),
        tensor(&old),
        tensor(&advantages),
        &[new.len()],
    )
    .mean();
    let value =
        value_loss(values.clone(), tensor(&old_values), tensor(&returns), clip_value).mean();
    let loss = policy.clone() + value.clone() * number(&case["vf_coef"]);
    let one = |tensor: Tensor<AB, 1>| f64::from(host(tensor)[0]);
    assert_near(&format!("{file} policy"), one(policy), &case["policy_loss"], 1e-5);
    assert_near(&format!("{file} value"), one(value), &case["value_loss"], 1e-5);
    assert_near(&format!("{file} total"), one(loss.clone()), &case["total_loss"], 1e-5);
    let gradients = loss.backward();
    for (leaf, key) in [(&new_logprobs, "grad_new_logprobs"), (&values, "grad_new_values")] {
        let all = numbers(&case[key]);
        let want: Vec<f64> = kept.iter().map(|cell| all[*cell]).collect();
        assert_close(key, &host(leaf.grad(&gradients).expect("a leaf")), &want, 1e-4);
    }
    let mut seen = Diagnostics::default();
    seen.see_policy(&new, &old, &advantages, objective.clip);
    seen.see_values(&new_values, &old_values, &returns, clip_value);
    assert_near(file, seen.n_clipped / seen.n_tokens, &case["policy_clipfrac"], 1e-6);
    assert_near(file, seen.n_values_clipped / seen.n_values, &case["value_clipfrac"], 1e-6);
    assert_near(file, seen.approx_kl / seen.n_tokens, &case["approxkl"], 1e-5);
    assert_near(file, seen.ratio / seen.n_tokens, &case["mean_ratio"], 1e-5);
}

#[test]
fn one_update_follows_the_reference_run() {
    for (folder, trajectory) in
        training_runs(|run| has(run, &["rollout", "minibatch_order_per_epoch"]))
    {
        for micro_batch_rows in [1, 64] {
            check_update(&folder, &trajectory, micro_batch_rows);
        }
    }
}

fn config(trajectory: &Value, micro_batch_rows: usize) -> PpoConfig {
    let hyper = &trajectory["hyperparameters"];
    let float = |key: &str| number(&hyper[key]) as f32;
    let rollout = &trajectory["rollout"];
    PpoConfig {
        prompts_per_step: rollout["queries"].as_array().expect("a list").len(),
        max_new_tokens: rollout["responses"][0].as_array().expect("a row").len(),
        temperature: float("temperature").into(),
        micro_batch_rows,
        clip_range: float("cliprange"),
        clip_range_value: float("cliprange_value"),
        value_coefficient: float("vf_coef"),
        gamma: float("gamma").into(),
        lambda: float("lam").into(),
        whiten_rewards: hyper["whiten_rewards"] == true,
        missing_eos_penalty: hyper["missing_eos_penalty"].as_f64().unwrap_or(0.0) as f32,
        score_at: ScorePlacement::PostEos,
        kl_estimator: serde_json::from_value(hyper["kl_estimator"].clone()).expect("a known name"),
        optimizer: optimizer(hyper),
        ..PpoConfig::default()
    }
}

/// Gives the scores that the rollout stored.
struct Stored(Vec<f32>);

impl Reward for Stored {
    fn name(&self) -> &'static str {
        "stored"
    }

    fn score(&self, _: &[rein_data::example::Completion]) -> Result<Vec<f32>, RewardError> {
        Ok(self.0.clone())
    }
}

fn completions(rollout: &Value) -> Vec<rein_data::example::Completion> {
    let (pad, eos) =
        (number(&rollout["pad_token_id"]) as u32, number(&rollout["eos_token_id"]) as u32);
    let queries = token_rows(&rollout["queries"]).into_iter();
    let responses = token_rows(&rollout["responses"]).into_iter();
    let completion = |(query, response): (Vec<u32>, Vec<u32>)| {
        let end = response.iter().position(|token| *token == eos);
        let length = end.map_or(response.len(), |end| end + 1);
        rein_data::example::Completion {
            prompt_tokens: query.into_iter().skip_while(|token| *token == pad).collect(),
            tokens: response[..length].to_vec(),
            finished: end.is_some(),
            ..Default::default()
        }
    };
    queries.zip(responses).map(completion).collect()
}

fn check_update(folder: &Path, trajectory: &Value, micro_batch_rows: usize) {
    let config = config(trajectory, micro_batch_rows);
    let (rollout, expected) = (&trajectory["rollout"], &trajectory["expected"]);
    let policy = load_causal_lm::<AB>(&folder.join("init_policy"), &DEVICE).expect("loads");
    let value = load_scalar_model::<AB>(&folder.join("init_value"), &DEVICE).expect("loads");
    let actors = ActorCritic { policy, value: Some(value) };
    let rows = collected(&actors, rollout, expected, &config);
    let kl_coefficient = number(&trajectory["hyperparameters"]["kl_coef"]);
    let rate = config.optimizer.learning_rate;
    let now = Hyperparameters { kl_coefficient, learning_rate: rate, ..config.at(0) };
    let (shaped, experience) = prepare(&rows, &config, &now);
    let scores: Vec<f64> = shaped.iter().map(|it| it.score).collect();
    assert_close("scores", &narrow(scores), &numbers(&expected["scores_after_penalty"]), 1e-4);
    let advantages: Vec<f32> = experience.iter().flat_map(|it| it.advantages.clone()).collect();
    let want = ragged(&expected["advantages"], &expected["token_mask"]).concat();
    assert_close("advantages", &advantages, &want, 1e-4);

    let mut learners = Learners::new(actors, config.optimizer);
    for (step, want) in trajectory["steps"].as_array().expect("a list").iter().enumerate() {
        let indices = numbers(&want["indices"]);
        let minibatch: Vec<_> = indices.iter().map(|row| &experience[*row as usize]).collect();
        let now = Hyperparameters { step, ..now };
        let (_, seen) =
            update_minibatch(&mut learners, &minibatch, &config, &now, &DEVICE).expect("updates");
        let policy = seen.policy_loss / seen.n_tokens;
        let value = seen.value_loss / seen.n_values;
        let loss = policy + f64::from(config.value_coefficient) * value;
        let what = format!("step {step}");
        assert_near(&what, policy, &want["policy_loss"], 1e-4);
        assert_near(&what, value, &want["value_loss"], 1e-4);
        assert_near(&what, loss, &want["loss"], 1e-4);
        assert_near(&what, seen.approx_kl / seen.n_tokens, &want["approxkl_masked"], 1e-4);
        assert_near(&what, seen.entropy / seen.n_tokens, &want["entropy_masked"], 1e-4);
        assert_near(&what, seen.ratio / seen.n_tokens, &want["ratio_mean_masked"], 1e-4);
        assert_near(&what, seen.n_clipped / seen.n_tokens, &want["policy_clipfrac"], 1e-6);
    }
    check_final_weights(&learners.valid(), &folder.join("final.safetensors"));
}

/// The rollout with its stored sampling-time numbers, after a check that the models give the same.
fn collected(
    actors: &ActorCritic<AB>,
    rollout: &Value,
    expected: &Value,
    config: &PpoConfig,
) -> Vec<Row> {
    let reward = Stored(narrow(numbers(&rollout["scores"])));
    let inner = actors.valid();
    let reference = Frozen::new(inner.policy.clone(), Precision::F32);
    let judges = Judges { reference: &reference, micro_batch_rows: 3, device: &DEVICE };
    let completions = completions(rollout);
    let mut rows = collect(&inner, &judges, &reward, &completions, config.temperature.at(0))
        .expect("collects");
    let stored = |key: &str| ragged(&rollout[key], &expected["token_mask"]);
    let logprobs: Vec<f32> = rows.iter().flat_map(|row| row.logprobs.clone()).collect();
    assert_close("logprobs", &logprobs, &stored("logprobs").concat(), 1e-4);
    let values = ragged(&rollout["values"], &expected["value_mask"]);
    for (row, want) in rows.iter().zip(&values) {
        assert_close("values", &row.values[..want.len()], want, 1e-4);
    }
    for (row, reference) in rows.iter_mut().zip(stored("ref_logprobs")) {
        row.reference_logprobs = narrow(reference);
    }
    rows
}

fn check_final_weights(actors: &ActorCritic<Flex>, want: &Path) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let saved = folder.path().join("model.safetensors");
    save_causal_lm(&actors.policy, folder.path()).expect("saves");
    assert_same_weights(&saved, ["", "policy."], want);
    save_scalar_model(actors.value.as_ref().expect("is there"), &Map::new(), folder.path())
        .expect("saves");
    assert_same_weights(&saved, ["", "value."], want);
}
