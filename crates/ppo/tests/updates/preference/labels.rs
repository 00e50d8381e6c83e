//! Completions with a label, by KTO.

use burn::module::AutodiffModule;
use rein_model::logprobs::row_logprobs;
use rein_ppo::preference::Kto;
use rein_ppo::preference::labels::{Label, Rated};
use rein_ppo::preference::loss::LossType;
use rein_ppo::preference::pairs::Encoded;

use super::*;

pub(crate) fn kto_config() -> DpoConfig {
    DpoConfig { loss_type: LossType::Kto, undesirable_weight: 2.0, beta: 0.5, ..config() }
}

pub(crate) fn labels(numbers: std::ops::Range<usize>) -> Vec<Label> {
    let rated =
        |number: usize| Rated { row: pair(number).chosen, is_desirable: !number.is_multiple_of(3) };
    Label::mismatched(numbers.map(rated).collect(), 16, Seed::new(5))
}

pub(crate) fn kto(config: &DpoConfig) -> Kto<AB> {
    let rows = [labels(0..N_PAIRS), labels(20..27)];
    Kto::new(config.clone(), policy(), None, rows, Seed::new(5), &DEVICE).expect("begins")
}

/// After some updates, so that the policy has left its reference and the reference point counts.
fn later(config: &DpoConfig, numbers: &[usize]) -> (Metrics, Vec<(String, Vec<u8>)>) {
    let mut stage = kto(config);
    steps(&mut stage, 0..3);
    (stage.update(3, numbers).expect("updates"), saved(&stage))
}

#[test]
fn the_gradient_depends_neither_on_cuts_nor_on_the_order_of_a_batch() {
    let cut = |micro_batch_rows, numbers: &[usize]| {
        let config = DpoConfig { batch_rows: 8, micro_batch_rows, ..kto_config() };
        gradient(kto(&unclipped(config)), numbers)
    };
    let whole = cut(8, &[0, 1, 2, 3, 4, 5, 6, 7]);
    for rows in [1, 2, 4] {
        let relative = distance(&cut(rows, &[0, 1, 2, 3, 4, 5, 6, 7]), &whole);
        assert!(relative < 1e-5, "cut into {rows}: {relative}");
    }
    let relative = distance(&cut(8, &[5, 2, 7, 0, 1, 6, 3, 4]), &whole);
    assert!(relative < 1e-5, "in another order: {relative}");
}

#[test]
fn the_reference_point_is_that_of_the_whole_batch() {
    let config = |micro_batch_rows| DpoConfig { micro_batch_rows, ..kto_config() };
    let (whole, _) = later(&config(4), &[0, 4, 7, 9]);
    let point = whole.get("kl").expect("is measured");
    assert!(point > 0.01, "the policy has left its reference: {point}");
    for rows in [1, 2] {
        let (cut, _) = later(&config(rows), &[9, 4, 0, 7]);
        for name in ["kl", "loss", "grad_norm"] {
            let [got, want] = [&cut, &whole].map(|it| it.get(name).expect("is measured"));
            assert!((got - want).abs() < 1e-4 * (1.0 + want.abs()), "{name}: {got}, {want}");
        }
    }
}

#[test]
fn the_reference_point_is_what_the_policy_gives_to_mismatched_completions() {
    let rows = labels(0..N_PAIRS);
    let mut means = Vec::new();
    for numbers in [[0, 4, 7, 9], [1, 2, 6, 8]] {
        let mut stage = kto(&kto_config());
        steps(&mut stage, 0..3);
        let trained = stage.policy().valid();
        let given = |model: &CausalLm<Flex>| -> f64 {
            let asked: Vec<&TokenRow> = numbers.iter().map(|it| &rows[*it].mismatched).collect();
            let logprobs = row_logprobs(model, &asked, 1.0, 1, &DEVICE);
            logprobs.iter().flatten().map(|it| f64::from(*it)).sum()
        };
        let mean = (given(&trained) - given(&policy().valid())) / 4.0;
        let got = stage.update(3, &numbers).expect("updates").get("kl").expect("is measured");
        assert!((got - mean.max(0.0)).abs() < 1e-4, "{got} and {mean}");
        means.push(mean);
    }
    assert!(means[0] > 0.0 && means[1] < 0.0, "one is cut at 0: {means:?}");
}

