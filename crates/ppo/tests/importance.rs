//! Importance weights reach the policy loss, and nothing else.

use burn::backend::Autodiff;
use burn_flex::{Flex, FlexDevice};
use rein_data::encoding::TokenRow;
use rein_data::seed::Seed;
use rein_model::config::{LlamaShape, ModelConfig};
use rein_model::weights::RandomWeights;
use rein_model::{CausalLm, ScalarModel};
use rein_ppo::config::PpoConfig;
use rein_ppo::loss::Diagnostics;
use rein_ppo::update::{Experience, Norms, update_minibatch};
use rein_ppo::{ActorCritic, Learners};

type AB = Autodiff<Flex>;

fn actors() -> ActorCritic<AB> {
    let config = ModelConfig::llama(LlamaShape {
        vocab_size: 30,
        hidden_size: 16,
        mlp_size: 32,
        n_layers: 1,
        n_heads: 2,
        n_kv_heads: 2,
        max_positions: 16,
        tied_head: true,
    })
    .expect("a valid shape");
    let new = |seed| {
        let mut weights = RandomWeights::new(&config, Seed::new(seed));
        CausalLm::<AB>::new(&config, &mut weights, &FlexDevice).expect("random weights fit")
    };
    let value = ScalarModel::from_causal_lm(new(2), Seed::new(3), &FlexDevice).expect("fits");
    ActorCritic { policy: new(1), value }
}

/// What an update sees of two tokens, with these weights.
fn seen(importance: Option<Vec<f32>>) -> (Norms, Diagnostics) {
    let row = Experience {
        tokens: TokenRow::completion(vec![1, 2], &[3, 4]),
        old_logprobs: vec![-3.4, -3.4],
        importance,
        advantages: vec![1.0, -1.0],
        old_values: vec![0.0, 0.0],
        returns: vec![1.0, 1.0],
    };
    let config = PpoConfig { micro_batch_rows: 1, clip_range: 10.0, ..PpoConfig::default() };
    let mut learners = Learners::new(actors(), config.optimizer);
    update_minibatch(&mut learners, &[&row], &config, 1e-3, 0, &FlexDevice).expect("updates")
}

#[test]
fn the_policy_loss_is_weighted_and_nothing_else() {
    let (norm, plain) = seen(None);
    assert_eq!(seen(Some(vec![1.0; 2])), (norm, plain), "weights of 1 change nothing");
    let halves = [[2.0, 0.0], [0.0, 2.0]].map(|weights| seen(Some(weights.to_vec())).1);
    let sum = halves[0].policy_loss + halves[1].policy_loss;
    assert!((sum - 2.0 * plain.policy_loss).abs() < 1e-6, "{sum} and {}", plain.policy_loss);
    assert!(halves[0].policy_loss < 0.0 && halves[1].policy_loss > 0.0, "each by its own weight");
    assert_eq!([halves[0].value_loss, halves[0].ratio], [plain.value_loss, plain.ratio]);
    let (none, _) = seen(Some(vec![0.0; 2]));
    assert!(none.policy == 0.0 && norm.policy > 0.0, "what weighs nothing pulls nowhere");
    assert_eq!(none.value, norm.value);
}
