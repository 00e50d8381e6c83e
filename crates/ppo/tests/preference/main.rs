//! Optimisation on preference pairs: however it is cut, kept or interrupted, the same comes of it.

use std::fs;
use std::path::Path;

use burn::backend::Autodiff;
use burn::module::AutodiffModule;
use burn_flex::{Flex, FlexDevice};
use rein_data::encoding::TokenRow;
use rein_data::log::{Metrics, RunLog};
use rein_data::seed::Seed;
use rein_data::stage::Train;
use rein_model::config::{LlamaShape, ModelConfig};
use rein_model::logprobs::row_logprobs;
use rein_model::lora::LoraConfig;
use rein_model::optim::OptimizerConfig;
use rein_model::weights::RandomWeights;
use rein_model::{CausalLm, load_causal_lm};
use rein_ppo::preference::loss::LossType;
use rein_ppo::preference::pairs::Pair;
use rein_ppo::preference::{Dpo, DpoConfig};
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

fn steps(dpo: &mut Dpo<AB>, steps: std::ops::Range<usize>) -> Vec<Metrics> {
    let step = |step| dpo.step(step, &mut RunLog::silent()).expect("steps");
    steps.map(step).collect()
}

/// All files of a checkpoint by their path, in order.
fn saved(dpo: &Dpo<AB>) -> Vec<(String, Vec<u8>)> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    dpo.save(folder.path()).expect("saves");
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

