//! Workers that share the rows take the step that one process would take.

use std::sync::Arc;
use std::thread;

use rein_data::workers::Workers;

use super::*;
use crate::seat::Seat;

#[test]
fn two_workers_take_the_step_of_one() {
    let rows = experience(&policy(3), token_rows(2), uneven);
    let stepped = |mut policy: Policy| {
        let told = step(&mut policy, &rows, 2, &TrpoConfig::default()).expect("updates");
        (told, all_values(&policy))
    };
    let (alone, values) = stepped(policy(3));
    let seats = Seat::pair();
    let [first, second] = thread::scope(|scope| {
        let work = |seat: Seat| {
            let mut policy = policy(3);
            policy.share_with(&Workers::new(Arc::new(seat)));
            let stepped = &stepped;
            scope.spawn(move || stepped(policy))
        };
        seats.map(work).map(|thread| thread.join().expect("works"))
    });
    assert!(first.0 == second.0 && bits(&first.1) == bits(&second.1), "{first:?}, {second:?}");
    assert!(alone.accepted && first.0.accepted);
    assert!((alone.kl - first.0.kl).abs() <= 1e-5, "{alone:?}, {:?}", first.0);
    assert!(distance(&first.1, &values) <= 1e-4, "{alone:?}, {:?}", first.0);
}
