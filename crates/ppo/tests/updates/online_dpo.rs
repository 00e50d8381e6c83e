//! Online DPO: an update's gradient is that of the loss of pairs, and a policy learns what its reward likes.

use std::path::Path;

use burn::backend::Autodiff;
use burn::module::AutodiffModule;
use burn::prelude::*;
use burn_flex::{Flex, FlexDevice};
use rein_data::encoding::TokenRow;
use rein_data::example::Completion;
use rein_data::log::{Metrics, RunLog};
use rein_data::seed::Seed;
use rein_data::stage::Train;
use rein_data::tokenizer::Tokenizer;
use rein_model::config::{LlamaShape, ModelConfig};
use rein_model::logprobs::{learned_stats, row_logprobs};
use rein_model::optim::OptimizerConfig;
use rein_model::schedule::Schedule;
use rein_model::tokens::{LearnedTokens, scalar};
use rein_model::weights::RandomWeights;
use rein_model::{CausalLm, Learner};
use rein_ppo::ActorCritic;
use rein_ppo::advantage::AdvantageEstimator;
use rein_ppo::algorithm::Algorithm;
use rein_ppo::config::PpoConfig;
use rein_ppo::preference::loss::{ipo_loss, sigmoid_loss};
use rein_ppo::preference::online::OnlineLoss;
use rein_ppo::rollout::{Prompt, Row};
use rein_ppo::train::{Ppo, Prompts};
use rein_reward::{Reward, RewardError};
use safetensors::SafeTensors;

type AB = Autodiff<Flex>;

const DEVICE: FlexDevice = FlexDevice;
const VOCAB: usize = 262;
const BETA: f64 = 0.3;

fn policy() -> CausalLm<AB> {
    let config = ModelConfig::llama(LlamaShape {
        vocab_size: VOCAB,
        hidden_size: 16,
        mlp_size: 32,
        n_layers: 1,
        n_heads: 2,
        n_kv_heads: 2,
        max_positions: 32,
        tied_head: true,
    });
    let config = ModelConfig { init_std: 0.2, ..config.expect("a valid shape") };
    let mut weights = RandomWeights::new(&config, Seed::new(1));
    CausalLm::new(&config, &mut weights, &DEVICE).expect("random weights fit")
}

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

fn config(loss: OnlineLoss) -> PpoConfig {
    PpoConfig {
        advantage: AdvantageEstimator::Preferred { loss, beta: BETA },
        prompts_per_step: 4,
        max_new_tokens: 6,
        micro_batch_rows: 8,
        optimizer: OptimizerConfig {
            learning_rate: 1e-2,
            schedule: Schedule::Constant,
            max_grad_norm: 0.0,
            ..OptimizerConfig::default()
        },
        ..Algorithm::OnlineDpo.config()
    }
}

fn stage(config: PpoConfig) -> Ppo<AB> {
    let tokenizer = Tokenizer::train_bpe(["the letter e"], VOCAB).expect("trains");
    let prompts = ["the", "letter", "e", "ever"].map(|it| Prompt::encode(it, &tokenizer));
    let prompts = Prompts { train: prompts.to_vec(), heldout: Vec::new() };
    let actors = ActorCritic { policy: policy(), value: None };
    Ppo::new(config, actors, Box::new(Vowels), tokenizer, prompts, Seed::new(3), &DEVICE)
        .expect("fits together")
}

/// Completions of four prompts, two of each. The last prompt's scores are equal once the penalty for a
/// missing end is taken off.
fn rows() -> Vec<Row> {
    let scores = [1.0, 2.0, 0.5, -0.5, 0.0, 3.0, 1.0, 2.0];
    let row = |(number, score): (usize, f32)| {
        let n_tokens = 1 + number * 5 % 6;
        let completion: Vec<u32> =
            (0..n_tokens).map(|it| (9 + number * 17 + it * 23) as u32 % 262).collect();
        let tokens = TokenRow::completion(vec![1, 40 + number as u32 / 2], &completion);
        let logprobs = row_logprobs(&policy().valid(), &[&tokens], 1.0, 1, &DEVICE).concat();
        let away = |(place, logprob): (usize, &f32)| logprob - 0.1 * (number as f32 - place as f32);
        Row {
            reference_logprobs: logprobs.iter().enumerate().map(away).collect(),
            logprobs,
            tokens,
            finished: number != 7,
            sampled_logprobs: None,
            values: Vec::new(),
            score,
            turn_scores: Vec::new(),
            part_scores: Vec::new(),
            failed_parts: Vec::new(),
        }
    };
    scores.into_iter().enumerate().map(row).collect()
}

/// Which completions are preferred to which.
const PAIRS: [[usize; 2]; 3] = [[1, 0], [2, 3], [5, 4]];

/// The mean loss of the pairs, by the losses that offline DPO has.
fn pair_loss(policy: &CausalLm<AB>, loss: OnlineLoss) -> Tensor<AB, 1> {
    let rows = rows();
    let log_ratio = |row: usize| {
        let learned = LearnedTokens::<AB>::new(&[&rows[row].tokens], &DEVICE);
        let reference: f32 = rows[row].reference_logprobs.iter().sum();
        learned_stats(policy, &learned, 1.0).logprobs.sum() - reference
    };
    let side = |side: usize| Tensor::cat(PAIRS.map(|pair| log_ratio(pair[side])).to_vec(), 0);
    match loss {
        OnlineLoss::Sigmoid => sigmoid_loss(side(0), side(1), BETA, 0.0).mean(),
        OnlineLoss::Ipo => ipo_loss(side(0), side(1), BETA).mean(),
    }
}

