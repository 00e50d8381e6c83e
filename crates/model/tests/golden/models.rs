use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;

use rein_data::encoding::TokenRow;
use rein_data::seed::Seed;
use rein_model::logprobs::row_logprobs;
use rein_model::tokens::{TokenBatch, host};
use rein_model::{CausalLm, ModelError, Sampling, generate, load_causal_lm, load_scalar_model};
use serde_json::Value;

use crate::golden::{
    assert_close, assert_close_masked, folders, json, number, numbers, tensors, token_rows,
};
use crate::{B, DEVICE};

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
pub(crate) fn as_expected<T: Debug>(folder: &Path, loaded: Result<T, ModelError>) -> Option<T> {
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
    check_draws(model, &token_rows(&expected["generation"]["prompts"]));
}

/// What decoding told of its draws is what a pass over the whole rows computes.
pub(crate) fn check_draws(model: &CausalLm<B>, prompts: &[Vec<u32>]) {
    let sampling = Sampling { max_new_tokens: 10, batch_rows: 3, ..Sampling::at_temperature(1.2) };
    let drawn = generate(model, prompts, &sampling, Seed::new(3), &DEVICE).expect("generates");
    let rows: Vec<TokenRow> = prompts
        .iter()
        .zip(&drawn)
        .map(|(prompt, drawn)| TokenRow::completion(prompt.clone(), &drawn.tokens))
        .collect();
    let want = row_logprobs(model, &rows.iter().collect::<Vec<_>>(), 1.2, 8, &DEVICE);
    for (row, (drawn, want)) in drawn.iter().zip(want).enumerate() {
        let want: Vec<f64> = want.into_iter().map(f64::from).collect();
        assert_close(&format!("draws of row {row}"), &drawn.logprobs, &want, 1e-4);
    }
}

pub(crate) type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

pub(crate) fn by_name(path: &Path) -> Tensors {
    tensors(path).into_iter().map(|(name, shape, values)| (name, (shape, values))).collect()
}

/// The real tokens of each row, and the mask; without one all tokens are real.
pub(crate) fn unpadded(tensors: &Tensors, side: &str) -> (Vec<Vec<u32>>, Vec<f32>) {
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

pub(crate) fn pad(rows: &[Vec<u32>], side: &str) -> TokenBatch<B> {
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
    let means = host(model.logits(flat.clone()).mean_dim(1)).into_iter().map(f64::from);
    assert_close(
        "mean_logits",
        &host(model.mean_logits(flat.clone())),
        &means.collect::<Vec<_>>(),
        1e-5,
    );
    for (what, got) in [("last_hidden", host(hidden)), ("logits", host(model.logits(flat)))] {
        let (shape, want) = &tensors[&format!("{side}.{what}")];
        let wide: Vec<f64> =
            mask.iter().flat_map(|mask| vec![f64::from(*mask); shape[2]]).collect();
        let want: Vec<f64> = want.iter().map(|value| f64::from(*value)).collect();
        assert_close_masked(&format!("{side}.{what}"), &got, &want, &wide, 1e-4);
    }
}

fn greedy(max_new_tokens: usize, ends: &[u32], batch_rows: usize) -> Sampling {
    Sampling { max_new_tokens, ends: ends.to_vec(), batch_rows, ..Sampling::greedy() }
}

/// Greedy tokens are exact: with the cache alone and in a left-padded batch, and without it.
fn check_generation(model: &CausalLm<B>, generation: &Value) {
    let prompts = token_rows(&generation["prompts"]);
    let want = token_rows(&generation["greedy"]);
    let max_new_tokens = want[0].len();
    for batch_rows in [1, prompts.len()] {
        let sampling = greedy(max_new_tokens, &[], batch_rows);
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
        let sampling = greedy(max_new_tokens, &[eos], prompts.len());
        let got = generate(model, prompts, &sampling, Seed::new(0), &DEVICE).expect("generates");
        for (got, want) in got.iter().zip(&want) {
            assert_eq!(&got.tokens, want, "with {eos} as the end of sequence");
            assert_eq!(got.finished(), want.last() == Some(&eos));
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
