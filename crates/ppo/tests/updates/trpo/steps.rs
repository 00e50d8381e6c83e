//! Whole steps: where they lead, what they leave alone.

use super::*;

#[test]
fn micro_batches_change_no_step() {
    let told = [1, 2, 5].map(|n| {
        let mut policy = policy(3);
        let rows = experience(&policy, token_rows(2), uneven);
        let told = step(&mut policy, &rows, n, &TrpoConfig::default()).expect("updates");
        (told, all_values(&policy))
    });
    let before = all_values(&policy(3));
    for (one, values) in &told {
        assert!(one.accepted && distance(values, &before) > 1e-3, "{one:?}");
        assert!(distance(values, &told[0].1) <= 1e-4, "{one:?}, {:?}", told[0].0);
    }
}

/// Where the embedding is the head, its gradient's two parts are added up in another order.
#[test]
fn precision_and_recomputing_change_nothing() {
    let untied = Learner::new(model(3, false), OptimizerConfig::default());
    let rows = experience(&untied, token_rows(2), uneven);
    let stepped = |model: CausalLm<AB>| {
        let mut policy = Learner::new(model, OptimizerConfig::default());
        let told = step(&mut policy, &rows, 2, &TrpoConfig::default()).expect("updates");
        assert!(told.accepted);
        (told, bits(&all_values(&policy)))
    };
    let plain = stepped(model(3, false));
    assert!(stepped(model(3, false).with_gradient_checkpointing(true)) == plain);
    assert!(stepped(model(3, false).with_precision(Precision::Bf16)) == plain);
}

/// `KL(old ‖ new)`, a mean over the learned tokens, in double precision.
fn exact_kl(old: &CausalLm<AB>, new: &CausalLm<AB>, rows: &[TokenRow]) -> f64 {
    let [old, new] = [old, new].map(|model| host(separate_logits(&model.valid(), rows)));
    let n_tokens = old.len() / VOCAB;
    let tokens = old.chunks(VOCAB).zip(new.chunks(VOCAB));
    let kl = tokens.map(|(old, new)| {
        let [old, new] = [old, new].map(log_probs);
        old.iter().zip(&new).map(|(old, new)| old.exp() * (old - new)).sum::<f64>()
    });
    kl.sum::<f64>() / n_tokens as f64
}

fn log_probs(logits: &[f32]) -> Vec<f64> {
    let all = logits.iter().map(|it| f64::from(*it).exp()).sum::<f64>().ln();
    logits.iter().map(|it| f64::from(*it) - all).collect()
}

#[test]
fn steps_of_many_policies_stay_within_the_region_and_raise_the_surrogate() {
    for seed in 0..100 {
        let mut policy = policy(seed);
        let old = policy.module().clone();
        let rows = experience(&policy, token_rows(seed), |number| uneven(number + seed as usize));
        let config = TrpoConfig { damping: 1e-3, ..TrpoConfig::default() };
        let told = step(&mut policy, &rows, 3, &config).expect("updates");
        assert!(told.accepted, "seed {seed}: {told:?}");
        assert!(told.surrogate_after > told.surrogate_before, "seed {seed}: {told:?}");
        let kl = exact_kl(&old, policy.module(), &token_rows(seed));
        assert!(kl > 0.0 && kl <= config.max_kl * (1.0 + 1e-3), "seed {seed}: {kl}, {told:?}");
        assert!((kl - told.kl).abs() <= 1e-5, "seed {seed}: {kl}, {told:?}");
    }
}

#[test]
fn what_is_rejected_leaves_the_policy_to_the_last_bit() {
    // Without damping, some whole steps lead out of the region.
    let whole_steps = TrpoConfig { damping: 1e-6, line_search_steps: 0, ..TrpoConfig::default() };
    let mut n_rejected = 0;
    for seed in 0..20 {
        let mut policy = policy(seed);
        let before = bits(&all_values(&policy));
        let rows = experience(&policy, token_rows(seed), uneven);
        let told = step(&mut policy, &rows, 2, &whole_steps).expect("updates");
        assert!(told.surrogate_after >= told.surrogate_before && told.kl <= 0.01, "{told:?}");
        assert_eq!(bits(&all_values(&policy)) == before, !told.accepted, "{told:?}");
        n_rejected += usize::from(!told.accepted);
    }
    assert!(n_rejected > 0);
}

#[test]
fn what_cannot_be_used_leaves_the_policy_to_the_last_bit() {
    let mut policy = policy(4);
    let before = bits(&all_values(&policy));
    let config = TrpoConfig::default();
    let rows = experience(&policy, token_rows(3), |_| 0.0);
    let told = step(&mut policy, &rows, 2, &config).expect("has nothing to do");
    assert!(!told.accepted && told.kl == 0.0 && told.gradient_norm == 0.0, "{told:?}");

    let rows = experience(&policy, token_rows(3), |_| f32::NAN);
    step(&mut policy, &rows, 2, &config).expect_err("isn't finite");
    step(&mut policy, &[], 2, &config).expect_err("has no tokens");
    let mut rows = experience(&policy, token_rows(3), uneven);
    rows[2].old_logprobs[1] += 0.02;
    match step(&mut policy, &rows, 2, &config).expect_err("another policy sampled this") {
        PpoError::RatioNotOne { step: 1, error } => assert!((error - 0.0198).abs() < 1e-4),
        other => panic!("{other}"),
    }
    assert!(bits(&all_values(&policy)) == before);
}

/// Names of tensors that a step has changed.
fn changed(policy: &mut Policy, parameters: Trained) -> Vec<&'static str> {
    let names = ["embedding", "blocks.0.", "blocks.1.", "norm.", "head.", "adapter."];
    let parts = names.map(|part| FlatParams::of(policy.module(), |name| name.contains(part)));
    let values = |policy: &Policy| parts.clone().map(|it| it.values(policy.module()));
    let before = values(policy);
    let rows = experience(policy, token_rows(4), uneven);
    let config = TrpoConfig { parameters, ..TrpoConfig::default() };
    let told = step(policy, &rows, 2, &config).expect("updates");
    assert!(told.accepted, "{told:?}");
    let after = values(policy);
    let pairs = names.into_iter().zip(before.into_iter().zip(after));
    pairs.filter(|(_, (before, after))| before != after).map(|(name, _)| name).collect()
}

#[test]
fn only_what_is_asked_for_is_trained() {
    let new = |tied_head| Learner::new(model(5, tied_head), OptimizerConfig::default());
    let all = ["embedding", "blocks.0.", "blocks.1.", "norm.", "head."];
    assert_eq!(changed(&mut new(false), Trained::All), all);
    let last = Trained::LastLayers(1);
    assert_eq!(changed(&mut new(false), last), ["blocks.1.", "norm.", "head."]);
    assert_eq!(changed(&mut new(true), last), ["blocks.1.", "norm."]);

    let lora = LoraConfig { rank: 2, ..LoraConfig::default() };
    let adapted = model(5, true).with_lora(&lora, Seed::new(6), &FlexDevice).expect("fits");
    let mut adapted = Learner::new(adapted, OptimizerConfig::default());
    assert_eq!(changed(&mut adapted, Trained::Lora), ["blocks.0.", "blocks.1.", "adapter."]);
    assert_eq!(changed(&mut adapted, Trained::All), ["blocks.0.", "blocks.1.", "adapter."]);

    let rows = experience(&new(true), token_rows(4), uneven);
    let config = TrpoConfig { parameters: Trained::Lora, ..TrpoConfig::default() };
    step(&mut new(true), &rows, 2, &config).expect_err("has no adapters");
}
