//! Steps that overlap: completions come from the policy before the last update, are corrected for it, and
//! depend on seeds and weights alone.

mod resume;
#[path = "../seat/mod.rs"]
mod seat;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use burn::backend::Autodiff;
use burn_flex::{Flex, FlexDevice};
use rayon::ThreadPoolBuilder;
use rein_data::batches::RowOrder;
use rein_data::example::Completion;
use rein_data::log::{Metrics, RunLog};
use rein_data::seed::Seed;
use rein_data::stage::Train;
use rein_data::tokenizer::Tokenizer;
use rein_data::workers::Workers;
use rein_model::config::{LlamaShape, ModelConfig};
use rein_model::optim::OptimizerConfig;
use rein_model::schedule::Schedule;
use rein_model::weights::RandomWeights;
use rein_model::{CausalLm, ModelError, ScalarModel, generate};
use rein_ppo::config::PpoConfig;
use rein_ppo::train::{Ppo, Prompts};
use rein_ppo::{ActorCritic, PpoError};
use rein_reward::{Reward, RewardError};
use seat::Seat;

const DEVICE: FlexDevice = FlexDevice;
const VOCAB: usize = 262;
const AHEAD: &str = "ahead.jsonl";

fn seed() -> Seed {
    Seed::new(3)
}

fn tokenizer() -> Tokenizer {
    Tokenizer::train_bpe(["the letter e"], VOCAB).expect("trains")
}

fn actors() -> ActorCritic<Autodiff<Flex>> {
    let config = ModelConfig::llama(LlamaShape {
        vocab_size: VOCAB,
        hidden_size: 32,
        mlp_size: 88,
        n_layers: 1,
        n_heads: 2,
        n_kv_heads: 2,
        max_positions: 32,
        tied_head: true,
    })
    .expect("a valid shape");
    let new = |seed| {
        let mut weights = RandomWeights::new(&config, Seed::new(seed));
        CausalLm::new(&config, &mut weights, &DEVICE).expect("random weights fit")
    };
    let value = ScalarModel::from_causal_lm(new(2), Seed::new(2), &DEVICE).expect("fits");
    ActorCritic { policy: new(1), value: Some(value) }
}

/// Likes the letter e, and keeps what it was shown.
struct Vowels(Shown);

type Shown = Arc<Mutex<Vec<Vec<Completion>>>>;

impl Reward for Vowels {
    fn name(&self) -> &'static str {
        "vowels"
    }

    fn score(&self, completions: &[Completion]) -> Result<Vec<f32>, RewardError> {
        self.0.lock().expect("nobody panicked").push(completions.to_vec());
        Ok(completions.iter().map(|it| it.text.matches('e').count() as f32).collect())
    }
}

fn config(overlap: bool) -> PpoConfig {
    PpoConfig {
        steps: 4,
        prompts_per_step: 3,
        samples_per_prompt: 2,
        max_new_tokens: 6,
        epochs: 2,
        minibatches: 2,
        micro_batch_rows: 3,
        missing_eos_penalty: 0.0,
        eval_prompts: 1,
        optimizer: OptimizerConfig {
            learning_rate: 1e-2,
            schedule: Schedule::Constant,
            ..OptimizerConfig::default()
        },
        overlap,
        ..PpoConfig::default()
    }
}

fn prompts() -> Vec<String> {
    ["the", "letter", "e", "ever"].map(str::to_owned).to_vec()
}

/// A stage and what its reward was shown.
struct Run {
    ppo: Ppo<Autodiff<Flex>>,
    shown: Shown,
}

impl Run {
    fn new(config: PpoConfig) -> Self {
        Self::on(prompts(), config, seed())
    }

    fn on(train: Vec<String>, config: PpoConfig, seed: Seed) -> Self {
        let shown = Shown::default();
        let reward = Box::new(Vowels(shown.clone()));
        let prompts = Prompts { train, heldout: vec!["here".into()] };
        let ppo = Ppo::new(config, actors(), reward, tokenizer(), prompts, seed, &DEVICE);
        Self { ppo: ppo.expect("fits together"), shown }
    }

    fn step(&mut self, step: usize) -> Result<Metrics, PpoError> {
        self.ppo.step(step, &mut RunLog::silent())
    }

