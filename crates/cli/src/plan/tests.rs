use super::*;
use crate::args::HubArgs;
use crate::config;

fn plan(sets: &[&str]) -> Plan {
    let sets: Vec<String> =
        ["data.demonstrations=64"].iter().chain(sets).map(|it| (*it).to_owned()).collect();
    let config = config::load(None, &sets).expect("loads");
    let setup = Setup::new(config, &HubArgs::default()).expect("fits together");
    Plan::new(&setup, &setup.config.stages)
}

#[test]
fn a_run_too_large_for_the_memory_is_refused() {
    let plan = plan(&[]);
    let needed = plan.stages.iter().map(StagePlan::memory).max().expect("has stages");
    plan.check(needed).expect("just fits");
    let error = plan.check(needed - 1).expect_err("does not fit").to_string();
    for key in ["micro_batch_rows", "gradient_checkpointing"] {
        assert!(error.contains(key), "{error}");
    }
}

#[test]
fn a_stage_that_recomputes_needs_less_memory() {
    let key = |stage: Stage| format!("{}.gradient_checkpointing=true", stage.name());
    let keys = [Stage::Sft, Stage::Reward, Stage::Rl].map(key);
    let kept = plan(&[]);
    let recomputed = plan(&keys.each_ref().map(String::as_str));
    for (kept, recomputed) in kept.stages.iter().zip(&recomputed.stages) {
        let [kept_bytes, fewer] = [kept, recomputed].map(|it| it.activations);
        assert_eq!(fewer < kept_bytes, recomputed.recomputes, "{:?}", kept.stage);
    }
    let error = recomputed.check(0).expect_err("does not fit").to_string();
    assert!(!error.contains("gradient_checkpointing"), "is set already: {error}");
}

#[test]
fn moments_in_bf16_take_half() {
    let (full, rounded) = (plan(&[]), plan(&["precision.moments=bf16"]));
    for (full, rounded) in full.stages.iter().zip(&rounded.stages) {
        let n_trained: usize = full.networks.iter().map(|it| it.n_trained).sum();
        assert_eq!(full.memory() - rounded.memory(), 4 * n_trained as u64);
    }
}
