//! Steps that optimise several rewards at a time.

mod constraints;

use burn::backend::Autodiff;
use burn_flex::{Flex, FlexDevice};
use rein_data::example::Completion;
use rein_data::log::{Metrics, RunLog};
use rein_data::seed::Seed;
use rein_data::stage::Train;
use rein_data::tokenizer::Tokenizer;
use rein_model::config::{LlamaShape, ModelConfig};
use rein_model::weights::RandomWeights;
use rein_model::{CausalLm, ScalarModel};
use rein_ppo::config::PpoConfig;
use rein_ppo::train::{Ppo, Prompts};
use rein_ppo::{ActorCritic, PpoError};
use rein_reward::{Mixture, Reward, RewardError, Weighted};

/// Says how much it likes a token.
#[derive(Clone, Copy)]
struct PerToken(&'static str, fn(u32) -> f32);

impl Reward for PerToken {
    fn name(&self) -> &'static str {
        self.0
    }

    fn score(&self, completions: &[Completion]) -> Result<Vec<f32>, RewardError> {
        let of = |it: &Completion| it.tokens.iter().map(|token| (self.1)(*token)).sum();
        Ok(completions.iter().map(of).collect())
    }
}

const LENGTH: PerToken = PerToken("length", |_| 1.0);
const EVEN: PerToken = PerToken("even", |token| if token % 2 == 0 { 0.3 } else { -0.1 });
const HOLES: PerToken = PerToken("holes", |token| if token > 200 { f32::NAN } else { 0.0 });

fn mixture(parts: &[(f32, PerToken)]) -> Box<dyn Reward> {
    let part = |(weight, reward): &(f32, PerToken)| Weighted {
        weight: *weight,
        reward: Box::new(*reward),
    };
    Box::new(Mixture::new(parts.iter().map(part).collect()).expect("mixes"))
}

fn config() -> PpoConfig {
    PpoConfig {
        steps: 2,
        prompts_per_step: 6,
        max_new_tokens: 5,
        micro_batch_rows: 6,
        ..PpoConfig::default()
    }
}

fn stage(reward: Box<dyn Reward>, config: PpoConfig) -> Result<Ppo<Autodiff<Flex>>, PpoError> {
    let shape = ModelConfig::llama(LlamaShape {
        vocab_size: 262,
        hidden_size: 16,
        mlp_size: 32,
        n_layers: 1,
        n_heads: 2,
        n_kv_heads: 1,
        max_positions: 32,
        tied_head: true,
    })
    .expect("a valid shape");
    let model = |seed| {
        let mut weights = RandomWeights::new(&shape, Seed::new(seed));
        CausalLm::<Autodiff<Flex>>::new(&shape, &mut weights, &FlexDevice).expect("fits")
    };
    let value = ScalarModel::from_causal_lm(model(2), Seed::new(3), &FlexDevice).expect("fits");
    let actors = ActorCritic { policy: model(1), value: Some(value) };
    let tokenizer = Tokenizer::train_bpe(["the letter e"], 262).expect("trains");
    let prompts = Prompts::of_texts(&["the".into(), "letter".into()], &[], &tokenizer);
    let seed = Seed::new(4);
    Ppo::new(config, actors, reward, tokenizer, prompts, seed, &FlexDevice)
}

/// What two steps tell, but for the time they take, and a hash of the weights after them.
fn steps(reward: Box<dyn Reward>) -> Result<(Vec<Metrics>, Vec<u8>), PpoError> {
    let mut ppo = stage(reward, config())?;
    let told = (0..2).map(|step| ppo.step(step, &mut RunLog::silent()));
    let mut told: Vec<Metrics> = told.collect::<Result<_, _>>()?;
    let tells_time = |name: &str| name == "eps" || name.starts_with("timing_s/");
    told.iter_mut().for_each(|it| it.0.retain(|(name, _)| !tells_time(name)));
    Ok((told, ppo.digest().expect("has weights")))
}

#[test]
fn metrics_tell_of_the_sum_and_of_each_part() {
    let (told, _) = steps(mixture(&[(0.5, LENGTH), (-2.0, EVEN)])).expect("steps");
    for metrics in told {
        let of = |name: &str| metrics.get(name).expect("is told");
        let sum = 0.5 * of("rewards/length/mean") - 2.0 * of("rewards/even/mean");
        assert!((of("rewards/mixture/mean") - sum).abs() < 1e-6, "{metrics:?}");
        assert!(of("rewards/even/std") > 0.0 && of("rewards/mixture/std") > 0.0);
        // Of a sum that falls where `even` is high, and of which that is most.
        assert!((-1.0..0.0).contains(&of("rewards/even/correlation")), "{metrics:?}");
        let mean_length = of("completions/mean_length");
        assert!((of("rewards/length/mean") - mean_length).abs() < 1e-6, "{metrics:?}");
    }
}

#[test]
fn one_reward_of_weight_one_is_optimised_as_if_it_were_alone() {
    let (alone, weights) = steps(Box::new(EVEN)).expect("steps");
    let (mut mixed, same) = steps(mixture(&[(1.0, EVEN)])).expect("steps");
    assert!(weights == same, "to the last bit");
    mixed.iter_mut().for_each(|it| it.0.retain(|(name, _)| !name.contains("mixture")));
    assert_eq!(mixed, alone);
    // What weighs nothing is measured and changes nothing.
    let (told, same) = steps(mixture(&[(1.0, EVEN), (0.0, LENGTH)])).expect("steps");
    assert!(weights == same && told[0].get("rewards/length/mean").is_some());
}

/// Nothing is learned from such a step; the good rewards don't speak for the bad one.
#[test]
fn a_part_that_gives_no_number_is_not_hidden_by_the_others() {
    let (told, _) = steps(mixture(&[(1.0, LENGTH), (0.1, HOLES)])).expect("steps");
    let skipped = told.iter().map(|it| it.get("guards/skipped"));
    assert_eq!(skipped.collect::<Vec<_>>(), [Some(1.0), Some(2.0)]);
    assert!(told.iter().all(|it| it.get("loss/policy_avg").is_none()), "{told:?}");
}
