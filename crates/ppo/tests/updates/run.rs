//! A small stage that learns to say the letter e.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use burn::backend::Autodiff;
use burn_flex::{Flex, FlexDevice};
use rein_data::example::Completion;
use rein_data::log::{Metrics, RunLog};
use rein_data::seed::Seed;
use rein_data::stage::Train;
use rein_data::tokenizer::Tokenizer;
use rein_model::config::{LlamaShape, ModelConfig};
use rein_model::optim::OptimizerConfig;
use rein_model::schedule::Schedule;
use rein_model::weights::RandomWeights;
use rein_model::{CausalLm, ScalarModel};
use rein_ppo::config::PpoConfig;
use rein_ppo::train::{Ppo, Prompts};
use rein_ppo::{ActorCritic, PpoError};
use rein_reward::{Reward, RewardError};

pub(crate) const DEVICE: FlexDevice = FlexDevice;
pub(crate) const VOCAB: usize = 262;

pub(crate) fn seed() -> Seed {
    Seed::new(3)
}

pub(crate) fn tokenizer() -> Tokenizer {
    Tokenizer::train_bpe(["the letter e"], VOCAB).expect("trains")
}

pub(crate) fn actors() -> ActorCritic<Autodiff<Flex>> {
    let config = ModelConfig::llama(LlamaShape {
        vocab_size: VOCAB,
        hidden_size: 32,
        mlp_size: 88,
        n_layers: 1,
        n_heads: 2,
        n_kv_heads: 2,
        max_positions: 32,
        tied_head: true,
    })
    .expect("a valid shape");
    let new = |seed| {
        let mut weights = RandomWeights::new(&config, Seed::new(seed));
        CausalLm::new(&config, &mut weights, &DEVICE).expect("random weights fit")
    };
    let value = ScalarModel::from_causal_lm(new(2), Seed::new(2), &DEVICE).expect("fits");
    ActorCritic { policy: new(1), value: Some(value) }
}

/// Likes the letter e, and keeps what it was shown.
struct Vowels {
    shown: Shown,
    /// The time, counted from 0, when it gives a reward that isn't a number.
    spoils: Option<usize>,
}

pub(crate) type Shown = Arc<Mutex<Vec<Vec<Completion>>>>;

impl Reward for Vowels {
    fn name(&self) -> &'static str {
        "vowels"
    }

    fn score(&self, completions: &[Completion]) -> Result<Vec<f32>, RewardError> {
        let mut shown = self.shown.lock().expect("nobody panicked");
        let mut scores: Vec<f32> =
            completions.iter().map(|it| it.text.matches('e').count() as f32).collect();
        if self.spoils == Some(shown.len()) {
            scores[1] = f32::NAN;
        }
        shown.push(completions.to_vec());
        Ok(scores)
    }
}

pub(crate) fn config(overlap: bool) -> PpoConfig {
    PpoConfig {
        steps: 4,
        prompts_per_step: 3,
        samples_per_prompt: 2,
        max_new_tokens: 6,
        epochs: 2,
        minibatches: 2,
        micro_batch_rows: 3,
        missing_eos_penalty: 0.0,
        eval_prompts: 1,
        optimizer: OptimizerConfig {
            learning_rate: 1e-2,
            schedule: Schedule::Constant,
            ..OptimizerConfig::default()
        },
        overlap,
        ..PpoConfig::default()
    }
}

/// A run that is long enough to learn what is rewarded: up to 8 letters a completion.
pub(crate) fn long(overlap: bool) -> PpoConfig {
    PpoConfig {
        steps: 25,
        prompts_per_step: 32,
        samples_per_prompt: 1,
        max_new_tokens: 8,
        epochs: 4,
        minibatches: 1,
        micro_batch_rows: 32,
        ..config(overlap)
    }
}

pub(crate) fn prompts() -> Vec<String> {
    ["the", "letter", "e", "ever"].map(str::to_owned).to_vec()
}

/// A stage and what its reward was shown.
pub(crate) struct Run {
    pub(crate) ppo: Ppo<Autodiff<Flex>>,
    pub(crate) shown: Shown,
}

impl Run {
    pub(crate) fn new(config: PpoConfig) -> Self {
        Self::on(prompts(), config, seed())
    }

    pub(crate) fn on(train: Vec<String>, config: PpoConfig, seed: Seed) -> Self {
        Self::spoiled(train, config, seed, None)
    }

    /// A stage whose reward isn't a number at one time.
    pub(crate) fn spoiled(
        train: Vec<String>,
        config: PpoConfig,
        seed: Seed,
        spoils: Option<usize>,
    ) -> Self {
        let shown = Shown::default();
        let reward = Box::new(Vowels { shown: shown.clone(), spoils });
        let prompts = Prompts::of_texts(&train, &["here".into()], &tokenizer());
        let ppo = Ppo::new(config, actors(), reward, tokenizer(), prompts, seed, &DEVICE);
        Self { ppo: ppo.expect("fits together"), shown }
    }

    pub(crate) fn step(&mut self, step: usize) -> Result<Metrics, PpoError> {
        self.ppo.step(step, &mut RunLog::silent())
    }

    /// What steps measure, but for the time they take.
    pub(crate) fn steps(&mut self, steps: std::ops::Range<usize>) -> Vec<Metrics> {
        let mut all: Vec<Metrics> = steps.map(|step| self.step(step).expect("steps")).collect();
        let tells_time = |name: &str| name == "eps" || name.starts_with("timing_s/");
        all.iter_mut().for_each(|it| it.0.retain(|(name, _)| !tells_time(name)));
        all
    }

    /// The files of a checkpoint.
    pub(crate) fn saved(&self) -> BTreeMap<String, Vec<u8>> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        self.ppo.save(folder.path()).expect("saves");
        let mut files = BTreeMap::new();
        read_all(folder.path(), "", &mut files);
        files
    }
}

fn read_all(folder: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(folder).expect("reads") {
        let path = entry.expect("reads").path();
        let name = path.file_name().expect("has a name").to_string_lossy();
        let name = format!("{prefix}{name}");
        if path.is_dir() {
            read_all(&path, &format!("{name}/"), files);
        } else {
            files.insert(name, fs::read(&path).expect("reads"));
        }
    }
}
