use std::fs;
use std::path::{Path, PathBuf};

use burn::module::AutodiffModule;
use rein_data::encoding::TokenRow;
use rein_data::seed::Seed;
use rein_data::stage::Train;
use rein_data::store::TokenStore;
use rein_model::backend::LmBackend;
use rein_model::checkpoint::ADAPTER;
use rein_model::logprobs::{cross_entropy, learned_stats};
use rein_model::lora::{LoraConfig, Targets};
use rein_model::optim::OptimizerConfig;
use rein_model::schedule::Schedule;
use rein_model::sft::{Sft, SftConfig, SftRows};
use rein_model::tokens::{LearnedTokens, host};
use rein_model::{
    CausalLm, Learner, ScalarModel, load_causal_lm, load_scalar_model, read_adapter_config,
    save_adapter, save_causal_lm, save_scalar_adapter,
};

use crate::golden::{
    assert_close, assert_close_masked, assert_near, assert_same_weights, json, number, numbers,
    own_root, root, tensors,
};
use crate::models::{Tensors, by_name, check_draws, pad, unpadded};
use crate::training::label_rows;
use crate::{AB, B, DEVICE};

/// The adapters among the fixtures: of the folder that is named, or of the project where it has none.
fn lora() -> PathBuf {
    let named = root().join("lora");
    if named.exists() { named } else { own_root().join("lora") }
}

/// The adapters that `is_mine` picks by their `expected.json`'s base, each with its base's folder.
fn adapters(base: &str) -> Vec<(PathBuf, PathBuf)> {
    let entries = fs::read_dir(lora()).expect("a folder of adapters");
    let mut found = Vec::new();
    for folder in entries.map(|entry| entry.expect("is readable").path()) {
        let expected = folder.join("expected.json");
        if expected.exists() {
            let name = json(&expected)["base"].as_str().expect("names its base").to_owned();
            if name.starts_with(base) {
                found.push((folder, lora().join("..").join(name)));
            }
        }
    }
    assert!(!found.is_empty(), "no adapter of {base} in {}", lora().display());
    found
}

fn logits<M: LmBackend<Device = crate::Device>>(
    model: &CausalLm<M>,
    rows: &[Vec<u32>],
) -> Vec<f32> {
    let hidden = model.hidden(&rein_model::tokens::TokenBatch::right_padded(rows, &DEVICE));
    let [n_batch, n_time, width] = hidden.dims();
    host(model.logits(hidden.reshape([n_batch * n_time, width])))
}

fn check_logits(what: &str, got: &[f32], tensors: &Tensors, name: &str) {
    let (_, mask) = unpadded(tensors, "");
    let (shape, want) = &tensors[name];
    let wide: Vec<f64> = mask.iter().flat_map(|it| vec![f64::from(*it); shape[2]]).collect();
    let want: Vec<f64> = want.iter().map(|value| f64::from(*value)).collect();
    assert_close_masked(what, got, &want, &wide, 1e-4);
}

#[test]
fn adapters_compute_what_peft_computes() {
    for (folder, base) in adapters("models/") {
        let name = folder.display().to_string();
        let tensors = by_name(&folder.join("expected.safetensors"));
        let (rows, _) = unpadded(&tensors, "");
        let base: CausalLm<B> = load_causal_lm(&base, &DEVICE).expect("loads");
        let model = base.clone().with_saved_lora(&folder, &DEVICE).expect("fits");
        check_logits(&name, &logits(&model, &rows), &tensors, "logits");
        check_draws(&model, &rows);
        let merged = model.clone().merged();
        assert!(!merged.decoder.has_lora());
        check_logits(&format!("{name} merged"), &logits(&merged, &rows), &tensors, "logits");
        let off = logits(&model.clone().without_lora(), &rows);
        check_logits(&format!("{name} off"), &off, &tensors, "base.logits");
        assert_eq!(off, logits(&base, &rows), "{name}: the adapter off is the base, to the bit");
        let again = merged.with_saved_lora(&folder, &DEVICE).expect("fits");
        let unmerged = CausalLm { decoder: again.decoder.unmerged(), ..again };
        check_logits(
            &format!("{name} unmerged"),
            &logits(&unmerged, &rows),
            &tensors,
            "base.logits",
        );
    }
}