/// The first moments of an optimiser's file, which after one update are a share of its gradient.
fn moments(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).expect("was saved");
    let file = SafeTensors::deserialize(&bytes).expect("a whole file");
    let mut tensors = file.tensors();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    let first = tensors.iter().filter(|(name, _)| name.starts_with("first."));
    let bytes = first.flat_map(|(_, view)| view.data().as_chunks().0.to_vec());
    bytes.map(f32::from_le_bytes).collect()
}

fn distance(got: &[f32], want: &[f32]) -> f64 {
    let norm = |values: &[f32]| values.iter().map(|it| f64::from(*it).powi(2)).sum::<f64>();
    assert!(got.len() == want.len() && norm(want) > 0.0, "there is a gradient");
    let differences: Vec<f32> = got.iter().zip(want).map(|(a, b)| a - b).collect();
    (norm(&differences) / norm(want)).sqrt()
}

#[test]
fn the_gradient_is_that_of_the_loss_of_pairs() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for loss in [OnlineLoss::Sigmoid, OnlineLoss::Ipo] {
        let path = folder.path().join("wanted.safetensors");
        let mut learner = Learner::<AB, _>::new(policy(), config(loss).optimizer);
        let gradients = learner.gradients([()], |policy, ()| pair_loss(policy, loss));
        learner.update(0, gradients, 1e-2).expect("updates");
        learner.save_optimizer(&path).expect("saves");
        let want = moments(&path);
        for micro_batch_rows in [1, 8] {
            let mut stage = stage(PpoConfig { micro_batch_rows, ..config(loss) });
            let told = stage.learn(0, &rows()).expect("learns");
            stage.save(folder.path()).expect("saves");
            let off = distance(&moments(&folder.path().join("optimizer.safetensors")), &want);
            assert!(off < 1e-5, "{loss:?} in {micro_batch_rows} rows: {off}");
            let loss_of_pairs = scalar(pair_loss(&policy(), loss).inner());
            let got = told.get("loss/preference").expect("is measured");
            assert!((got - loss_of_pairs).abs() < 1e-5, "{loss:?}: {got}, not {loss_of_pairs}");
        }
    }
}

#[test]
fn pairs_are_told_of_and_ties_are_passed_over() {
    let told = stage(config(OnlineLoss::Sigmoid)).learn(0, &rows()).expect("learns");
    let get = |name: &str| told.get(name).expect("is measured");
    assert_eq!(get("val/num_pairs"), 3.0);
    // Differences of 1, 1 and 3.
    assert!((get("objective/scores_margin") - 5.0 / 3.0).abs() < 1e-6);
    assert!(
        (get("rewards/chosen") - get("rewards/rejected") - get("rewards/margins")).abs() < 1e-6
    );
    let mean = |side: usize, number: fn(&Row) -> f32| {
        let rows = rows();
        PAIRS.iter().map(|pair| f64::from(number(&rows[pair[side]]))).sum::<f64>() / 3.0
    };
    let logprob: fn(&Row) -> f32 = |row| row.logprobs.iter().sum();
    let ratio: fn(&Row) -> f32 =
        |row| row.logprobs.iter().sum::<f32>() - row.reference_logprobs.iter().sum::<f32>();
    assert!((get("logps/chosen") - mean(0, logprob)).abs() < 1e-5);
    assert!((get("rewards/rejected") - BETA * mean(1, ratio)).abs() < 1e-5);
}

#[test]
fn nothing_is_learned_from_ties_alone() {
    let mut stage = stage(config(OnlineLoss::Sigmoid));
    let before = stage.digest();
    let tied: Vec<Row> =
        rows().into_iter().map(|row| Row { score: 1.0, finished: true, ..row }).collect();
    let told = stage.learn(0, &tied).expect("learns");
    assert_eq!(told.get("val/num_pairs"), Some(0.0));
    assert!(told.get("loss/preference").is_none() && stage.digest() == before);
}

#[test]
fn a_policy_learns_what_its_reward_likes() {
    let config = PpoConfig {
        steps: 40,
        prompts_per_step: 16,
        micro_batch_rows: 32,
        missing_eos_penalty: 0.0,
        ..config(OnlineLoss::Sigmoid)
    };
    let mut stage = stage(config);
    let step = |step| stage.step(step, &mut RunLog::silent()).expect("steps");
    let told: Vec<Metrics> = (0..40).map(step).collect();
    let mean = |told: &[Metrics]| {
        let scores = told.iter().map(|it| it.get("objective/scores").expect("is measured"));
        scores.sum::<f64>() / told.len() as f64
    };
    let (first, last) = (mean(&told[..5]), mean(&told[35..]));
    assert!(last > 4.0 * (first + 0.1), "from {first} to {last}");
}

#[test]
fn a_beta_that_means_nothing_is_refused() {
    let advantage = AdvantageEstimator::Preferred { loss: OnlineLoss::Sigmoid, beta: 0.0 };
    let config = PpoConfig { advantage, samples_per_prompt: 1, ..config(OnlineLoss::Sigmoid) };
    let problems = config.problems().join("; ");
    assert!(problems.contains("`rl.advantage.beta` must be above 0"), "{problems}");
    assert!(problems.contains("`rl.samples_per_prompt` must be above 1"), "{problems}");
}
