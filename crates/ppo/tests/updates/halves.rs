//! Small networks are updated side by side; what comes of it is what comes of one after the other.

use std::fs;

use burn::backend::Autodiff;
use burn_flex::{Flex, FlexDevice};
use rayon::ThreadPoolBuilder;
use rein_data::seed::Seed;
use rein_model::config::{LlamaShape, ModelConfig};
use rein_model::weights::RandomWeights;
use rein_model::{CausalLm, ScalarModel};
use rein_ppo::config::PpoConfig;
use rein_ppo::diagnostics::Diagnostics;
use rein_ppo::experience::Experience;
use rein_ppo::hyperparameters::Hyperparameters;
use rein_ppo::update::{Norms, update_minibatch};
use rein_ppo::{ActorCritic, Learners};

use crate::experiences::numbered;

type AB = Autodiff<Flex>;

/// A policy, and a value model that begins as its copy, leaves of tapes included.
fn actors() -> ActorCritic<AB> {
    let config = ModelConfig::llama(LlamaShape {
        vocab_size: 40,
        hidden_size: 32,
        mlp_size: 64,
        n_layers: 2,
        n_heads: 4,
        n_kv_heads: 2,
        max_positions: 32,
        tied_head: true,
    });
    let config = ModelConfig { init_std: 0.2, ..config.expect("a valid shape") };
    let mut weights = RandomWeights::new(&config, Seed::new(1));
    let policy = CausalLm::new(&config, &mut weights, &FlexDevice).expect("random weights fit");
    let value = ScalarModel::from_causal_lm(policy.clone(), Seed::new(3), &FlexDevice);
    ActorCritic { policy, value: Some(value.expect("fits")) }
}

fn experience(number: usize) -> Experience {
    numbered(number, 4 + number % 9)
}

type Told = (Vec<(Norms, Diagnostics)>, [Vec<u8>; 2]);

/// What many updates told, and the moments that they left.
fn trained(n_threads: usize) -> Told {
    let pool = ThreadPoolBuilder::new().num_threads(n_threads).build().expect("threads");
    pool.install(|| {
        let config = PpoConfig { micro_batch_rows: 3, ..PpoConfig::default() };
        let mut learners = Learners::new(actors(), config.optimizer);
        let rows: Vec<Experience> = (0..10).map(experience).collect();
        let rows: Vec<&Experience> = rows.iter().collect();
        let told = (0..50).map(|step| {
            let now = Hyperparameters { step, learning_rate: 1e-3, ..config.at(0) };
            update_minibatch(&mut learners, &rows, &config, &now, &FlexDevice).expect("updates")
        });
        let told = told.collect();
        let saved = tempfile::tempdir().expect("a temporary folder");
        let [policy, value] = ["policy", "value"].map(|name| saved.path().join(name));
        learners.policy.save_optimizer(&policy).expect("saves");
        learners.value.as_ref().expect("is there").save_optimizer(&value).expect("saves");
        (told, [policy, value].map(|path| fs::read(path).expect("was saved")))
    })
}

/// One thread has no halves, two have one thread each, five have three and two.
#[test]
fn an_update_has_the_same_bits_on_any_number_of_threads() {
    let alone = trained(1);
    for n_threads in [2, 5] {
        assert!(trained(n_threads) == alone, "{n_threads} threads");
    }
}
