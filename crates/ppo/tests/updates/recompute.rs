//! An update is the same whether what is inside blocks is kept or computed again.

use std::fs;

use burn::backend::Autodiff;
use burn_flex::{Flex, FlexDevice};
use rein_data::seed::Seed;
use rein_model::config::{LlamaShape, ModelConfig};
use rein_model::lora::LoraConfig;
use rein_model::weights::RandomWeights;
use rein_model::{CausalLm, Precision, Precisions, ScalarModel};
use rein_ppo::config::PpoConfig;
use rein_ppo::diagnostics::Diagnostics;
use rein_ppo::experience::Experience;
use rein_ppo::exploration::EntropyConfig;
use rein_ppo::hyperparameters::Hyperparameters;
use rein_ppo::update::{Norms, update_minibatch};
use rein_ppo::{ActorCritic, Learners};

use crate::experiences::numbered;

type AB = Autodiff<Flex>;

fn actors() -> ActorCritic<AB> {
    let config = ModelConfig::llama(LlamaShape {
        vocab_size: 40,
        hidden_size: 16,
        mlp_size: 32,
        n_layers: 3,
        n_heads: 4,
        n_kv_heads: 2,
        max_positions: 16,
        tied_head: true,
    });
    let config = ModelConfig { init_std: 0.2, ..config.expect("a valid shape") };
    let new = |seed| {
        let mut weights = RandomWeights::new(&config, Seed::new(seed));
        CausalLm::<AB>::new(&config, &mut weights, &FlexDevice).expect("random weights fit")
    };
    let value = ScalarModel::from_causal_lm(new(2), Seed::new(3), &FlexDevice).expect("fits");
    ActorCritic { policy: new(1), value: Some(value) }
}

fn experience(number: usize) -> Experience {
    numbered(number, 2 + number % 3)
}

/// What some updates told, and the moments that they left.
fn trained(config: &PpoConfig) -> (Vec<(Norms, Diagnostics)>, [Vec<u8>; 2]) {
    let actors = match &config.lora {
        Some(lora) => actors().with_lora(lora, Seed::new(4), &FlexDevice).expect("fits"),
        None => actors(),
    };
    let mut learners = Learners::new(actors.computed_as(config), config.optimizer);
    let rows: Vec<Experience> = (0..5).map(experience).collect();
    let rows: Vec<&Experience> = rows.iter().collect();
    let told = (0..3).map(|step| {
        let now = Hyperparameters { step, learning_rate: 1e-2, ..config.at(0) };
        update_minibatch(&mut learners, &rows, config, &now, &FlexDevice).expect("updates")
    });
    let told = told.collect();
    let saved = tempfile::tempdir().expect("a temporary folder");
    let [policy, value] = ["policy", "value"].map(|name| saved.path().join(name));
    learners.policy.save_optimizer(&policy).expect("saves");
    learners.value.as_ref().expect("is there").save_optimizer(&value).expect("saves");
    (told, [policy, value].map(|path| fs::read(path).expect("was saved")))
}

#[test]
fn an_update_is_the_same_to_the_last_bit() {
    let lora = Some(LoraConfig { rank: 2, ..LoraConfig::default() });
    for (lora, training, entropy_coefficient) in
        [(None, Precision::F32, 0.01), (None, Precision::Bf16, 0.0), (lora, Precision::F32, 0.0)]
    {
        let config = |gradient_checkpointing| PpoConfig {
            micro_batch_rows: 2,
            gradient_checkpointing,
            entropy_coefficient: EntropyConfig::Fixed(entropy_coefficient),
            lora: lora.clone(),
            precision: Precisions { training, ..Precisions::default() },
            ..PpoConfig::default()
        };
        let [kept, recomputed] = [false, true].map(|it| trained(&config(it)));
        assert!(kept == recomputed, "{training:?}, {lora:?}");
    }
}
