use std::path::Path;

use rein_data::encoding::TokenRow;
use rein_data::seed::Seed;
use rein_data::stage::Train;
use rein_data::store::TokenStore;
use rein_model::lora::LoraConfig;
use rein_model::optim::OptimizerConfig;
use rein_model::sft::{Sft, SftConfig, SftRows};
use rein_model::tokens::TokenBatch;
use rein_model::{CausalLm, Learner, load_causal_lm};
use serde_json::Value;

use crate::golden::{
    assert_near, assert_same_weights, has, number, numbers, own_root, rows, training_runs,
};
use crate::{AB, DEVICE};

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
    let rows = SftRows {
        train: TokenStore::in_memory(vec![TokenRow::new(vec![0, 0], vec![true; 2])]),
        heldout: TokenStore::in_memory(vec![]),
    };
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
pub(crate) fn label_rows(batch: &Value) -> Vec<TokenRow> {
    let parts = ["input_ids", "attention_mask", "labels"].map(|key| rows(&batch[key]));
    let [ids, mask, labels] = parts;
    let row = |row: usize| {
        let real: Vec<usize> = (0..ids[row].len()).filter(|cell| mask[row][*cell] != 0.0).collect();
        let tokens = real.iter().map(|cell| ids[row][*cell] as u32).collect();
        TokenRow::new(tokens, real.iter().map(|cell| labels[row][*cell] >= 0.0).collect())
    };
    (0..ids.len()).map(row).collect()
}

#[test]
fn a_digest_tells_weights_apart() {
    let folder = own_root().join("models/llama");
    let learner = |seed| {
        let model: CausalLm<AB> = load_causal_lm(&folder, &DEVICE).expect("loads");
        let lora = LoraConfig { rank: 2, ..LoraConfig::default() };
        let model = match seed {
            Some(seed) => model.with_lora(&lora, Seed::new(seed), &DEVICE).expect("fits"),
            None => model,
        };
        Learner::new(model, OptimizerConfig::default())
    };
    assert_eq!(learner(None).digest(), learner(None).digest());
    assert_eq!(learner(Some(1)).digest(), learner(Some(1)).digest());
    let digests = [None, Some(1), Some(2)].map(|seed| learner(seed).digest());
    assert!(digests[0] != digests[1] && digests[1] != digests[2], "adapters count, too");
    let mut trained = learner(None);
    let gradients = trained.gradients([()], |model, ()| {
        let token = TokenBatch::right_padded(&[[3]], &DEVICE);
        model.hidden(&token).sum() * 1e-3
    });
    trained.update(0, gradients, 1e-6).expect("updates");
    assert_ne!(trained.digest(), digests[0], "a small update is seen");
}
