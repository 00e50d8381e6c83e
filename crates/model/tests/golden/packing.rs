//! Rows that share a sequence are as if alone, in every family.

use std::fs;
use std::path::Path;

use burn::prelude::*;
use rein_data::encoding::TokenRow;
use rein_data::log::{Record, RunLog, Watcher};
use rein_data::run_dir::RunDir;
use rein_data::seed::Seed;
use rein_data::stage::Train;
use rein_data::store::{TokenStore, TokenStoreWriter};
use rein_model::backend::LmBackend;
use rein_model::logprobs::{cross_entropy, learned_stats, row_logprobs};
use rein_model::optim::{Gradients, OptimizerConfig};
use rein_model::sft::{Sft, SftConfig, SftRows};
use rein_model::tokens::{LearnedTokens, TokenBatch, host};
use rein_model::{CausalLm, load_causal_lm};

use crate::golden::{assert_close, folders};
use crate::models::{as_expected, by_name, unpadded};
use crate::{AB, B, DEVICE};

/// The models of all fixtures, each with some rows.
pub(crate) fn cases<BB: LmBackend<Device = crate::Device>>() -> Vec<(CausalLm<BB>, Vec<Vec<u32>>)> {
    let case = |folder: &Path| {
        let model = as_expected(folder, load_causal_lm::<BB>(folder, &DEVICE))?;
        let (mut rows, _) = unpadded(&by_name(&folder.join("expected.safetensors")), "right");
        // At least two, of different lengths.
        rows.push(rows[0][..rows[0].len().div_ceil(2)].to_vec());
        Some((model, rows))
    };
    let cases: Vec<_> = folders("models", "config.json").iter().filter_map(|it| case(it)).collect();
    assert!(!cases.is_empty(), "no model was loaded");
    cases
}

/// The logits of each row, sequence by sequence.
fn logits(model: &CausalLm<B>, sequences: &[Vec<Vec<u32>>]) -> Vec<Vec<f32>> {
    let batch = TokenBatch::packed(sequences, &DEVICE);
    let [n_batch, n_time] = batch.dims();
    let config = model.config();
    let hidden = model.hidden(&batch).reshape([n_batch * n_time, config.hidden_size]);
    let all = host(model.logits(hidden));
    let mut rows = Vec::new();
    for (number, sequence) in sequences.iter().enumerate() {
        let mut cell = number * n_time;
        for row in sequence {
            let end = cell + row.len();
            rows.push(all[cell * config.vocab_size..end * config.vocab_size].to_vec());
            cell = end;
        }
    }
    rows
}

#[test]
fn logits_are_those_of_the_rows_alone() {
    for (model, rows) in cases::<B>() {
        let reversed: Vec<Vec<u32>> = rows.iter().rev().cloned().collect();
        // Of different lengths, so that some are padded.
        let sequences = [rows.clone(), reversed[1..].to_vec(), vec![rows[0].clone()]];
        let packed = logits(&model, &sequences);
        for (row, got) in sequences.iter().flatten().zip(&packed) {
            let alone = logits(&model, &[vec![row.clone()]]).concat();
            let want: Vec<f64> = alone.into_iter().map(f64::from).collect();
            assert_close("packed logits", got, &want, 1e-5);
        }
    }
}

#[test]
fn a_changed_row_leaves_the_others_as_they_are_to_the_last_bit() {
    for (model, rows) in cases::<B>() {
        let before = logits(&model, std::slice::from_ref(&rows));
        for changed in 0..rows.len() {
            let mut others = rows.clone();
            let n_ids = model.config().vocab_size as u32;
            others[changed].iter_mut().for_each(|token| *token = (*token + 1) % n_ids);
            let after = logits(&model, &[others]);
            for (row, (before, after)) in before.iter().zip(&after).enumerate() {
                assert_eq!(before != after, row == changed, "row {row} when {changed} changes");
            }
        }
    }
}

/// Rows of which all but the first tokens are learned.
pub(crate) fn learned(rows: Vec<Vec<u32>>) -> Vec<TokenRow> {
    rows.into_iter()
        .map(|tokens| {
            let learned = (0..tokens.len()).map(|column| column > tokens.len() / 3).collect();
            TokenRow::new(tokens, learned)
        })
        .collect()
}

fn loss(model: &CausalLm<AB>, sequences: &[Vec<&TokenRow>]) -> Tensor<AB, 1> {
    let learned = LearnedTokens::packed(sequences, &DEVICE);
    cross_entropy(&learned_stats(model, &learned, 1.0), 0.1).sum()
}

#[test]
fn gradients_are_those_of_the_rows_alone() {
    for (model, rows) in cases::<AB>() {
        let rows = learned(rows);
        let alone = |model: &CausalLm<AB>| {
            let losses = rows.iter().map(|row| loss(model, &[vec![row]]));
            losses.reduce(|a, b| a + b).expect("there are rows")
        };
        let gradient = |packed: bool| {
            Gradients::of(&model, [()], |model, ()| match packed {
                true => loss(model, &[rows.iter().collect()]) - alone(model),
                false => alone(model),
            })
        };
        let (difference, norm) = (gradient(true).norm(), gradient(false).norm());
        assert!(difference < 1e-5 * norm, "{difference} of {norm}");
    }
}

