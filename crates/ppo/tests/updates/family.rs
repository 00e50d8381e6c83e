//! What holds for every algorithm: ratios are 1 before the first update, and neither how a minibatch is
//! cut nor the order of its rows changes its gradient.

mod turns;

use std::path::Path;

use burn::backend::Autodiff;
use burn_flex::{Flex, FlexDevice};
use rein_data::example::Completion;
use rein_data::seed::Seed;
use rein_model::config::{LlamaShape, ModelConfig};
use rein_model::weights::RandomWeights;
use rein_model::{CausalLm, Frozen, Precision, ScalarModel};
use rein_ppo::algorithm::Algorithm;
use rein_ppo::config::PpoConfig;
use rein_ppo::experience::{Experience, prepare};
use rein_ppo::exploration::EntropyConfig;
use rein_ppo::hyperparameters::Hyperparameters;
use rein_ppo::kl::KlConfig;
use rein_ppo::rollout::{Judges, Row, collect};
use rein_ppo::update::update_minibatch;
use rein_ppo::{ActorCritic, Learners, PpoError};
use rein_reward::{Reward, RewardError};
use safetensors::SafeTensors;

type AB = Autodiff<Flex>;

/// Completions of a prompt.
const SAMPLES: usize = 4;

fn model(seed: u64) -> CausalLm<AB> {
    model_of(40, seed)
}

fn model_of(vocab_size: usize, seed: u64) -> CausalLm<AB> {
    let config = ModelConfig::llama(LlamaShape {
        vocab_size,
        hidden_size: 16,
        mlp_size: 32,
        n_layers: 2,
        n_heads: 2,
        n_kv_heads: 1,
        max_positions: 32,
        tied_head: true,
    });
    let config = ModelConfig { init_std: 0.2, ..config.expect("a valid shape") };
    let mut weights = RandomWeights::new(&config, Seed::new(seed));
    CausalLm::new(&config, &mut weights, &FlexDevice).expect("random weights fit")
}

fn actors(config: &PpoConfig) -> ActorCritic<AB> {
    let value = ScalarModel::from_causal_lm(model(2), Seed::new(3), &FlexDevice).expect("fits");
    let policy = if config.value_head {
        model(1).with_value_head(&FlexDevice).expect("fits")
    } else {
        model(1)
    };
    ActorCritic { policy, value: Some(value) }
        .for_advantages(config.advantage)
        .expect("there is a value model")
}

/// Likes even tokens.
struct Even;

impl Reward for Even {
    fn name(&self) -> &'static str {
        "even"
    }

    fn score(&self, completions: &[Completion]) -> Result<Vec<f32>, RewardError> {
        let even = |it: &Completion| it.tokens.iter().filter(|token| *token % 2 == 0).count();
        Ok(completions.iter().map(|it| even(it) as f32 / it.tokens.len() as f32).collect())
    }
}

/// Some completions of two prompts of different lengths.
fn completions() -> Vec<Completion> {
    let completion = |number: usize| {
        let length = 2 + number * 5 % 7;
        let token = |place: usize| (3 + number * 11 + place * 7 + place * place) as u32 % 40;
        Completion {
            prompt_tokens: (3..6 + (number / SAMPLES * 2) as u32).collect(),
            tokens: (0..length).map(token).collect(),
            finished: !number.is_multiple_of(3),
            ..Completion::default()
        }
    };
    (0..2 * SAMPLES).map(completion).collect()
}

