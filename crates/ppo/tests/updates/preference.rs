//! Optimisation on judgements: however it is cut, kept, shared or interrupted, the same comes of it.

mod labels;
mod pairs;
mod workers;

use std::fs;
use std::path::Path;

use burn::backend::Autodiff;
use burn_flex::{Flex, FlexDevice};
use rein_data::encoding::TokenRow;
use rein_data::log::{Metrics, RunLog};
use rein_data::seed::Seed;
use rein_data::stage::Train;
use rein_model::CausalLm;
use rein_model::config::{LlamaShape, ModelConfig};
use rein_model::lora::LoraConfig;
use rein_model::optim::OptimizerConfig;
use rein_model::weights::RandomWeights;
use rein_ppo::preference::pairs::Pair;
use rein_ppo::preference::{Dpo, DpoConfig, Judgement};
use safetensors::SafeTensors;

type AB = Autodiff<Flex>;

const DEVICE: FlexDevice = FlexDevice;
const N_PAIRS: usize = 10;

fn policy() -> CausalLm<AB> {
    let config = ModelConfig::llama(LlamaShape {
        vocab_size: 40,
        hidden_size: 16,
        mlp_size: 32,
        n_layers: 2,
        n_heads: 4,
        n_kv_heads: 2,
        max_positions: 16,
        tied_head: true,
    });
    let config = ModelConfig { init_std: 0.2, ..config.expect("a valid shape") };
    let mut weights = RandomWeights::new(&config, Seed::new(1));
    CausalLm::new(&config, &mut weights, &DEVICE).expect("random weights fit")
}

fn pair(number: usize) -> Pair {
    let row = |n_tokens: usize, step: usize| {
        let tokens: Vec<u32> =
            (0..n_tokens).map(|it| ((number * 11 + it * step) % 40) as u32).collect();
        TokenRow::completion(vec![1, number as u32], &tokens)
    };
    Pair { chosen: row(2 + number % 5, 5), rejected: row(1 + number % 3, 7) }
}

fn config() -> DpoConfig {
    DpoConfig {
        epochs: 2.0,
        batch_rows: 4,
        micro_batch_rows: 2,
        optimizer: OptimizerConfig { learning_rate: 1e-2, ..OptimizerConfig::default() },
        ..DpoConfig::default()
    }
}

fn with_lora(config: DpoConfig) -> DpoConfig {
    DpoConfig { lora: Some(LoraConfig { rank: 2, ..LoraConfig::default() }), ..config }
}

fn dpo(config: &DpoConfig) -> Dpo<AB> {
    let pairs = [(0..N_PAIRS).map(pair).collect(), (20..27).map(pair).collect()];
    Dpo::new(config.clone(), policy(), None, pairs, Seed::new(5), &DEVICE).expect("begins")
}

fn steps<J: Judgement>(stage: &mut Dpo<AB, J>, steps: std::ops::Range<usize>) -> Vec<Metrics> {
    let step = |step| stage.step(step, &mut RunLog::silent()).expect("steps");
    steps.map(step).collect()
}

/// All files of a checkpoint by their path, in order.
fn saved<J: Judgement>(stage: &Dpo<AB, J>) -> Vec<(String, Vec<u8>)> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    stage.save(folder.path()).expect("saves");
    let mut files = Vec::new();
    walk(folder.path(), folder.path(), &mut files);
    files.sort();
    files
}

fn walk(root: &Path, folder: &Path, files: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(folder).expect("is readable") {
        let path = entry.expect("is readable").path();
        if path.is_dir() {
            walk(root, &path, files);
        } else {
            let name = path.strip_prefix(root).expect("lies below").display().to_string();
            files.push((name, fs::read(&path).expect("is readable")));
        }
    }
}

/// The gradient of one update on the judgements of these numbers: after the first, the first moments are a
/// share of it.
fn gradient<J: Judgement>(mut stage: Dpo<AB, J>, numbers: &[usize]) -> Vec<f32> {
    stage.update(0, numbers).expect("updates");
    let files = saved(&stage);
    let (_, bytes) =
        files.iter().find(|(name, _)| name == "optimizer.safetensors").expect("was saved");
    let file = SafeTensors::deserialize(bytes).expect("a whole file");
    let mut names: Vec<&str> = file.names();
    names.sort_unstable();
    let moments = names.into_iter().filter(|name| name.starts_with("first."));
    let read = |name: &str| -> Vec<f32> {
        let data = file.tensor(name).expect("is there").data().to_vec();
        let number = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().expect("4 bytes"));
        data.chunks_exact(4).map(number).collect()
    };
    moments.flat_map(read).collect()
}

/// The same settings without clipping, which a cut batch would pass through twice.
fn unclipped(config: DpoConfig) -> DpoConfig {
    let optimizer = OptimizerConfig { max_grad_norm: 0.0, ..config.optimizer };
    DpoConfig { optimizer, ..config }
}

/// How far two gradients are apart, compared with the second one's length.
fn distance(got: &[f32], want: &[f32]) -> f64 {
    let norm = |values: &[f32]| values.iter().map(|it| f64::from(*it).powi(2)).sum::<f64>();
    assert!(got.len() == want.len() && norm(want) > 0.0, "there is a gradient");
    let differences: Vec<f32> = got.iter().zip(want).map(|(a, b)| a - b).collect();
    (norm(&differences) / norm(want)).sqrt()
}