#[test]
fn a_resumed_run_ends_with_the_same_bits() {
    for config in [kto_config(), with_lora(kto_config())] {
        let mut whole = kto(&config);
        let n_steps = whole.n_steps();
        let told = steps(&mut whole, 0..n_steps);
        let evaluated = whole.evaluate().expect("evaluates").expect("there are held-out rows");
        for stop in [1, 3] {
            let mut first = kto(&config);
            steps(&mut first, 0..stop);
            let folder = tempfile::tempdir().expect("a temporary folder");
            first.save(folder.path()).expect("saves");
            let mut second = kto(&config);
            second.restore(folder.path()).expect("restores");
            assert_eq!(steps(&mut second, stop..n_steps), told[stop..]);
            assert!(saved(&second) == saved(&whole), "stopped after {stop}");
            let again = second.evaluate().expect("evaluates").expect("there are held-out rows");
            assert_eq!(again.metrics, evaluated.metrics);
        }
    }
}

#[test]
fn blocks_that_are_replayed_change_no_bit() {
    let trained = |gradient_checkpointing| {
        let mut stage = kto(&DpoConfig { gradient_checkpointing, ..kto_config() });
        (steps(&mut stage, 0..3), saved(&stage))
    };
    assert!(trained(true) == trained(false));
}

#[test]
fn a_policy_learns_what_was_called_good() {
    let mut stage = kto(&DpoConfig { epochs: 20.0, batch_rows: 10, ..kto_config() });
    let n_steps = stage.n_steps();
    let told = steps(&mut stage, 0..n_steps);
    let [first, last] = [&told[0], &told[n_steps - 1]];
    let at = |metrics: &Metrics, name: &str| metrics.get(name).expect("is measured");
    // Before the first update all log-ratios are 0, and λ (1 − σ(0)) is half of a weight: 1 for six rows
    // of ten, 2 for the four whose number 3 divides.
    assert!((at(first, "loss") - 0.5 * (6.0 + 2.0 * 4.0) / 10.0).abs() < 1e-5);
    assert!(at(first, "kl") < 1e-5);
    assert!(at(last, "rewards/margins") > 1.0 && at(last, "loss") < 0.5 * at(first, "loss"));
    assert!(at(last, "rewards/chosen") > at(last, "rewards/rejected"));
    let evaluation = stage.evaluate().expect("evaluates").expect("there are held-out rows");
    assert!((evaluation.score + at(&evaluation.metrics, "eval_loss")).abs() < 1e-12);
    assert!(evaluation.metrics.get("eval_kl").is_some());
}

#[test]
fn a_batch_of_one_label_says_nothing_of_the_other() {
    let told = kto(&kto_config()).update(0, &[0, 3, 6, 9]).expect("updates");
    assert!(told.get("rewards/rejected").is_some() && told.get("logps/rejected").is_some());
    assert!(told.get("rewards/chosen").is_none() && told.get("rewards/margins").is_none());
}

#[test]
fn each_prompt_has_the_completion_before_it_in_the_order_of_the_first_epoch() {
    let rows = labels(0..N_PAIRS);
    let parts = |row: &TokenRow| {
        let n_prompt = row.learned.iter().position(|it| *it).expect("has a completion");
        (row.tokens[..n_prompt].to_vec(), row.tokens[n_prompt..].to_vec())
    };
    let mut order = rein_data::batches::RowOrder::new(N_PAIRS, Seed::new(5).child("order"));
    let order = order.batch(0, N_PAIRS);
    for (place, &row) in order.iter().enumerate() {
        let before = order[(place + N_PAIRS - 1) % N_PAIRS];
        let [(prompt, _), (_, completion)] = [row, before].map(|it| parts(&rows[it].row));
        assert_eq!(parts(&rows[row].mismatched), (prompt, completion), "at {place}");
    }
    assert!(Label::mismatched(Vec::new(), 16, Seed::new(5)).is_empty());
}

#[test]
fn pairs_are_one_good_and_one_bad_completion() {
    let judgements = vec![pair(1), pair(2)];
    let rated = Encoded { judgements, n_truncated: 3, n_dropped: 1 }.into_rated();
    assert_eq!((rated.n_truncated, rated.n_dropped), (3, 1));
    let said: Vec<bool> = rated.judgements.iter().map(|it| it.is_desirable).collect();
    assert_eq!(said, [true, false, true, false]);
    assert_eq!(rated.judgements[3].row, pair(2).rejected);
}

#[test]
fn a_loss_of_other_judgements_is_refused() {
    let rows = [labels(0..4), Vec::new()];
    let error = Kto::new(config(), policy(), None, rows, Seed::new(5), &DEVICE);
    let told = error.expect_err("is refused").to_string();
    assert_eq!(told, "the loss `Sigmoid` doesn't learn from a labelled completion");
    let rows = [vec![pair(1)], Vec::new()];
    let error = Dpo::new(kto_config(), policy(), None, rows, Seed::new(5), &DEVICE);
    let told = error.expect_err("is refused").to_string();
    assert_eq!(told, "the loss `Kto` doesn't learn from a preference pair");
}