    /// What steps measure, but for the time they take.
    fn steps(&mut self, steps: std::ops::Range<usize>) -> Vec<Metrics> {
        let mut all: Vec<Metrics> = steps.map(|step| self.step(step).expect("steps")).collect();
        let tells_time = |name: &str| name == "eps" || name.starts_with("timing_s/");
        all.iter_mut().for_each(|it| it.0.retain(|(name, _)| !tells_time(name)));
        all
    }

    /// The files of a checkpoint.
    fn saved(&self) -> BTreeMap<String, Vec<u8>> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        self.ppo.save(folder.path()).expect("saves");
        let mut files = BTreeMap::new();
        read_all(folder.path(), "", &mut files);
        files
    }
}

fn read_all(folder: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(folder).expect("reads") {
        let path = entry.expect("reads").path();
        let name = path.file_name().expect("has a name").to_string_lossy();
        let name = format!("{prefix}{name}");
        if path.is_dir() {
            read_all(&path, &format!("{name}/"), files);
        } else {
            files.insert(name, fs::read(&path).expect("reads"));
        }
    }
}

/// What a policy says in a step, asked from outside.
fn by_hand(policy: &CausalLm<Flex>, step: usize, config: &PpoConfig) -> Vec<Vec<u32>> {
    let all = prompts();
    let mut order = RowOrder::new(all.len(), seed().child("prompts"));
    let tokenizer = tokenizer();
    let rows = order.batch(step, config.prompts_per_step).into_iter();
    let twice = rows.flat_map(|row| vec![tokenizer.encode_prompt(&all[row]); 2]);
    let sampling = config.sampling(tokenizer.special().eos);
    let seed = seed().child("rollout").index(step as u64);
    let rows = generate(policy, &twice.collect::<Vec<_>>(), &sampling, seed, &DEVICE);
    rows.expect("generates").into_iter().map(|it| it.tokens).collect()
}

#[test]
fn completions_come_from_the_policy_before_the_last_update_or_after_it() {
    for overlap in [false, true] {
        let config = config(overlap);
        let mut run = Run::new(config.clone());
        let mut policies = vec![run.ppo.actors().policy];
        for step in 0..config.steps {
            run.step(step).expect("steps");
            policies.push(run.ppo.actors().policy);
        }
        let shown = run.shown.lock().expect("nobody panicked");
        assert_eq!(shown.len(), config.steps);
        for (step, shown) in shown.iter().enumerate() {
            let shown: Vec<Vec<u32>> = shown.iter().map(|it| it.tokens.clone()).collect();
            let [before, after] = [step.saturating_sub(1), step];
            let [of_before, of_after] =
                [before, after].map(|it| by_hand(&policies[it], step, &config));
            assert_eq!(shown, if overlap { &of_before } else { &of_after }[..], "step {step}");
            assert!(step == 0 || of_before != of_after, "the update of step {before} shows");
        }
    }
}