#[test]
fn a_step_measures_the_same_packed_or_not() {
    for (model, rows) in cases::<AB>() {
        let rows = learned(rows);
        let steps = [rows.iter().map(|row| vec![row]).collect(), vec![rows.iter().collect()]];
        let [alone, packed] = steps.map(|sequences: Vec<Vec<&TokenRow>>| {
            let mut sft = begin(&SftConfig::default(), &model, TokenStore::in_memory(rows.clone()));
            sft.update_packed(0, &sequences).expect("updates")
        });
        for name in ["loss", "mean_token_accuracy", "entropy", "grad_norm", "num_tokens"] {
            let [got, want] = [&packed, &alone].map(|it| it.get(name).expect("is measured"));
            assert_close(name, &[got as f32], &[want], 1e-5);
        }
    }
}

pub(crate) fn begin(config: &SftConfig, model: &CausalLm<AB>, train: TokenStore) -> Sft<AB> {
    let rows = SftRows { train, heldout: TokenStore::in_memory(vec![]) };
    Sft::new(config.clone(), model.clone(), None, rows, Seed::new(4), &DEVICE).expect("begins")
}

struct Nobody;

impl Watcher for Nobody {
    fn stage(&mut self, _: &str, _: usize, _: usize) {}
    fn metrics(&mut self, _: &Record) {}
    fn note(&mut self, _: &str) {}
}

fn log(folder: &Path) -> RunLog {
    RunLog::open(&RunDir::create(folder).expect("creates"), Box::new(Nobody)).expect("opens")
}

/// All files of a checkpoint.
pub(crate) fn files(folder: &Path) -> Vec<Vec<u8>> {
    let names = ["model/model.safetensors", "optimizer.safetensors", "state.json"];
    names.map(|name| fs::read(folder.join(name)).expect("was saved")).to_vec()
}

/// Rows in a file.
fn store(folder: &Path, rows: &[TokenRow]) -> TokenStore {
    let mut writer = TokenStoreWriter::create(folder.join("train.rows")).expect("creates");
    rows.iter().try_for_each(|row| writer.push(row)).expect("pushes");
    writer.finish().expect("finishes")
}

#[test]
fn a_packed_run_from_a_file_that_is_resumed_ends_as_one_from_memory_that_is_not() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut log = log(folder.path());
    let (model, _) = cases::<AB>().swap_remove(0);
    let n_ids = model.config().vocab_size;
    let row =
        |number: usize| (0..number % 12 + 2).map(move |it| ((number * 7 + it) % n_ids) as u32);
    let rows = learned((0..36).map(|number| row(number).collect()).collect());
    for (packing, group_by_length) in [(true, false), (false, true), (true, true)] {
        let config = SftConfig {
            epochs: 1.5,
            batch_rows: 4,
            micro_batch_rows: 2,
            max_tokens: 16,
            packing,
            group_by_length,
            optimizer: OptimizerConfig { learning_rate: 1e-2, ..OptimizerConfig::default() },
            ..SftConfig::default()
        };
        let [whole, half, resumed] = ["whole", "half", "resumed"].map(|it| folder.path().join(it));
        let mut sft = begin(&config, &model, TokenStore::in_memory(rows.clone()));
        let n_steps = sft.n_steps();
        (0..n_steps).for_each(|step| drop(sft.step(step, &mut log).expect("steps")));
        sft.save(&whole).expect("saves");

        let mut sft = begin(&config, &model, store(folder.path(), &rows));
        (0..n_steps / 2).for_each(|step| drop(sft.step(step, &mut log).expect("steps")));
        sft.save(&half).expect("saves");
        let mut sft = begin(&config, &model, store(folder.path(), &rows));
        sft.restore(&half).expect("restores");
        (n_steps / 2..n_steps).for_each(|step| drop(sft.step(step, &mut log).expect("steps")));
        sft.save(&resumed).expect("saves");
        assert!(files(&whole) == files(&resumed), "{config:?}");
        assert!(files(&whole) != files(&half));
    }
}

#[test]
fn rows_of_another_tokenizer_are_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut log = log(folder.path());
    let (model, _) = cases::<AB>().swap_remove(0);
    let (n_ids, room) = (model.config().vocab_size as u32, model.config().max_positions);
    for (row, reason) in [
        (TokenRow::completion(vec![1], &[n_ids]), format!("row 1: holds the token {n_ids}")),
        (TokenRow::completion(vec![1], &vec![1; room]), format!("has {} tokens", room + 1)),
    ] {
        let config = SftConfig { batch_rows: 1, micro_batch_rows: 1, ..SftConfig::default() };
        let mut sft = begin(&config, &model, store(folder.path(), &[row]));
        let error = sft.step(0, &mut log).expect_err("is refused").to_string();
        assert!(error.contains(&reason), "{error}");
    }
}

/// Short rows share sequences, and nobody notices but for the time it takes.
#[test]
fn learned_tokens_come_in_the_order_of_their_rows() {
    for (model, rows) in cases::<B>() {
        let tokens: Vec<u32> = rows[0].iter().copied().cycle().take(8).collect();
        let parts = [2, 8, 4, 4].map(|n_tokens| {
            let (prompt, completion) = tokens[..n_tokens].split_at(1);
            TokenRow::completion(prompt.to_vec(), completion)
        });
        let parts: Vec<&TokenRow> = parts.iter().collect();
        let batch = LearnedTokens::<B>::new(&parts, &DEVICE).batch;
        let n_cells: usize = batch.dims().iter().product();
        assert_eq!(n_cells, 3 * 8, "two of four share a sequence");
        let together = row_logprobs(&model, &parts, 0.7, parts.len(), &DEVICE);
        let alone = row_logprobs(&model, &parts, 0.7, 1, &DEVICE);
        for (together, alone) in together.iter().zip(&alone) {
            assert_eq!(together.len(), alone.len());
            let alone: Vec<f64> = alone.iter().map(|it| f64::from(*it)).collect();
            assert_close("log-probabilities", together, &alone, 1e-4);
        }
    }
}
