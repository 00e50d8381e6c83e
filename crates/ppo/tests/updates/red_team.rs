//! A red team that learns.

use std::sync::Arc;

use burn::backend::Autodiff;
use burn::module::AutodiffModule;
use burn_flex::{Flex, FlexDevice};
use rein_data::example::Completion;
use rein_data::log::RunLog;
use rein_data::seed::Seed;
use rein_data::stage::Train;
use rein_data::tokenizer::Tokenizer;
use rein_model::config::{LlamaShape, ModelConfig};
use rein_model::optim::OptimizerConfig;
use rein_model::weights::RandomWeights;
use rein_model::{CausalLm, Sampling};
use rein_ppo::ActorCritic;
use rein_ppo::algorithm::Algorithm;
use rein_ppo::config::PpoConfig;
use rein_ppo::red_team::*;
use rein_ppo::train::{Ppo, Prompts};
use rein_reward::rules::{PatternConfig, RuleReward};
use rein_reward::{Reward, RewardError};

const VOCAB: usize = 262;
const ROOM: usize = 32;
const LONGEST: usize = 16;

fn tokenizer() -> Tokenizer {
    Tokenizer::train_bpe(["the letter e"], VOCAB).expect("trains")
}

fn model(seed: u64) -> CausalLm<Autodiff<Flex>> {
    let config = ModelConfig::llama(LlamaShape {
        vocab_size: VOCAB,
        hidden_size: 32,
        mlp_size: 88,
        n_layers: 1,
        n_heads: 2,
        n_kv_heads: 2,
        max_positions: ROOM,
        tied_head: true,
    })
    .expect("a valid shape");
    let mut weights = RandomWeights::new(&config, Seed::new(seed));
    CausalLm::new(&config, &mut weights, &FlexDevice).expect("random weights fit")
}

fn rule(expression: &str) -> Box<dyn Reward> {
    let config = PatternConfig { must_match: vec![expression.into()], ..PatternConfig::default() };
    Box::new(RuleReward::new("violation", Arc::new(config.build().expect("is a rule"))))
}

fn elicited(judge: Box<dyn Reward>, similarity: f32, seed: u64) -> Elicited<Flex> {
    let sampling = Sampling { max_new_tokens: 8, ..Sampling::at_temperature(1.0) };
    let config = ElicitedConfig { max_prompt_tokens: LONGEST, similarity };
    let seed = Seed::new(seed);
    Elicited::new(&model(1).valid(), &sampling, tokenizer(), judge, config, seed, &FlexDevice)
        .expect("fits")
}

fn written(texts: &[&str]) -> Vec<Completion> {
    let of = |text: &&str| Completion {
        text: (*text).into(),
        finished: !text.ends_with('…'),
        ..Completion::default()
    };
    texts.iter().map(of).collect()
}

#[test]
fn violations_count_less_the_more_a_prompt_repeats_another() {
    let prompts =
        written(&["a b c d", " a b c d ", "b c d e", "x y z", "", "cut…", &"long ".repeat(20)]);
    let always = elicited(rule(""), 0.5, 1).score(&prompts).expect("scores");
    assert_eq!(always, [0.5, 0.5, 0.75, 1.0, 0.0, 0.0, 0.0]);
    let never = elicited(rule("[^\\s\\S]"), 0.5, 1).score(&prompts).expect("scores");
    assert_eq!(never, [0.0; 7], "nothing is taken off what succeeds nowhere");
    assert_eq!(elicited(rule(""), 0.5, 1).score(&[]).expect("scores"), [0.0; 0]);
}

#[test]
fn answers_are_those_of_the_seed_and_the_batch() {
    let told = |seed: u64, texts: &[&str]| -> Vec<String> {
        let verdicts = elicited(rule("e"), 0.0, seed).verdicts(&written(texts));
        verdicts.expect("judges").into_iter().map(|it| it.reason).collect()
    };
    let batch = ["a b c d", "x y z"];
    assert_eq!(told(1, &batch), told(1, &batch));
    assert_ne!(told(1, &batch), told(2, &batch));
    assert_ne!(told(1, &batch)[0], told(1, &["a b c d", "u v w"])[0]);
    let target = elicited(rule("."), 0.0, 1);
    let attacks = target.answers(&["hello".into()], Seed::new(5)).expect("answers");
    let [Attack { prompt, reply, violation, .. }] = &attacks[..] else { panic!("one answer") };
    assert_eq!((&**prompt, *violation), ("hello", f32::from(u8::from(!reply.is_empty()))));
}

