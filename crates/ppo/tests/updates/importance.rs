//! Importance weights reach the policy loss, and nothing else, whenever completions are sampled in bf16.

use burn::backend::Autodiff;
use burn_flex::{Flex, FlexDevice};
use rein_data::encoding::TokenRow;
use rein_data::example::Completion;
use rein_data::log::{Metrics, RunLog};
use rein_data::seed::Seed;
use rein_data::stage::Train;
use rein_data::tokenizer::Tokenizer;
use rein_model::config::{LlamaShape, ModelConfig};
use rein_model::weights::RandomWeights;
use rein_model::{CausalLm, Precision, Precisions, ScalarModel};
use rein_ppo::config::PpoConfig;
use rein_ppo::diagnostics::Diagnostics;
use rein_ppo::experience::Experience;
use rein_ppo::hyperparameters::Hyperparameters;
use rein_ppo::train::{Ppo, Prompts};
use rein_ppo::update::{Norms, update_minibatch};
use rein_ppo::{ActorCritic, Learners};
use rein_reward::{Reward, RewardError};

type AB = Autodiff<Flex>;

fn actors(vocab_size: usize) -> ActorCritic<AB> {
    let config = ModelConfig::llama(LlamaShape {
        vocab_size,
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
    ActorCritic { policy: new(1), value: Some(value) }
}

/// What an update sees of two tokens, with these weights.
fn seen(importance: Option<Vec<f32>>) -> (Norms, Diagnostics) {
    let row = Experience {
        tokens: TokenRow::completion(vec![1, 2], &[3, 4]),
        old_logprobs: vec![-3.4, -3.4],
        importance,
        penalty: None,
        advantages: vec![1.0, -1.0],
        old_values: vec![0.0, 0.0],
        returns: vec![1.0, 1.0],
    };
    let config = PpoConfig { micro_batch_rows: 1, clip_range: 10.0, ..PpoConfig::default() };
    let mut learners = Learners::new(actors(30), config.optimizer);
    let now = Hyperparameters { learning_rate: 1e-3, ..config.at(0) };
    update_minibatch(&mut learners, &[&row], &config, &now, &FlexDevice).expect("updates")
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

/// Likes nothing in particular.
struct Length;

impl Reward for Length {
    fn name(&self) -> &'static str {
        "length"
    }

    fn score(&self, completions: &[Completion]) -> Result<Vec<f32>, RewardError> {
        Ok(completions.iter().map(|it| it.tokens.len() as f32).collect())
    }
}

/// What a whole step tells, completions sampled in this precision and with this much exploration.
fn step(rollout: Precision, epsilon: f32) -> Metrics {
    let config = PpoConfig {
        steps: 1,
        prompts_per_step: 6,
        max_new_tokens: 5,
        epsilon,
        precision: Precisions { rollout, ..Precisions::default() },
        ..PpoConfig::default()
    };
    let tokenizer = Tokenizer::train_bpe(["the letter e"], 262).expect("trains");
    let prompts = Prompts::of_texts(&["the".into(), "letter".into()], &[], &tokenizer);
    let (reward, seed) = (Box::new(Length), Seed::new(3));
    let mut ppo = Ppo::new(config, actors(262), reward, tokenizer, prompts, seed, &FlexDevice)
        .expect("fits together");
    ppo.step(0, &mut RunLog::silent()).expect("steps")
}

#[test]
fn rollouts_in_bf16_are_always_corrected_and_others_never() {
    let rounded = step(Precision::Bf16, 0.0);
    let of = |name: &str| rounded.get(name).expect("is told");
    let far = of("sampling/sampling_logp_difference/max");
    assert!(far > 0.0 && far < 0.05, "{far} nats apart");
    let [least, most] =
        ["min", "max"].map(|it| of(&format!("sampling/importance_sampling_ratio/{it}")));
    assert!(least < 1.0 && most > 1.0 && most <= 2.0, "weights of {least} to {most}");
    assert_eq!(step(Precision::F32, 0.0).get("sampling/importance_sampling_ratio/mean"), None);
}

/// Of 262 tokens alike, a new policy knows about as much as one that explores; what it draws is weighed
/// by what it would have drawn.
#[test]
fn exploration_is_corrected() {
    let told = step(Precision::F32, 0.5);
    let of = |name: &str| told.get(name).expect("is told");
    let [least, most] =
        ["min", "max"].map(|it| of(&format!("sampling/importance_sampling_ratio/{it}")));
    // p / ((1 - ε) p + ε / n) is below 1 / (1 - ε).
    assert!(least < 1.0 && most > 1.0 && most < 2.0, "weights of {least} to {most}");
}