#[test]
fn adapters_of_reward_models_bring_their_head() {
    for (folder, base) in adapters("reward/") {
        let name = folder.display().to_string();
        let tensors = by_name(&folder.join("expected.safetensors"));
        let (rows, _) = unpadded(&tensors, "");
        let base: ScalarModel<B> = load_scalar_model(&base, &DEVICE).expect("loads");
        let model = base.with_saved_lora(&folder, &DEVICE).expect("fits");
        let want: Vec<f64> = tensors["scores"].1.iter().map(|it| f64::from(*it)).collect();
        let scores = |model: &ScalarModel<B>| host(model.scores(&pad(&rows, "right")));
        assert_close(&name, &scores(&model), &want, 1e-4);
        assert_close(&format!("{name} merged"), &scores(&model.clone().merged()), &want, 1e-4);
        let saved = tempfile::tempdir().expect("a temporary folder");
        let config = read_adapter_config(&folder).expect("reads");
        save_scalar_adapter(&model, &config, saved.path()).expect("saves");
        check_same_files(&folder, saved.path());
    }
}

#[test]
fn what_is_loaded_is_saved_bit_by_bit() {
    for (folder, base) in adapters("models/") {
        let base: CausalLm<B> = load_causal_lm(&base, &DEVICE).expect("loads");
        let model = base.with_saved_lora(&folder, &DEVICE).expect("fits");
        let saved = tempfile::tempdir().expect("a temporary folder");
        let config = read_adapter_config(&folder).expect("reads");
        save_adapter(&model, &config, saved.path()).expect("saves");
        check_same_files(&folder, saved.path());
    }
}

fn check_same_files(want: &Path, got: &Path) {
    let sorted = |folder: &Path| {
        let mut all = tensors(&folder.join("adapter_model.safetensors"));
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    };
    assert_eq!(sorted(got), sorted(want), "{}", want.display());
    let config = |folder: &Path| read_adapter_config(folder).expect("reads");
    assert_eq!(config(got), config(want));
    // PEFT's keys, not only ours.
    let [got, want] = [got, want].map(|folder| json(&folder.join("adapter_config.json")));
    for key in [
        "peft_type",
        "task_type",
        "r",
        "lora_alpha",
        "target_modules",
        "use_rslora",
        "fan_in_fan_out",
    ] {
        assert_eq!(got[key], want[key], "{key}");
    }
}

#[test]
fn adapters_that_are_more_than_plain_lora_are_refused() {
    let base: CausalLm<B> = load_causal_lm(&root().join("models/llama"), &DEVICE).expect("loads");
    let entries = fs::read_dir(lora().join("refused")).expect("a folder of adapters");
    for folder in entries.map(|entry| entry.expect("is readable").path()) {
        let refused = base.clone().with_saved_lora(&folder, &DEVICE);
        let error = refused.expect_err(&folder.display().to_string()).to_string();
        println!("refused: {error}");
        // The folders are called after the key, but for the layer that isn't linear.
        let (_, reason) = error.split_once("adapter_config.json: ").expect("names the file");
        let name = folder.file_name().expect("has a name").to_string_lossy();
        let key = if name == "embedding" { "embed_tokens" } else { &name };
        assert!(reason.contains(key), "names {key}: {error}");
    }
}

#[test]
fn adapters_learn_as_in_peft() {
    for name in ["train_llama", "train_llama_zero_b"] {
        let folder = lora().join(name);
        let trajectory = json(&folder.join("trajectory.json"));
        let hyper = &trajectory["hyperparameters"];
        let betas = numbers(&hyper["betas"]);
        let config = OptimizerConfig {
            learning_rate: number(&hyper["lr"]),
            schedule: Schedule::Constant,
            betas: [betas[0], betas[1]],
            epsilon: number(&hyper["eps"]),
            weight_decay: number(&hyper["weight_decay"]),
            max_grad_norm: 0.0,
            ..OptimizerConfig::default()
        };
        let base = trajectory["base"].as_str().expect("names its base");
        let base = load_causal_lm::<AB>(&lora().join("..").join(base), &DEVICE).expect("loads");
        let model = base.clone().with_saved_lora(&folder.join("init"), &DEVICE).expect("fits");
        let mut learner = Learner::new(model, config);
        for (step, batch) in trajectory["batches"].as_array().expect("a list").iter().enumerate() {
            let rows = label_rows(batch);
            let rows: Vec<&TokenRow> = rows.iter().collect();
            let want = &trajectory["steps"][step];
            let gradients = learner.gradients([()], |model, ()| {
                let learned = LearnedTokens::new(&rows, &DEVICE);
                let loss = cross_entropy(&learned_stats(model, &learned, 1.0), 0.0).mean();
                let value = f64::from(host(loss.clone().inner())[0]);
                assert_near(&format!("{name}: loss at {step}"), value, &want["loss"], 1e-4);
                loss
            });
            let norm = learner.update(step, gradients, config.learning_rate).expect("updates");
            assert_near(&format!("{name}: norm at {step}"), norm, &want["grad_norm"], 1e-3);
        }
        let saved = tempfile::tempdir().expect("a temporary folder");
        let about = read_adapter_config(&folder.join("init")).expect("reads");
        let learned = learner.module().valid();
        save_adapter(&learned, &about, saved.path()).expect("saves");
        let got = saved.path().join("adapter_model.safetensors");
        assert_same_weights(&got, ["", ""], &folder.join("final.safetensors"));
        let rows = [vec![3, 5, 8]];
        let off = logits(&learned.without_lora(), &rows);
        assert_eq!(off, logits(&base.valid(), &rows), "the base is frozen");
    }
}

