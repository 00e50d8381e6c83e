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

#[test]
fn each_model_of_an_ensemble_is_trained_and_asked() {
    let one = plan(&["reward.ensemble={ heads = 3 }"]);
    let three = plan(&["reward.ensemble={ heads = 3, backbones = \"own\" }"]);
    let of = |plan: &Plan, stage: Stage| {
        let plan = plan.stages.iter().find(|it| it.stage == stage).expect("is planned");
        (plan.n_steps, plan.trained_tokens, plan.judged_tokens, plan.memory())
    };
    let [before, after] = [&one, &three].map(|plan| of(plan, Stage::Reward));
    assert_eq!((3 * before.0, before.3), (after.0, after.3), "one after the other");
    assert!((3.0 * before.1 - after.1).abs() < 1.0);
    let [before, after] = [&one, &three].map(|plan| of(plan, Stage::Rl));
    assert_eq!(before.1, after.1);
    // Policy, reference, reward and value against two rewards more.
    assert!((after.2 / before.2 - 6.0 / 4.0).abs() < 1e-9);
    assert!(after.3 > before.3);
}
