//! Workers that share the judgements make the updates that one process would make.

use std::sync::Arc;
use std::thread;

use rein_data::workers::Workers;

use super::labels::{kto, kto_config};
use super::*;
use crate::seat::Seat;

/// What a stage tells and evaluates, and what lies in its checkpoint.
type Told = (Vec<Metrics>, Metrics, Vec<(String, Vec<u8>)>);

fn trained<J: Judgement>(mut stage: Dpo<AB, J>) -> Told {
    let told = steps(&mut stage, 0..3);
    let evaluation = stage.evaluate().expect("evaluates").expect("there is something held out");
    (told, evaluation.metrics, saved(&stage))
}

fn by_two<J: Judgement>(stage: impl Fn() -> Dpo<AB, J> + Sync) -> [Told; 2] {
    thread::scope(|scope| {
        let work = |seat: Seat| {
            let stage = &stage;
            let workers = Workers::new(Arc::new(seat));
            scope.spawn(move || trained(stage().with_workers(&workers)))
        };
        Seat::pair().map(work).map(|thread| thread.join().expect("works"))
    })
}

fn assert_like(got: &Metrics, want: &Metrics) {
    for (name, want) in &want.0 {
        let got = got.get(name).expect("is measured");
        assert!((got - want).abs() <= 1e-4 * (1.0 + want.abs()), "{name}: {got}, {want}");
    }
}

fn check<J: Judgement>(stage: impl Fn() -> Dpo<AB, J> + Sync) {
    let alone = trained(stage());
    let [first, second] = by_two(stage);
    assert!(first == second, "both workers have the same policy, to the bit");
    for (got, want) in first.0.iter().zip(&alone.0) {
        assert_like(got, want);
    }
    assert_like(&first.1, &alone.1);
}

#[test]
fn two_workers_learn_from_pairs_as_one_does() {
    check(|| dpo(&config()));
    check(|| dpo(&with_lora(config())));
}

#[test]
fn two_workers_learn_from_labels_as_one_does() {
    check(|| kto(&kto_config()));
    check(|| kto(&with_lora(kto_config())));
}