fn small_sft(lora: LoraConfig, seed: u64) -> Sft<AB> {
    let config = SftConfig {
        epochs: 3.0,
        batch_rows: 4,
        micro_batch_rows: 2,
        lora: Some(lora),
        optimizer: OptimizerConfig { learning_rate: 1e-2, ..OptimizerConfig::default() },
        ..SftConfig::default()
    };
    let model = load_causal_lm(&own_root().join("models/gpt2"), &DEVICE).expect("loads");
    let rows = SftRows {
        train: TokenStore::in_memory(some_rows(0)),
        heldout: TokenStore::in_memory(Vec::new()),
    };
    Sft::new(config, model, None, rows, Seed::new(seed), &DEVICE).expect("begins")
}

fn some_rows(step: usize) -> Vec<TokenRow> {
    let row = |row: u32| {
        TokenRow::new((0..6).map(|it| 3 + it * (row + step as u32) % 200).collect(), vec![true; 6])
    };
    (1..5).map(row).collect()
}

fn step(sft: &mut Sft<AB>, step: usize) -> f64 {
    let rows = some_rows(step);
    let metrics = sft.update(step, &rows.iter().collect::<Vec<_>>()).expect("updates");
    metrics.get("loss").expect("is measured")
}

#[test]
fn a_resumed_run_with_dropout_is_the_uninterrupted_one() {
    let lora = LoraConfig { rank: 2, dropout: 0.25, ..LoraConfig::default() };
    let mut whole = small_sft(lora.clone(), 7);
    let losses: Vec<f64> = (0..6).map(|it| step(&mut whole, it)).collect();
    let mut first = small_sft(lora.clone(), 7);
    (0..3).for_each(|it| assert_eq!(step(&mut first, it), losses[it]));
    let saved = tempfile::tempdir().expect("a temporary folder");
    first.save(saved.path()).expect("saves");
    let mut second = small_sft(lora, 7);
    second.restore(saved.path()).expect("restores");
    (3..6).for_each(|it| assert_eq!(step(&mut second, it), losses[it]));
    // What is saved beside the adapter is the model with the adapter in it.
    second.save(saved.path()).expect("saves");
    let merged: CausalLm<B> = load_causal_lm(&saved.path().join("model"), &DEVICE).expect("loads");
    let rows = [vec![3, 5, 8, 13]];
    let want: Vec<f64> =
        logits(&second.model().valid(), &rows).into_iter().map(f64::from).collect();
    assert_close("merged", &logits(&merged, &rows), &want, 1e-5);
    let base = load_causal_lm::<B>(&own_root().join("models/gpt2"), &DEVICE).expect("loads");
    let adapted = base.with_saved_lora(&saved.path().join(ADAPTER), &DEVICE).expect("fits");
    assert_eq!(logits(&adapted, &rows), logits(&second.model().valid(), &rows));
}

#[test]
fn targets_are_checked_against_the_model() {
    let base = load_causal_lm::<B>(&own_root().join("models/llama"), &DEVICE).expect("loads");
    let with = |names: &[&str]| {
        let targets = Targets::Modules(names.iter().map(ToString::to_string).collect());
        let lora = LoraConfig { targets, ..LoraConfig::default() };
        base.clone().with_lora(&lora, Seed::new(0), &DEVICE)
    };
    let error = with(&["q_proj", "c_attn"]).expect_err("is refused").to_string();
    assert_eq!(
        error,
        "`targets` names `c_attn`, but the model's linear layers are `down_proj`, `gate_proj`, \
         `k_proj`, `o_proj`, `q_proj`, `up_proj`, `v_proj`"
    );
    let adapted = with(&["q_proj", "v_proj"]).expect("fits");
    let rows = [vec![3, 5, 8]];
    assert_eq!(logits(&adapted, &rows), logits(&base, &rows), "new adapters change nothing");
    let error = adapted.with_lora(&LoraConfig::default(), Seed::new(0), &DEVICE);
    assert!(error.is_err_and(|error| error.to_string().contains("adapters already")));
    let saved = tempfile::tempdir().expect("a temporary folder");
    save_causal_lm(&with(&["q_proj"]).expect("fits"), saved.path()).expect("saves");
    let again = load_causal_lm::<B>(saved.path(), &DEVICE).expect("loads");
    assert_eq!(logits(&again, &rows), logits(&base, &rows));
}
