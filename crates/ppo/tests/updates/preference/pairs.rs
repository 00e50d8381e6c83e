//! Preference pairs, by DPO and its relatives.

use burn::module::AutodiffModule;
use burn::prelude::*;
use burn::tensor::activation::log_softmax;
use rein_model::load_causal_lm;
use rein_model::logprobs::{learned_logits, row_logprobs};
use rein_model::tokens::{LearnedTokens, scalar};
use rein_ppo::preference::loss::LossType;

use super::*;

#[test]
fn the_gradient_does_not_depend_on_how_a_batch_is_cut() {
    for loss_type in [LossType::Sigmoid, LossType::Ipo, LossType::Simpo, LossType::Orpo] {
        let cut = |micro_batch_rows| {
            let config = DpoConfig { loss_type, batch_rows: 8, micro_batch_rows, ..config() };
            gradient(dpo(&unclipped(config)), &[0, 1, 2, 3, 4, 5, 6, 7])
        };
        let whole = cut(8);
        for rows in [1, 2, 4] {
            let relative = distance(&cut(rows), &whole);
            assert!(relative < 1e-5, "{loss_type:?} cut into {rows}: {relative}");
        }
    }
}

#[test]
fn the_gradient_does_not_depend_on_the_order_of_a_batch() {
    let ordered = |numbers: &[usize]| gradient(dpo(&unclipped(config())), numbers);
    let relative =
        distance(&ordered(&[6, 1, 3, 0, 7, 2, 5, 4]), &ordered(&[0, 1, 2, 3, 4, 5, 6, 7]));
    assert!(relative < 1e-5, "{relative}");
}

#[test]
fn a_resumed_run_ends_with_the_same_bits() {
    for config in [config(), with_lora(config())] {
        let mut whole = dpo(&config);
        let n_steps = whole.n_steps();
        let told = steps(&mut whole, 0..n_steps);
        let evaluated = whole.evaluate().expect("evaluates").expect("there are held-out pairs");
        for stop in [1, 3] {
            let mut first = dpo(&config);
            steps(&mut first, 0..stop);
            let folder = tempfile::tempdir().expect("a temporary folder");
            first.save(folder.path()).expect("saves");
            let mut second = dpo(&config);
            second.restore(folder.path()).expect("restores");
            assert_eq!(steps(&mut second, stop..n_steps), told[stop..]);
            assert!(saved(&second) == saved(&whole), "stopped after {stop}");
            let again = second.evaluate().expect("evaluates").expect("there are held-out pairs");
            assert_eq!(again.metrics, evaluated.metrics);
        }
    }
}

#[test]
fn blocks_that_are_replayed_change_no_bit() {
    let trained = |gradient_checkpointing| {
        let mut dpo = dpo(&DpoConfig { gradient_checkpointing, ..config() });
        let told = steps(&mut dpo, 0..3);
        (told, saved(&dpo))
    };
    assert!(trained(true) == trained(false));
}

#[test]
fn the_reference_of_adapters_is_the_policy_without_them() {
    let mut dpo = dpo(&with_lora(config()));
    let told = steps(&mut dpo, 0..4);
    let at_first = |name: &str| told[0].get(name).expect("is measured");
    for name in ["rewards/chosen", "rewards/rejected", "rewards/margins"] {
        assert!(at_first(name).abs() < 1e-6, "{name}: {}", at_first(name));
    }
    assert!((at_first("loss") - 2.0_f64.ln()).abs() < 1e-6);
    let base = dpo.policy().valid().without_lora();
    let adapted = dpo.policy().valid();
    let mut moved = 0.0_f32;
    for (number, reference) in dpo.reference_logprobs().iter().enumerate() {
        let pair = pair(number);
        let sums = |model| {
            let rows = row_logprobs(model, &pair.sides(), 1.0, 2, &DEVICE);
            rows.iter().map(|row| row.iter().sum()).collect::<Vec<f32>>()
        };
        for ((off, on), reference) in sums(&base).iter().zip(sums(&adapted)).zip(reference) {
            assert!((off - reference).abs() < 1e-4, "{off} and {reference}");
            moved = moved.max((on - reference).abs());
        }
    }
    assert!(moved > 0.1, "the adapters have learned: {moved}");
}

