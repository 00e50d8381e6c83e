//! Embeds `rein-reward`: fits a reward model to preferences and asks it.

#![allow(clippy::print_stdout, reason = "this is where the program talks")]

use burn::backend::Autodiff;
use burn::module::AutodiffModule;
use burn_flex::{Flex, FlexDevice};
use rein_data::example::{Completion, Preference};
use rein_data::seed::Seed;
use rein_data::tokenizer::Tokenizer;
use rein_model::config::{LlamaShape, ModelConfig};
use rein_model::optim::OptimizerConfig;
use rein_model::weights::RandomWeights;
use rein_model::{CausalLm, ScalarModel};
use rein_reward::encoding::{Judgements, encode_preferences};
use rein_reward::train::{RewardConfig, RewardTraining};
use rein_reward::{LearnedReward, Normalization, Reward};

type Backend = Autodiff<Flex>;

fn main() -> anyhow::Result<()> {
    let device = FlexDevice;
    let pair = |chosen: &str, rejected: &str| Preference {
        prompt: "How are you?".into(),
        chosen: chosen.into(),
        rejected: rejected.into(),
        margin: None,
        chosen_finished: true,
        rejected_finished: true,
    };
    let pairs = [pair(" Fine, thank you.", " Go away."), pair(" Fine, and you?", " Why ask?")];
    let texts = pairs.iter().flat_map(|it| [it.chosen.as_str(), &it.rejected]);
    let tokenizer = Tokenizer::train_bpe(texts, 300)?;
    let shape = ModelConfig::llama(LlamaShape {
        vocab_size: 300,
        hidden_size: 32,
        mlp_size: 88,
        n_layers: 1,
        n_heads: 2,
        n_kv_heads: 2,
        max_positions: 64,
        tied_head: true,
    })?;
    let mut weights = RandomWeights::new(&shape, Seed::new(1));
    let base = CausalLm::<Backend>::new(&shape, &mut weights, &device)?;
    let model = ScalarModel::from_causal_lm(base, Seed::new(2), &device)?;

    let optimizer = OptimizerConfig { learning_rate: 1e-2, ..OptimizerConfig::default() };
    let config = RewardConfig {
        epochs: 20.0,
        batch_rows: 2,
        micro_batch_rows: 2,
        optimizer,
        ..RewardConfig::default()
    };
    let batch = encode_preferences(&pairs, &tokenizer, 64).judgements;
    let data = [batch.clone(), Judgements::Pairs(Vec::new())];
    let mut training = RewardTraining::new(config, model, None, data, Seed::new(3), &device)?;
    for step in 0..training.n_steps() {
        training.update(step, &batch)?;
    }

    let reward = LearnedReward::new(training.model().valid(), Normalization::NONE, 2, &device);
    let completion = |text: &str| Completion {
        prompt: "How are you?".into(),
        prompt_tokens: tokenizer.encode_prompt("How are you?"),
        tokens: tokenizer.encode_completion(text),
        text: text.into(),
        finished: true,
        ..Completion::default()
    };
    let texts = [" Fine, thank you.", " Go away."];
    for (text, score) in texts.iter().zip(reward.score(&texts.map(completion))?) {
        println!("{score:+.2} {text}");
    }
    Ok(())
}
