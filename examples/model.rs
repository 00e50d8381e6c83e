//! Embeds `rein-model`: makes a model, teaches it a sentence, lets it speak and saves it for
//! transformers, vLLM or the next program.

#![allow(clippy::print_stdout, reason = "this is where the program talks")]

use burn::backend::Autodiff;
use burn::module::AutodiffModule;
use burn_flex::{Flex, FlexDevice};
use rein_data::encoding::{TokenRow, encode_demonstrations};
use rein_data::example::Demonstration;
use rein_data::seed::Seed;
use rein_data::store::TokenStore;
use rein_data::tokenizer::Tokenizer;
use rein_model::config::{LlamaShape, ModelConfig};
use rein_model::optim::OptimizerConfig;
use rein_model::sft::{Sft, SftConfig, SftRows};
use rein_model::weights::RandomWeights;
use rein_model::{CausalLm, Sampling, generate, save_causal_lm};

type Backend = Autodiff<Flex>;

fn main() -> anyhow::Result<()> {
    let device = FlexDevice;
    let sentence = Demonstration { prompt: "The sky is".into(), completion: " blue today.".into() };
    let tokenizer = Tokenizer::train_bpe(["The sky is blue today."], 280)?;
    let config = ModelConfig::llama(LlamaShape {
        vocab_size: 280,
        hidden_size: 32,
        mlp_size: 88,
        n_layers: 2,
        n_heads: 4,
        n_kv_heads: 2,
        max_positions: 64,
        tied_head: true,
    })?;
    let mut weights = RandomWeights::new(&config, Seed::new(1));
    // To begin with a pretrained model: `load_causal_lm(folder, &device)`.
    let model = CausalLm::<Backend>::new(&config, &mut weights, &device)?;

    let rows = encode_demonstrations(&[sentence], &tokenizer, 64)?.rows;
    let optimizer = OptimizerConfig { learning_rate: 1e-2, ..OptimizerConfig::default() };
    let sft = SftConfig {
        epochs: 40.0,
        batch_rows: 1,
        micro_batch_rows: 1,
        optimizer,
        ..SftConfig::default()
    };
    // Rows that don't fit into memory are written to a file: `rein_data::store::TokenStoreWriter`.
    let [train, heldout] = [rows.clone(), Vec::new()].map(TokenStore::in_memory);
    let data = SftRows { train, heldout };
    let mut training = Sft::new(sft, model, None, data, Seed::new(2), &device)?;
    let batch: Vec<&TokenRow> = rows.iter().collect();
    for step in 0..training.n_steps() {
        let metrics = training.update(step, &batch)?;
        if step % 10 == 0 {
            println!("step {step}: loss {:.3}", metrics.get("loss").expect("each step has one"));
        }
    }

    let model = training.model().valid();
    let eos = tokenizer.special().eos;
    let sampling = Sampling { max_new_tokens: 16, ends: vec![eos], ..Sampling::greedy() };
    let prompt = tokenizer.encode_prompt("The sky is");
    let spoken = generate(&model, &[prompt], &sampling, Seed::new(3), &device)?;
    println!("The sky is{}", tokenizer.decode(&spoken[0].tokens));

    let folder = tempfile::tempdir()?;
    save_causal_lm(&model, folder.path())?;
    tokenizer.save(folder.path())?;
    Ok(())
}