#[test]
fn entropies_and_scores_are_those_of_the_whole_vocabulary() {
    let told = dpo(&config()).update(0, &[3, 5]).expect("updates");
    let policy = policy().valid();
    let logits = |side: usize| {
        let rows = [3, 5].map(pair);
        let rows = rows.each_ref().map(|pair| pair.sides()[side]);
        learned_logits(&policy, &LearnedTokens::new(&rows, &DEVICE), 1.0)
    };
    let sides = [logits(0), logits(1)];
    for (name, side) in ["logits/chosen", "logits/rejected"].into_iter().zip(&sides) {
        let want = scalar(side.clone().mean());
        let got = told.get(name).expect("is measured");
        assert!((got - want).abs() < 1e-5, "{name}: {got}, {want}");
    }
    let logprobs = log_softmax(Tensor::cat(sides.to_vec(), 0), 1);
    let entropies = (logprobs.clone().exp() * logprobs).sum_dim(1).neg();
    let (got, want) = (told.get("entropy").expect("is measured"), scalar(entropies.mean()));
    assert!((got - want).abs() < 1e-5, "{got}, {want}");
}

#[test]
fn a_policy_learns_what_was_preferred_and_its_checkpoint_is_a_model() {
    let mut dpo = dpo(&DpoConfig { epochs: 20.0, beta: 1.0, ..config() });
    let n_steps = dpo.n_steps();
    let told = steps(&mut dpo, 0..n_steps);
    let last = |name: &str| told[n_steps - 1].get(name).expect("is measured");
    assert!(last("rewards/accuracies") > 0.9 && last("rewards/margins") > 1.0);
    assert_eq!(last("epoch"), 20.0);
    let evaluation = dpo.evaluate().expect("evaluates").expect("there are held-out pairs");
    let loss = evaluation.metrics.get("eval_loss").expect("is measured");
    assert!((evaluation.score + loss).abs() < 1e-12);
    assert!(evaluation.metrics.get("eval_rewards/accuracies").is_some());
    let folder = tempfile::tempdir().expect("a temporary folder");
    dpo.save(folder.path()).expect("saves");
    load_causal_lm::<Flex>(&folder.path().join("model"), &DEVICE).expect("loads");
}

#[test]
fn without_a_reference_rewards_are_log_probabilities() {
    for loss_type in [LossType::Cpo, LossType::Simpo, LossType::Orpo] {
        let config = DpoConfig { loss_type, beta: 2.0, ..config() };
        let mut dpo = dpo(&config);
        let told = steps(&mut dpo, 0..1);
        let got = |name: &str| told[0].get(name).expect("is measured");
        assert!((got("rewards/chosen") - 2.0 * got("logps/chosen")).abs() < 1e-6);
        assert!(dpo.reference_logprobs().iter().all(|sides| *sides == [0.0; 2]));
        let nll = told[0].get("nll_loss");
        assert_eq!(nll.is_some(), loss_type != LossType::Simpo);
    }
}

#[test]
fn pairs_that_cannot_be_used_are_refused() {
    let begin = |pairs: [Vec<Pair>; 2]| {
        let error = Dpo::new(config(), policy(), None, pairs, Seed::new(5), &DEVICE);
        error.expect_err("is refused").to_string()
    };
    assert_eq!(begin([vec![], vec![pair(1)]]), "there are no preference pairs");
    let empty = Pair { rejected: TokenRow::completion(vec![1, 2], &[]), ..pair(1) };
    let want = "held-out preference pair 2: a completion has no tokens to learn";
    assert_eq!(begin([vec![pair(1)], vec![pair(2), empty]]), want);
    let long = Pair { chosen: TokenRow::completion(vec![1], &[3; 16]), ..pair(1) };
    let want = "preference pair 1: a row has 17 tokens, but the model has 16 positions";
    assert_eq!(begin([vec![long], vec![]]), want);
    let strange = Pair { chosen: TokenRow::completion(vec![1], &[40]), ..pair(1) };
    let want = "preference pair 1: a row holds the token 40, but the model's vocabulary has 40";
    assert_eq!(begin([vec![strange], vec![]]), want);
}
