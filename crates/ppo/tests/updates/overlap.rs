//! Steps that overlap: completions come from the policy before the last update, are corrected for it, and
//! depend on seeds and weights alone.

mod resume;

use std::fs;
use std::sync::Arc;
use std::thread;

use crate::run::{DEVICE, Run, config, long, prompts, seed, tokenizer};
use crate::seat::Seat;
use burn_flex::Flex;
use rayon::ThreadPoolBuilder;
use rein_data::batches::RowOrder;
use rein_data::log::Metrics;
use rein_data::seed::Seed;
use rein_data::stage::Train;
use rein_data::workers::Workers;
use rein_model::{CausalLm, ModelError, generate};
use rein_ppo::PpoError;
use rein_ppo::config::PpoConfig;

const AHEAD: &str = "ahead.jsonl";

/// What a policy says in a step, asked from outside.
fn by_hand(policy: &CausalLm<Flex>, step: usize, config: &PpoConfig) -> Vec<Vec<u32>> {
    let all = prompts();
    let mut order = RowOrder::new(all.len(), seed().child("prompts"));
    let tokenizer = tokenizer();
    let rows = order.batch(step, config.prompts_per_step).into_iter();
    let twice = rows.flat_map(|row| vec![tokenizer.encode_prompt(&all[row]); 2]);
    let sampling = config.sampling(config.temperature.at(0), tokenizer.special().eos);
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
    let told = Run::new(long(overlap)).steps(0..25);
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
