use burn_ndarray::NdArray;
use rein_data::encoding::TokenRow;
use rein_data::seed::Seed;
use rein_model::logprobs::row_logprobs;
use rein_model::tokens::{TokenBatch, host};
use rein_model::{
    CausalLm, Frozen, Precision, Sampling, ScalarModel, generate, load_causal_lm, obstacle,
};

use crate::golden::{folders, json, token_rows};
use crate::models::as_expected;
use crate::{B, DEVICE};

/// What rounding of weights and inputs may do to the log-probabilities of small models, in nats.
const LARGEST: f32 = 0.05;
const MEAN: f32 = 0.02;

fn check_near(what: &str, rounded: &[Vec<f32>], full: &[Vec<f32>]) {
    let (rounded, full) = (rounded.concat(), full.concat());
    assert_eq!(rounded.len(), full.len(), "{what}");
    let off: Vec<f32> = rounded.iter().zip(&full).map(|(a, b)| (a - b).abs()).collect();
    let (largest, mean) =
        (off.iter().copied().fold(0.0, f32::max), off.iter().sum::<f32>() / off.len() as f32);
    println!("{what}: off by {mean} in the mean, by {largest} at most");
    assert!(largest <= LARGEST && mean <= MEAN, "{what}: {largest} at most, {mean} in the mean");
    assert!(largest > 0.0, "{what}: nothing was rounded");
}

/// Rollouts, frozen models and training products of the golden models.
#[test]
fn logprobs_stay_near_those_in_f32() {
    for folder in folders("models", "config.json") {
        let name = folder.display().to_string();
        let Some(model) = as_expected(&folder, load_causal_lm::<B>(&folder, &DEVICE)) else {
            continue;
        };
        let prompts = token_rows(&json(&folder.join("expected.json"))["generation"]["prompts"]);
        let sampling = Sampling {
            max_new_tokens: 10,
            precision: Precision::Bf16,
            ..Sampling::at_temperature(1.2)
        };
        let drawn =
            generate(&model, &prompts, &sampling, Seed::new(3), &DEVICE).expect("generates");
        let rows: Vec<TokenRow> = prompts
            .iter()
            .zip(&drawn)
            .map(|(prompt, drawn)| TokenRow::completion(prompt.clone(), &drawn.tokens))
            .collect();
        let rows: Vec<&TokenRow> = rows.iter().collect();
        let logprobs = |model: &CausalLm<B>| row_logprobs(model, &rows, 1.2, 8, &DEVICE);
        let full = logprobs(&model);
        let sampled: Vec<Vec<f32>> = drawn.into_iter().map(|drawn| drawn.logprobs).collect();
        check_near(&format!("{name}, sampled"), &sampled, &full);
        let trained = logprobs(&model.clone().with_precision(Precision::Bf16));
        check_near(&format!("{name}, trained"), &trained, &full);
        let ask = |precision| {
            Frozen::<CausalLm<B>>::new(model.clone(), precision)
                .row_logprobs(&rows, 1.2, 8, &DEVICE)
        };
        check_near(&format!("{name}, frozen"), &ask(Precision::Bf16), &full);
        assert_eq!(ask(Precision::F32), full, "in f32 it is the model itself");
        let back =
            logprobs(&model.clone().with_precision(Precision::Bf16).with_precision(Precision::F32));
        assert_eq!(back, full, "weights are never rounded");
    }
}

#[test]
fn scores_stay_near_those_in_f32() {
    for folder in folders("models", "config.json") {
        let Some(model) = as_expected(&folder, load_causal_lm::<B>(&folder, &DEVICE)) else {
            continue;
        };
        let mut rows = token_rows(&json(&folder.join("expected.json"))["generation"]["prompts"]);
        rows.extend(rows.clone());
        let model = ScalarModel::from_causal_lm(model, Seed::new(1), &DEVICE).expect("fits");
        let full = host(model.scores(&TokenBatch::right_padded(&rows, &DEVICE)));
        let frozen = Frozen::of_scalar(model, Precision::Bf16);
        let rounded = frozen.scores(&rows, 8, &DEVICE);
        check_near(&format!("{}, scores", folder.display()), &[rounded], &[full]);
    }
}

#[test]
fn backends_without_bf16_say_so() {
    assert_eq!(obstacle::<NdArray>(Precision::F32), None);
    assert!(obstacle::<NdArray>(Precision::Bf16).is_some_and(|it| it.contains("backend")));
    let has = rein_kernels::cpu::bf16::is_fast();
    assert_eq!(obstacle::<B>(Precision::Bf16).is_none(), has);
}