#[test]
fn what_has_no_room_is_refused() {
    let refusal = |max_new_tokens, similarity| {
        let sampling = Sampling { max_new_tokens, ..Sampling::at_temperature(1.0) };
        let config = ElicitedConfig { max_prompt_tokens: LONGEST, similarity };
        let (target, seed) = (model(1).valid(), Seed::new(1));
        let made =
            Elicited::new(&target, &sampling, tokenizer(), rule("e"), config, seed, &FlexDevice);
        made.expect_err("is refused").to_string()
    };
    let no_room = "prompts of 16 tokens and answers of 17 don't fit into the target's 32 positions";
    assert_eq!(refusal(17, 0.0), no_room);
    assert_eq!(refusal(16, 1.5), "`similarity` is from 0 to 1, not 1.5");
}

#[test]
fn an_attacker_imitates_prompts_behind_what_begins_sequences() {
    let prompts = ["hi".to_owned(), "  ".to_owned(), "far too long".repeat(9)];
    let tokenizer = tokenizer();
    let rows = demonstrations(&prompts, &tokenizer, 8);
    let special = tokenizer.special();
    let begin = special.bos.unwrap_or(special.eos);
    let text = [vec![begin], tokenizer.encode("hi"), vec![special.eos]].concat();
    assert_eq!(rows.len(), 1);
    assert_eq!((&rows[0].tokens, rows[0].n_learned()), (&text, text.len() - 1));
    assert_eq!(opening(&tokenizer).tokens, [begin]);
}

/// Thinks answers bad to prompts with the letter e: what the answers are doesn't matter.
struct Vowel;

impl Reward for Vowel {
    fn name(&self) -> &'static str {
        "vowel"
    }

    fn score(&self, completions: &[Completion]) -> Result<Vec<f32>, RewardError> {
        Ok(completions.iter().map(|it| f32::from(u8::from(it.prompt.contains('e')))).collect())
    }
}

/// Takes what the length limit cut for a prompt: a random model ends nothing by itself.
struct Whole(Elicited<Flex>);

impl Reward for Whole {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn score(&self, completions: &[Completion]) -> Result<Vec<f32>, RewardError> {
        let whole = |it: &Completion| Completion { finished: true, ..it.clone() };
        self.0.score(&completions.iter().map(whole).collect::<Vec<_>>())
    }
}

#[test]
fn an_attacker_learns_which_prompts_are_answered_badly() {
    let tokenizer = tokenizer();
    let prompts = Prompts { train: vec![opening(&tokenizer)], heldout: Vec::new() };
    let config = PpoConfig {
        prompts_per_step: 1,
        samples_per_prompt: 64,
        max_new_tokens: 6,
        missing_eos_penalty: 0.0,
        optimizer: OptimizerConfig { learning_rate: 1e-2, ..OptimizerConfig::default() },
        ..Algorithm::Grpo.config()
    };
    let actors = ActorCritic { policy: model(2), value: None };
    let reward = Box::new(Whole(elicited(Box::new(Vowel), 0.2, 1)));
    let seed = Seed::new(4);
    let attacker =
        Ppo::<Autodiff<Flex>>::new(config, actors, reward, tokenizer, prompts, seed, &FlexDevice);
    let (mut attacker, mut log) = (attacker.expect("begins"), RunLog::silent());
    let mut score = |step| {
        let told = attacker.step(step, &mut log).expect("learns");
        told.get("objective/scores").expect("is told")
    };
    let scores: Vec<f64> = (0..15).map(&mut score).collect();
    assert!(scores[14] > scores[0] + 0.4, "{scores:?}");
}