/// The gradient of one update: after the first, the first moments are a share of it.
fn gradient(config: &DpoConfig) -> Vec<f32> {
    let optimizer = OptimizerConfig { max_grad_norm: 0.0, ..config.optimizer };
    let mut dpo = dpo(&DpoConfig { optimizer, ..config.clone() });
    dpo.update(0, &(0..8).collect::<Vec<_>>()).expect("updates");
    let files = saved(&dpo);
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

#[test]
fn the_gradient_does_not_depend_on_how_a_batch_is_cut() {
    for loss_type in [LossType::Sigmoid, LossType::Ipo, LossType::Simpo, LossType::Orpo] {
        let cut = |micro_batch_rows| {
            gradient(&DpoConfig { loss_type, batch_rows: 8, micro_batch_rows, ..config() })
        };
        let whole = cut(8);
        let norm = |values: &[f32]| values.iter().map(|it| f64::from(*it).powi(2)).sum::<f64>();
        assert!(norm(&whole) > 0.0, "{loss_type:?}: there is a gradient");
        for rows in [1, 2, 4] {
            let differences: Vec<f32> = cut(rows).iter().zip(&whole).map(|(a, b)| a - b).collect();
            let relative = (norm(&differences) / norm(&whole)).sqrt();
            assert!(relative < 1e-5, "{loss_type:?} cut into {rows}: {relative}");
        }
    }
}

#[test]
fn a_resumed_run_ends_with_the_same_bits() {
    for config in [config(), with_lora(config())] {
        let mut whole = dpo(&config);
        let n_steps = whole.n_steps();
        let told = steps(&mut whole, 0..n_steps);
        let evaluated = whole.evaluate().expect("evaluates").expect("there are held-out pairs");
        for stop in [1, 3] {
            let mut first = dpo(&config);
            steps(&mut first, 0..stop);
            let folder = tempfile::tempdir().expect("a temporary folder");
            first.save(folder.path()).expect("saves");
            let mut second = dpo(&config);
            second.restore(folder.path()).expect("restores");
            assert_eq!(steps(&mut second, stop..n_steps), told[stop..]);
            assert!(saved(&second) == saved(&whole), "stopped after {stop}");
            let again = second.evaluate().expect("evaluates").expect("there are held-out pairs");
            assert_eq!(again.metrics, evaluated.metrics);
        }
    }
}

#[test]
fn blocks_that_are_replayed_change_no_bit() {
    let trained = |gradient_checkpointing| {
        let mut dpo = dpo(&DpoConfig { gradient_checkpointing, ..config() });
        let told = steps(&mut dpo, 0..3);
        (told, saved(&dpo))
    };
    assert!(trained(true) == trained(false));
}

#[test]
fn the_reference_of_adapters_is_the_policy_without_them() {
    let mut dpo = dpo(&with_lora(config()));
    let told = steps(&mut dpo, 0..4);
    let at_first = |name: &str| told[0].get(name).expect("is measured");
    for name in ["rewards/chosen", "rewards/rejected", "rewards/margins"] {
        assert!(at_first(name).abs() < 1e-6, "{name}: {}", at_first(name));
    }
    assert!((at_first("loss") - 2.0_f64.ln()).abs() < 1e-6);
    let base = dpo.policy().valid().without_lora();
    let adapted = dpo.policy().valid();
    let mut moved = 0.0_f32;
    for (number, reference) in dpo.reference_logprobs().iter().enumerate() {
        let pair = pair(number);
        let sums = |model| {
            let rows = row_logprobs(model, &pair.sides(), 1.0, 2, &DEVICE);
            rows.iter().map(|row| row.iter().sum()).collect::<Vec<f32>>()
        };
        for ((off, on), reference) in sums(&base).iter().zip(sums(&adapted)).zip(reference) {
            assert!((off - reference).abs() < 1e-4, "{off} and {reference}");
            moved = moved.max((on - reference).abs());
        }
    }
    assert!(moved > 0.1, "the adapters have learned: {moved}");
}

#[test]
fn a_policy_learns_what_was_preferred_and_its_checkpoint_is_a_model() {
    let mut dpo = dpo(&DpoConfig { epochs: 20.0, beta: 1.0, ..config() });
    let n_steps = dpo.n_steps();
    let told = steps(&mut dpo, 0..n_steps);
    let last = |name: &str| told[n_steps - 1].get(name).expect("is measured");
    assert!(last("rewards/accuracies") > 0.9 && last("rewards/margins") > 1.0);
    assert_eq!(last("epoch"), 20.0);
    let evaluation = dpo.evaluate().expect("evaluates").expect("there are held-out pairs");
    let loss = evaluation.metrics.get("eval_loss").expect("is measured");
    assert!((evaluation.score + loss).abs() < 1e-12);
    assert!(evaluation.metrics.get("eval_rewards/accuracies").is_some());
    let folder = tempfile::tempdir().expect("a temporary folder");
    dpo.save(folder.path()).expect("saves");
    load_causal_lm::<Flex>(&folder.path().join("model"), &DEVICE).expect("loads");
}

#[test]
fn without_a_reference_rewards_are_log_probabilities() {
    for loss_type in [LossType::Cpo, LossType::Simpo, LossType::Orpo] {
        let config = DpoConfig { loss_type, beta: 2.0, ..config() };
        let mut dpo = dpo(&config);
        let told = steps(&mut dpo, 0..1);
        let got = |name: &str| told[0].get(name).expect("is measured");
        assert!((got("rewards/chosen") - 2.0 * got("logps/chosen")).abs() < 1e-6);
        assert!(dpo.reference_logprobs().iter().all(|sides| *sides == [0.0; 2]));
        let nll = told[0].get("nll_loss");
        assert_eq!(nll.is_some(), loss_type != LossType::Simpo);
    }
}

#[test]
fn pairs_that_cannot_be_used_are_refused() {
    let begin = |pairs: [Vec<Pair>; 2]| {
        let error = Dpo::new(config(), policy(), None, pairs, Seed::new(5), &DEVICE);
        error.expect_err("is refused").to_string()
    };
    assert_eq!(begin([vec![], vec![pair(1)]]), "there are no preference pairs");
    let empty = Pair { rejected: TokenRow::completion(vec![1, 2], &[]), ..pair(1) };
    let want = "held-out preference pair 2: a completion has no tokens to learn";
    assert_eq!(begin([vec![pair(1)], vec![pair(2), empty]]), want);
    let long = Pair { chosen: TokenRow::completion(vec![1], &[3; 16]), ..pair(1) };
    let want = "preference pair 1: a row has 17 tokens, but the model has 16 positions";
    assert_eq!(begin([vec![long], vec![]]), want);
    let strange = Pair { chosen: TokenRow::completion(vec![1], &[40]), ..pair(1) };
    let want = "preference pair 1: a row holds the token 40, but the model's vocabulary has 40";
    assert_eq!(begin([vec![strange], vec![]]), want);
}
