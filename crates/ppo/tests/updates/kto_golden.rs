//! A short run of TRL's KTO, followed update by update. `fixtures/oracle/kto.py` made it.

use crate::golden::*;
use crate::trl::optimizer;
use burn::backend::Autodiff;
use burn_flex::{Flex, FlexDevice};
use rein_data::encoding::TokenRow;
use rein_data::log::Metrics;
use rein_data::seed::Seed;
use rein_data::stage::Train;
use rein_model::load_causal_lm;
use rein_ppo::preference::labels::Label;
use rein_ppo::preference::loss::LossType;
use rein_ppo::preference::{DpoConfig, Kto};
use serde_json::Value;

type AB = Autodiff<Flex>;

const DEVICE: FlexDevice = FlexDevice;

#[test]
fn training_follows_the_reference_run() {
    let folder = own_root().join("preference/kto");
    let trajectory = json(&folder.join("trajectory.json"));
    for micro_batch_rows in [2, 64] {
        let batches = trajectory["batches"].as_array().expect("a list");
        let batches: Vec<Vec<Label>> = batches.iter().map(labels).collect();
        let policy = load_causal_lm::<AB>(&own_root().join("training/dpo/init"), &DEVICE);
        let config = config(&trajectory["hyperparameters"], micro_batch_rows);
        let rows = [batches.concat(), Vec::new()];
        let mut stage = Kto::new(config, policy.expect("loads"), None, rows, Seed::new(0), &DEVICE)
            .expect("begins");
        let mut first = 0;
        for (step, batch) in batches.iter().enumerate() {
            let numbers: Vec<usize> = (first..first + batch.len()).collect();
            first += batch.len();
            let got = stage.update(step, &numbers).expect("updates");
            check_step(step, &got, &trajectory["steps"][step]);
        }
        let saved = tempfile::tempdir().expect("a temporary folder");
        stage.save(saved.path()).expect("saves");
        let saved = saved.path().join("model/model.safetensors");
        assert_same_weights(&saved, ["", ""], &folder.join("final.safetensors"));
    }
}

fn check_step(step: usize, got: &Metrics, want: &Value) {
    let near = |name: &str, want: f64, tolerance: f64| {
        let got = got.get(name).expect("is measured");
        assert_near(&format!("{name} at {step}"), got, &want.into(), tolerance);
    };
    near("loss", number(&want["loss"]), 1e-4);
    near("grad_norm", number(&want["grad_norm"]), 1e-3);
    near("kl", number(&want["kl"]), 1e-4);
    for side in ["chosen", "rejected"] {
        // TRL logs sums and counts, and divides when it prints.
        let Some(count) = want[&format!("count/{side}")].as_f64() else { continue };
        for name in ["rewards", "logps"] {
            let mean = number(&want[&format!("{name}/{side}_sum")]) / count;
            near(&format!("{name}/{side}"), mean, 1e-4);
        }
    }
}

fn config(hyper: &Value, micro_batch_rows: usize) -> DpoConfig {
    DpoConfig {
        micro_batch_rows,
        loss_type: LossType::Kto,
        beta: number(&hyper["beta"]),
        desirable_weight: number(&hyper["desirable_weight"]),
        undesirable_weight: number(&hyper["undesirable_weight"]),
        optimizer: optimizer(hyper),
        ..DpoConfig::default()
    }
}

fn labels(batch: &Value) -> Vec<Label> {
    let ids = |value: &Value| -> Vec<u32> { numbers(value).iter().map(|it| *it as u32).collect() };
    let label = |row: &Value| {
        let with =
            |completion: &str| TokenRow::completion(ids(&row["prompt"]), &ids(&row[completion]));
        Label {
            row: with("completion"),
            is_desirable: row["label"] == true,
            mismatched: with("mismatched"),
        }
    };
    batch.as_array().expect("a list").iter().map(label).collect()
}
