//! Gradients are the same whether what is inside blocks is kept or computed again, in every family.

use burn::module::AutodiffModule;
use burn::prelude::*;
use rein_data::encoding::TokenRow;
use rein_data::stage::Train;
use rein_data::store::TokenStore;
use rein_model::backend::LmBackend;
use rein_model::logprobs::{cross_entropy, learned_stats};
use rein_model::lora::LoraConfig;
use rein_model::optim::{Gradients, OptimizerConfig};
use rein_model::sft::SftConfig;
use rein_model::tokens::{LearnedTokens, host};
use rein_model::{CausalLm, Precision};

use crate::packing::{begin, cases, files, learned};
use crate::{AB, DEVICE};

/// What is saved after some steps on these sequences.
fn trained(config: &SftConfig, model: &CausalLm<AB>, sequences: &[Vec<&TokenRow>]) -> Vec<Vec<u8>> {
    let row = TokenRow::new(vec![0, 0], vec![true; 2]);
    let mut sft = begin(config, model, TokenStore::in_memory(vec![row]));
    for step in 0..3 {
        sft.update_packed(step, sequences).expect("updates");
    }
    let saved = tempfile::tempdir().expect("a temporary folder");
    sft.save(saved.path()).expect("saves");
    files(saved.path())
}

#[test]
fn a_run_is_the_same_to_the_last_bit() {
    let adapters = Some(LoraConfig { rank: 2, ..LoraConfig::default() });
    for (model, rows) in cases::<AB>() {
        let rows = learned(rows);
        let packed = [rows.iter().collect(), rows.iter().rev().skip(1).collect(), vec![&rows[0]]];
        let alone: Vec<Vec<&TokenRow>> = rows.iter().map(|row| vec![row]).collect();
        for (lora, sequences, precision) in [
            (None, &packed[..], Precision::F32),
            (None, &alone, Precision::Bf16),
            (adapters.clone(), &packed, Precision::F32),
            (adapters.clone(), &alone, Precision::F32),
        ] {
            let config = |gradient_checkpointing| SftConfig {
                epochs: 100.0,
                batch_rows: 1,
                micro_batch_rows: 2,
                gradient_checkpointing,
                lora: lora.clone(),
                optimizer: OptimizerConfig { learning_rate: 1e-2, ..OptimizerConfig::default() },
                precision,
                ..SftConfig::default()
            };
            let [kept, recomputed] =
                [false, true].map(|it| trained(&config(it), &model, sequences));
            assert!(kept == recomputed, "{:?}, {lora:?}", model.config().family);
        }
    }
}

fn loss<BB: LmBackend<Device = crate::Device>>(
    model: &CausalLm<BB>,
    sequences: &[Vec<&TokenRow>],
) -> Tensor<BB, 1> {
    let learned = LearnedTokens::packed(sequences, &DEVICE);
    cross_entropy(&learned_stats(model, &learned, 1.0), 0.1).sum()
}

/// One pass after another, of each row alone.
fn alone(model: &CausalLm<AB>, rows: &[TokenRow]) -> Tensor<AB, 1> {
    let losses = rows.iter().map(|row| loss(model, &[vec![row]]));
    losses.reduce(|a, b| a + b).expect("there are rows")
}

#[test]
fn a_loss_may_take_several_passes_and_leave_some_unused() {
    for (model, rows) in cases::<AB>() {
        let rows = learned(rows);
        let together = [rows.iter().collect()];
        let model = model.with_gradient_checkpointing(true);
        let norm = |of_loss: &dyn Fn(&CausalLm<AB>) -> Tensor<AB, 1>| {
            let gradients = Gradients::of(&model, [()], |model, ()| {
                // Neither is a part of the loss, and the second has no tape.
                let unused = host(loss(model, &together));
                assert_eq!(unused, host(loss(&model.valid(), &together)));
                of_loss(model)
            });
            gradients.norm()
        };
        let difference = norm(&|model| loss(model, &together) - alone(model, &rows));
        let whole = norm(&|model| alone(model, &rows));
        assert!(whole > 0.0 && difference < 1e-5 * whole, "{difference} of {whole}");
    }
}

#[test]
fn a_tape_that_is_run_by_hand_keeps_everything() {
    for (model, rows) in cases::<AB>() {
        let rows = learned(rows);
        let gradient = |model: &CausalLm<AB>| {
            let gradients = alone(model, &rows).backward();
            model.decoder.embedding.val().grad(&gradients).expect("is trained").into_data()
        };
        let kept = gradient(&model);
        assert_eq!(gradient(&model.with_gradient_checkpointing(true)), kept);
    }
}
