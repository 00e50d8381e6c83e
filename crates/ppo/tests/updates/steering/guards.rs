//! Runs that would fall apart.

use rein_data::log::{Metrics, RunLog, read_metrics};
use rein_data::run_dir::RunDir;
use rein_data::stage::{Cadence, Context, Interrupt, Outcome, Train, drive};
use rein_data::workers::Workers;
use rein_ppo::PpoError;
use rein_ppo::config::PpoConfig;

use super::{config, numbers};
use crate::run::{Run, long, prompts, seed};

#[test]
fn a_reward_that_is_not_a_number_changes_nothing() {
    let config = PpoConfig { steps: 9, ..config() };
    let mut run = Run::spoiled(prompts(), config, seed(), Some(6));
    run.steps(0..6);
    let files = |run: &Run| {
        let mut files = run.saved();
        files.remove("state.json");
        files
    };
    let before = files(&run);
    let told = run.step(6).expect("goes on");
    assert!(files(&run) == before, "weights and moments are the same to the bit");
    assert_eq!(told.get("guards/skipped"), Some(1.0));
    assert!(told.get("objective/scores").is_some_and(f64::is_finite), "of the other rows");
    let after = run.step(7).expect("goes on");
    assert!(files(&run) != before && after.get("guards/skipped") == Some(1.0));
}

/// What is left out is all that is missing: the policy learns as others do.
#[test]
fn a_run_with_such_a_reward_ends_with_a_policy_that_has_learned() {
    let told = Run::spoiled(prompts(), long(false), seed(), Some(6)).steps(0..25);
    let of = |step: usize, name| told[step].get(name).expect("is told");
    assert_eq!(of(24, "guards/skipped"), 1.0);
    let [first, last] = [0, 24].map(|step| of(step, "objective/scores"));
    assert!(first < 1.0 && last > 6.0, "from {first} to {last} of 8");
}

/// A stage that always gets such rewards says whose they are.
#[test]
fn rewards_that_are_never_numbers_end_the_run() {
    let mut config = PpoConfig { steps: 9, ..config() };
    config.guards.non_finite.max_in_a_row = 0;
    let mut run = Run::spoiled(prompts(), config, seed(), Some(0));
    let error = run.step(0).expect_err("ends");
    assert!(matches!(&error, PpoError::BadScore { step: 1, reward, .. } if reward == "vowels"));
}

/// What driving a stage told, and the stage.
fn driven(config: PpoConfig) -> (Result<Outcome, PpoError>, Vec<Metrics>, Run) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dir = RunDir::create(&folder.path().join("run")).expect("creates");
    let mut log = RunLog::open(&dir, Box::new(Nobody)).expect("opens");
    let (interrupt, workers) = (Interrupt::default(), Workers::default());
    let mut context =
        Context { run: &dir, log: &mut log, interrupt: &interrupt, workers: &workers };
    let mut run = Run::new(config.clone());
    let cadence = Cadence { save_every: 4, evaluate_every: 0, ..Cadence::default() };
    let outcome = drive(&mut context, "rl", &mut run.ppo, config.steps, &cadence);
    // A run that ended at once has no rows.
    let records = read_metrics(&dir.file("metrics.jsonl")).unwrap_or_default();
    let steps: Vec<usize> = records.iter().map(|it| it.step).collect();
    if outcome.is_ok() {
        assert_eq!(steps, (1..=config.steps).collect::<Vec<_>>(), "each step once");
    }
    let of = |name: &str| records.last().and_then(|it| it.get(name)).unwrap_or(f64::NAN);
    let last = ["guards/skipped", "guards/rollbacks", "lr"].map(|name| (name, of(name)));
    (outcome, vec![Metrics::from(last)], run)
}

struct Nobody;

impl rein_data::log::Watcher for Nobody {
    fn stage(&mut self, _: &str, _: usize, _: usize) {}
    fn metrics(&mut self, _: &rein_data::log::Record) {}
    fn note(&mut self, _: &str) {}
}

#[test]
fn a_rate_that_leads_astray_is_halved_until_it_does_not() {
    let mut config = PpoConfig { steps: 12, ..config() };
    config.optimizer.learning_rate = 20.0;
    config.guards.non_finite.max_rollbacks = 30;
    config.guards.non_finite.max_nats_per_token = 1.0;
    let (outcome, told, run) = driven(config);
    assert!(matches!(outcome, Ok(Outcome::Finished(_))), "{outcome:?}");
    let of = |name: &str| told[0].get(name).expect("is told");
    let (n_skipped, n_rollbacks) = (of("guards/skipped"), of("guards/rollbacks"));
    assert!(n_rollbacks >= 1.0 && n_skipped >= n_rollbacks, "{told:?}");
    assert_eq!(of("lr"), 20.0 * 0.5_f64.powf(n_rollbacks));
    assert!(numbers(&run.ppo.actors().policy).iter().all(|it| it.is_finite()));
}

/// Nobody sees where the only update of a step has led, unless it is looked for.
#[test]
fn a_step_of_one_update_is_looked_back_at() {
    let mut config = PpoConfig { epochs: 1, minibatches: 1, ..config() };
    config.optimizer.learning_rate = 1e3;
    let mut run = Run::new(config);
    run.step(0).expect("is done");
    assert!(run.ppo.must_go_back());
}

#[test]
fn a_run_that_stays_astray_ends_and_says_so() {
    let mut config = PpoConfig { steps: 12, ..config() };
    config.optimizer.learning_rate = 1e3;
    config.guards.non_finite.max_rollbacks = 2;
    config.guards.non_finite.max_nats_per_token = 1.0;
    let (outcome, ..) = driven(config);
    let error = outcome.expect_err("ends");
    assert!(matches!(error, PpoError::Diverged { n_rollbacks: 2, .. }), "{error}");
    assert!(error.to_string().contains("`rl.optimizer.learning_rate`"), "{error}");
}

/// Where going back is over, the stage is what it was, but for its rate.
#[test]
fn going_back_takes_the_counts_along() {
    let mut config = config();
    config.optimizer.learning_rate = 1e3;
    config.guards.non_finite.max_nats_per_token = 1.0;
    let mut run = Run::new(config);
    let folder = tempfile::tempdir().expect("a temporary folder");
    run.ppo.save(folder.path()).expect("saves");
    let before = numbers(&run.ppo.actors().policy);
    run.step(0).expect("is cut short");
    assert!(run.ppo.must_go_back());
    assert!(numbers(&run.ppo.actors().policy) != before);
    run.ppo.restore(folder.path()).expect("restores");
    assert!(!run.ppo.must_go_back());
    assert_eq!(numbers(&run.ppo.actors().policy), before);
    let told = run.step(0).expect("steps");
    assert_eq!(told.get("lr"), Some(500.0), "half of it");
}