#[test]
fn a_checkpoint_without_its_completions_is_refused() {
    let mut run = Run::new(config(true));
    run.steps(0..1);
    let folder = tempfile::tempdir().expect("a temporary folder");
    run.ppo.save(folder.path()).expect("saves");
    let path = folder.path().join(AHEAD);
    let text = fs::read_to_string(&path).expect("reads");
    let refusal = || match Run::new(config(true)).ppo.restore(folder.path()) {
        Err(PpoError::Data(error)) => error.to_string(),
        other => panic!("{other:?}"),
    };
    let (short, _) = text.trim_end().rsplit_once('\n').expect("several rows");
    fs::write(&path, short).expect("writes");
    assert!(refusal().ends_with("holds 5 completions, but a step has 6"), "{}", refusal());
    fs::write(&path, text.replacen(r#""tokens":["#, r#""tokens":[262,"#, 1)).expect("writes");
    assert!(refusal().contains(&format!("{AHEAD}:1: has 7 tokens and 6 log-p")), "{}", refusal());
    fs::remove_file(&path).expect("removes");
    assert!(refusal().contains(AHEAD), "{}", refusal());
    // Who doesn't overlap doesn't ask for them.
    Run::new(config(false)).ppo.restore(folder.path()).expect("restores");
}

#[test]
fn weights_correct_for_the_step_between_and_are_one_without_an_update() {
    let ratios = |learning_rate: f64| {
        let mut config = config(true);
        config.optimizer.learning_rate = learning_rate;
        let steps = Run::new(config).steps(0..4).into_iter();
        let name = |which| format!("sampling/importance_sampling_ratio/{which}");
        let of = |it: &Metrics, which| it.get(&name(which)).expect("is there in every step");
        steps.map(|it| ["min", "mean", "max"].map(|which| of(&it, which))).collect::<Vec<_>>()
    };
    let are_one = |ratios: &[f64; 3]| ratios.iter().all(|it| (it - 1.0).abs() < 1e-4);
    assert!(ratios(0.0).iter().all(are_one), "{:?}", ratios(0.0));
    let ratios = ratios(1e-2);
    assert!(are_one(&ratios[0]), "the first step has no policy before it: {ratios:?}");
    for [least, _, most] in &ratios[1..] {
        assert!(*least < 0.95 && *most > 1.05 && *most <= 2.0, "{ratios:?}");
    }
    let alone = Run::new(config(false)).steps(0..2);
    assert!(alone.iter().all(|it| it.get("sampling/importance_sampling_ratio/mean").is_none()));
}

#[test]
fn nothing_depends_on_the_number_of_threads() {
    let with = |n_threads| {
        let pool = ThreadPoolBuilder::new().num_threads(n_threads).build().expect("starts");
        let told = pool.install(|| {
            let mut run = Run::new(config(true));
            (run.steps(0..3), run.saved())
        });
        assert!(told.1.contains_key(AHEAD));
        told
    };
    let alone = with(1);
    for n_threads in [2, 3, 5] {
        assert!(with(n_threads) == alone, "{n_threads} threads");
    }
}

#[test]
fn a_prompt_that_cannot_be_sampled_is_told_by_the_step_that_samples_it() {
    let train = vec!["e".to_owned(), "e ".repeat(40)];
    // The long one comes second.
    let mut seeds = (0..).map(Seed::new);
    let short_first = |seed: &Seed| RowOrder::new(2, seed.child("prompts")).batch(0, 2) == [0, 1];
    let seed = seeds.find(short_first).expect("there is one");
    let is_told = |result: Result<Metrics, PpoError>| match result {
        Err(PpoError::Model(ModelError::Row { row: 0, .. })) => true,
        Err(other) => panic!("{other}"),
        Ok(_) => false,
    };
    let small = |overlap| PpoConfig {
        prompts_per_step: 1,
        samples_per_prompt: 1,
        minibatches: 1,
        micro_batch_rows: 1,
        ..config(overlap)
    };
    assert!(is_told(Run::on(train.clone(), small(true), seed).step(0)));
    let mut alone = Run::on(train, small(false), seed);
    assert!(!is_told(alone.step(0)) && is_told(alone.step(1)));
}

/// Mean rewards of the first and of the last three of some steps.
fn learned(overlap: bool) -> [f64; 2] {
    let config = PpoConfig {
        steps: 25,
        prompts_per_step: 32,
        samples_per_prompt: 1,
        max_new_tokens: 8,
        epochs: 4,
        minibatches: 1,
        micro_batch_rows: 32,
        ..config(overlap)
    };
    let told = Run::new(config).steps(0..25);
    let scores: Vec<f64> =
        told.iter().map(|it| it.get("objective/scores").expect("is told")).collect();
    [&scores[..3], &scores[22..]].map(|it| it.iter().sum::<f64>() / 3.0)
}

#[test]
fn a_policy_learns_as_it_does_without() {
    let [[_, alone], [first, last]] = [false, true].map(learned);
    assert!(first < 1.0 && last > 6.0, "from {first} to {last} of 8");
    assert!(last > 0.8 * alone, "{last}, and {alone} without");
}

#[test]
fn workers_sample_their_share_and_know_all_of_it() {
    let mut alone = Run::new(config(true));
    alone.steps(0..1);
    let expected = alone.saved().remove(AHEAD).expect("was sampled ahead");
    let saved = |seat: Seat| {
        move || {
            let mut run = Run::new(config(true));
            run.ppo = run.ppo.with_workers(&Workers::new(Arc::new(seat)));
            run.steps(0..1);
            let ahead = run.saved().remove(AHEAD).expect("was sampled ahead");
            run.steps(1..2);
            let shown = run.shown.lock().expect("nobody panicked");
            (ahead, shown.iter().map(Vec::len).collect::<Vec<_>>(), run.saved())
        }
    };
    let [first, second] = thread::scope(|scope| {
        let running = Seat::pair().map(|seat| scope.spawn(saved(seat)));
        running.map(|it| it.join().expect("doesn't panic"))
    });
    assert!(first == second, "both know the same");
    assert!(first.0 == expected, "what one samples alone");
    assert_eq!(first.1, [3, 3], "half of six, twice");
}
