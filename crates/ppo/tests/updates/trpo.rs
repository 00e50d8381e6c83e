//! Steps of language models within a trust region.

use burn::backend::Autodiff;
use burn::module::AutodiffModule;
use burn::prelude::*;
use burn::tensor::activation::softmax;
use burn_flex::{Flex, FlexDevice};
use rein_data::encoding::TokenRow;
use rein_data::seed::Seed;
use rein_model::backend::LmBackend;
use rein_model::config::{LlamaShape, ModelConfig};
use rein_model::flat::FlatParams;
use rein_model::logprobs::row_logprobs;
use rein_model::lora::LoraConfig;
use rein_model::optim::{Gradients, OptimizerConfig};
use rein_model::tokens::{LearnedTokens, TokenBatch, host};
use rein_model::weights::RandomWeights;
use rein_model::{CausalLm, Learner, Precision};
use rein_ppo::PpoError;
use rein_ppo::experience::Experience;
use rein_ppo::trpo::{Batch, Trained, TrpoConfig, Update, fisher, update};

mod bandit;
mod products;
mod steps;
mod workers;

type AB = Autodiff<Flex>;
type Policy = Learner<AB, CausalLm<AB>>;

const VOCAB: usize = 8;
const TEMPERATURE: f32 = 0.7;

fn model(seed: u64, tied_head: bool) -> CausalLm<AB> {
    model_of(VOCAB, seed, tied_head)
}

fn model_of(vocab_size: usize, seed: u64, tied_head: bool) -> CausalLm<AB> {
    let config = ModelConfig::llama(LlamaShape {
        vocab_size,
        hidden_size: 8,
        mlp_size: 12,
        n_layers: 2,
        n_heads: 2,
        n_kv_heads: 1,
        max_positions: 16,
        tied_head,
    });
    let config = ModelConfig { init_std: 0.3, ..config.expect("a valid shape") };
    let mut weights = RandomWeights::new(&config, Seed::new(seed));
    CausalLm::new(&config, &mut weights, &FlexDevice).expect("random weights fit")
}

fn policy(seed: u64) -> Policy {
    Learner::new(model(seed, true), OptimizerConfig::default())
}

/// Rows of different lengths; of some, not every token of the completion is learned.
fn token_rows(seed: u64) -> Vec<TokenRow> {
    (0..5)
        .map(|row| {
            let token = |place: usize| ((row * 3 + place * 5 + seed as usize) % VOCAB) as u32;
            let tokens: Vec<u32> = (0..4 + row % 3).map(token).collect();
            let is_learned = |place| place >= 2 && (row != 1 || place != 3);
            let learned = (0..tokens.len()).map(is_learned).collect();
            TokenRow::new(tokens, learned)
        })
        .collect()
}

/// What the policy would make of these rows if it had sampled them.
fn experience(
    policy: &Policy,
    rows: Vec<TokenRow>,
    advantage: impl Fn(usize) -> f32,
) -> Vec<Experience> {
    let by_reference: Vec<&TokenRow> = rows.iter().collect();
    let model = policy.module().valid();
    let logprobs = row_logprobs(&model, &by_reference, TEMPERATURE, 2, &FlexDevice);
    let mut n_seen = 0;
    let told = rows.into_iter().zip(logprobs).map(|(tokens, old_logprobs)| {
        let places = n_seen..n_seen + old_logprobs.len();
        n_seen = places.end;
        Experience {
            tokens,
            advantages: places.map(&advantage).collect(),
            importance: None,
            penalty: None,
            old_values: vec![0.0; old_logprobs.len()],
            returns: vec![0.0; old_logprobs.len()],
            old_logprobs,
        }
    });
    told.collect()
}

/// Of the `number`th token: any number, some above 0 and some below.
fn uneven(number: usize) -> f32 {
    (number as f32 * 2.3).sin()
}

fn step(
    policy: &mut Policy,
    rows: &[Experience],
    micro_batch_rows: usize,
    config: &TrpoConfig,
) -> Result<Update, PpoError> {
    let rows: Vec<&Experience> = rows.iter().collect();
    let (temperature, device) = (TEMPERATURE, &FlexDevice);
    let batch = Batch { rows: &rows, temperature, micro_batch_rows, device };
    update(policy, &batch, config, 0)
}

fn all_values(policy: &Policy) -> Vec<f32> {
    FlatParams::of(policy.module(), |_| true).values(policy.module())
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|it| it.to_bits()).collect()
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    let square = |it: f64| it * it;
    let apart: f64 = a.iter().zip(b).map(|(a, b)| square(f64::from(a - b))).sum();
    (apart / b.iter().map(|b| square(f64::from(*b))).sum::<f64>()).sqrt()
}

/// Logits before each learned token, `[tokens, vocab]`, every row by itself.
fn separate_logits<B: LmBackend>(model: &CausalLm<B>, rows: &[TokenRow]) -> Tensor<B, 2> {
    let of_row = |row: &TokenRow| {
        let batch = TokenBatch::right_padded(&[&row.tokens], &Default::default());
        let logits = model.logits(model.hidden(&batch).squeeze_dim(0)) / TEMPERATURE;
        let learned = row.learned.iter().enumerate().filter(|(_, learned)| **learned);
        let places: Vec<Tensor<B, 2>> =
            learned.map(|(place, _)| logits.clone().narrow(0, place - 1, 1)).collect();
        Tensor::cat(places, 0)
    };
    Tensor::cat(rows.iter().map(of_row).collect(), 0)
}
