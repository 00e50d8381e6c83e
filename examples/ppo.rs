//! Embeds `rein-ppo`: optimises a policy for a reward of your own.

#![allow(clippy::print_stdout, reason = "this is where the program talks")]

use burn::backend::Autodiff;
use burn_flex::FlexDevice;
use rein_data::example::Completion;
use rein_data::log::{Record, RunLog, Watcher};
use rein_data::run_dir::RunDir;
use rein_data::seed::Seed;
use rein_data::stage::{Context, Interrupt, drive};
use rein_data::tokenizer::Tokenizer;
use rein_data::workers::Workers;
use rein_model::config::{LlamaShape, ModelConfig};
use rein_model::optim::OptimizerConfig;
use rein_model::weights::RandomWeights;
use rein_model::{CausalLm, ScalarModel};
use rein_ppo::ActorCritic;
use rein_ppo::config::PpoConfig;
use rein_ppo::train::{Ppo, Prompts};
use rein_reward::{Reward, RewardError};

type Backend = Autodiff<burn_flex::Flex>;

/// Likes the letter e.
struct Vowels;

impl Reward for Vowels {
    fn name(&self) -> &'static str {
        "vowels"
    }

    fn score(&self, completions: &[Completion]) -> Result<Vec<f32>, RewardError> {
        Ok(completions.iter().map(|it| it.text.matches('e').count() as f32).collect())
    }
}

struct Printer;

impl Watcher for Printer {
    fn stage(&mut self, _: &str, _: usize, _: usize) {}

    fn metrics(&mut self, record: &Record) {
        if let (Some(score), Some(kl)) =
            (record.get("objective/scores"), record.get("objective/kl"))
        {
            println!("step {:2}: reward {score:.2}, {kl:.2} nats from the start", record.step);
        }
    }

    fn note(&mut self, text: &str) {
        println!("{text}");
    }
}

fn main() -> anyhow::Result<()> {
    let device = FlexDevice;
    let tokenizer = Tokenizer::train_bpe(["the letter e"], 262)?;
    let shape = ModelConfig::llama(LlamaShape {
        vocab_size: 262,
        hidden_size: 32,
        mlp_size: 88,
        n_layers: 1,
        n_heads: 2,
        n_kv_heads: 2,
        max_positions: 32,
        tied_head: true,
    })?;
    let model = |seed| {
        let mut weights = RandomWeights::new(&shape, Seed::new(seed));
        CausalLm::<Backend>::new(&shape, &mut weights, &device)
    };
    let value = ScalarModel::from_causal_lm(model(2)?, Seed::new(2), &device)?;
    let actors = ActorCritic { policy: model(1)?, value: Some(value) };
    let config = PpoConfig {
        steps: 15,
        prompts_per_step: 32,
        max_new_tokens: 8,
        micro_batch_rows: 32,
        missing_eos_penalty: 0.0,
        optimizer: OptimizerConfig { learning_rate: 1e-2, ..OptimizerConfig::default() },
        ..PpoConfig::default()
    };
    let prompts = Prompts::of_texts(&["the".into(), "letter".into()], &[], &tokenizer);
    let (n_steps, cadence) = (config.steps, config.checkpoints.clone());
    let mut ppo =
        Ppo::new(config, actors, Box::new(Vowels), tokenizer, prompts, Seed::new(3), &device)?;

    let folder = tempfile::tempdir()?;
    let run = RunDir::create(&folder.path().join("run"))?;
    let mut log = RunLog::open(&run, Box::new(Printer))?;
    let interrupt = Interrupt::default();
    let workers = Workers::default();
    let mut context =
        Context { run: &run, log: &mut log, interrupt: &interrupt, workers: &workers };
    drive(&mut context, "rl", &mut ppo, n_steps, &cadence)?;
    Ok(())
}
