//! Runs that go on where others stopped, with overlap and without.

use rein_data::stage::Train;
use rein_ppo::algorithm::Algorithm;
use rein_ppo::config::PpoConfig;

use super::AHEAD;
use crate::run::{Run, config};

#[test]
fn every_algorithm_resumes_to_the_last_bit() {
    for algorithm in Algorithm::ALL {
        let PpoConfig { prompts_per_step, samples_per_prompt, max_new_tokens, .. } = config(false);
        let PpoConfig { missing_eos_penalty, optimizer, .. } = config(false);
        let config = PpoConfig {
            steps: 3,
            prompts_per_step,
            samples_per_prompt,
            max_new_tokens,
            micro_batch_rows: 3,
            missing_eos_penalty,
            optimizer,
            ..algorithm.config()
        };
        let mut whole = Run::new(config.clone());
        let told = whole.steps(0..3);
        let mut first = Run::new(config.clone());
        assert_eq!(first.steps(0..2), told[..2], "{algorithm:?}");
        let folder = tempfile::tempdir().expect("a temporary folder");
        first.ppo.save(folder.path()).expect("saves");
        let mut second = Run::new(config);
        second.ppo.restore(folder.path()).expect("restores");
        assert_eq!(second.steps(2..3), told[2..], "{algorithm:?}");
        assert!(second.saved() == whole.saved(), "{algorithm:?}");
    }
}

#[test]
fn a_resumed_run_ends_as_one_that_never_stopped() {
    let n_steps = config(true).steps;
    let mut whole = Run::new(config(true));
    let told = whole.steps(0..n_steps);
    for stop in 1..=n_steps {
        let mut first = Run::new(config(true));
        assert_eq!(first.steps(0..stop), told[..stop]);
        // An evaluation takes nothing away.
        first.ppo.evaluate().expect("evaluates").expect("there are prompts");
        let folder = tempfile::tempdir().expect("a temporary folder");
        first.ppo.save(folder.path()).expect("saves");
        let is_last = stop == n_steps;
        assert_eq!(folder.path().join(AHEAD).exists(), !is_last, "nothing follows the last step");
        let mut second = Run::new(config(true));
        second.ppo.restore(folder.path()).expect("restores");
        assert_eq!(second.steps(stop..n_steps), told[stop..]);
        assert!(second.saved() == whole.saved(), "stopped after step {stop}");
    }
}