/// The rows that this makes of the networks of a run before any update.
fn judged(
    config: &PpoConfig,
    rows: impl FnOnce(&ActorCritic<Flex>, &Judges<'_, Flex>) -> Result<Vec<Row>, PpoError>,
) -> Vec<Row> {
    let actors = Learners::new(actors(config), config.optimizer).valid();
    let reference = burn::module::AutodiffModule::valid(&model(4));
    let reference = Frozen::new(reference, Precision::F32);
    let judges = Judges { reference: &reference, micro_batch_rows: 3, device: &FlexDevice };
    rows(&actors, &judges).expect("fit")
}

fn experience(config: &PpoConfig) -> Vec<Experience> {
    let rows = judged(config, |actors, judges| {
        collect(actors, judges, &Even, &completions(), config.temperature.at(0))
    });
    prepared(&rows, config, 0.1)
}

/// What rows are worth at this KL coefficient.
fn prepared(rows: &[Row], config: &PpoConfig, kl_coefficient: f64) -> Vec<Experience> {
    let now = Hyperparameters { kl_coefficient, ..config.at(0) };
    prepare(rows, config, &now).1
}

/// What an update was told, and the moments that it left, which are a tenth of its gradient.
fn gradient(config: &PpoConfig, rows: &[&Experience]) -> (f64, Vec<f32>) {
    let mut learners = Learners::new(actors(config), config.optimizer);
    let now = Hyperparameters { learning_rate: 1e-3, ..config.at(0) };
    let (_, seen) =
        update_minibatch(&mut learners, rows, config, &now, &FlexDevice).expect("updates");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("optimizer.safetensors");
    learners.policy.save_optimizer(&path).expect("saves");
    let mut moments = numbers(&path);
    if let Some(value) = &learners.value {
        value.save_optimizer(&path).expect("saves");
        moments.extend(numbers(&path));
    }
    (seen.ratio_error, moments)
}

fn numbers(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).expect("was saved");
    let file = SafeTensors::deserialize(&bytes).expect("a whole file");
    let mut tensors = file.tensors();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    let first = tensors.iter().filter(|(name, _)| !name.contains("second"));
    let bytes = first.flat_map(|(_, view)| view.data().as_chunks().0.to_vec());
    bytes.map(f32::from_le_bytes).collect()
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let square = |it: f64| it * it;
    let off: f64 = a.iter().zip(b).map(|(a, b)| square(f64::from(a - b))).sum();
    let size: f64 = a.iter().map(|it| square(f64::from(*it))).sum();
    (off / size).sqrt()
}

#[test]
fn gradients_are_those_of_the_whole_minibatch_in_any_order() {
    for algorithm in Algorithm::ALL {
        let config = config(algorithm);
        assert_same_in_parts(algorithm, &config, &experience(&config));
    }
}

/// One backbone for policy and values has one gradient.
#[test]
fn so_are_those_of_a_policy_with_a_head_for_values() {
    let config = PpoConfig { value_head: true, ..config(Algorithm::Ppo) };
    let experience = experience(&config);
    assert!(experience.iter().all(|row| row.old_values.len() == row.old_logprobs.len()));
    assert_same_in_parts(Algorithm::Ppo, &config, &experience);
    let silent = PpoConfig { value_coefficient: 0.0, ..config.clone() };
    let rows: Vec<&Experience> = experience.iter().collect();
    assert!(gradient(&silent, &rows).1 != gradient(&config, &rows).1, "values have a gradient");
}

fn config(algorithm: Algorithm) -> PpoConfig {
    PpoConfig {
        prompts_per_step: 2,
        samples_per_prompt: SAMPLES,
        max_new_tokens: 9,
        micro_batch_rows: 8,
        entropy_coefficient: EntropyConfig::Fixed(0.01),
        kl: KlConfig::Fixed { coefficient: 0.1 },
        ..algorithm.config()
    }
}

fn assert_same_in_parts(algorithm: Algorithm, config: &PpoConfig, experience: &[Experience]) {
    let rows: Vec<&Experience> = experience.iter().collect();
    let (ratio_error, whole) = gradient(config, &rows);
    assert!(ratio_error < 1e-5, "{algorithm:?}: ratios are off by {ratio_error}");
    assert!(whole.iter().any(|it| it.abs() > 1e-6), "{algorithm:?} has a gradient");
    for micro_batch_rows in [1, 3] {
        let cut = PpoConfig { micro_batch_rows, ..config.clone() };
        let off = distance(&whole, &gradient(&cut, &rows).1);
        assert!(off < 1e-5, "{algorithm:?} in {micro_batch_rows} rows: {off}");
    }
    let shuffled: Vec<&Experience> = [5, 2, 7, 0, 3, 6, 1, 4].map(|row| rows[row]).to_vec();
    let off = distance(&whole, &gradient(config, &shuffled).1);
    assert!(off < 1e-5, "{algorithm:?} in another order: {off}");
}

/// What reaches an update is only what its advantages ask for.
#[test]
fn value_models_are_asked_only_where_advantages_need_them() {
    for algorithm in Algorithm::ALL {
        let config = PpoConfig { samples_per_prompt: SAMPLES, ..algorithm.config() };
        let needs = config.advantage.needs_values();
        assert_eq!(actors(&config).value.is_some(), needs);
        assert!(experience(&config).iter().all(|row| row.returns.is_empty() != needs));
    }
}
