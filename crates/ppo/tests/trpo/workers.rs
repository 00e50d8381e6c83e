//! Workers that share the rows take the step that one process would take.

use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::thread;

use rein_data::workers::{Link, Workers};

use super::*;

#[test]
fn two_workers_take_the_step_of_one() {
    let rows = experience(&policy(3), token_rows(2), uneven);
    let stepped = |mut policy: Policy| {
        let told = step(&mut policy, &rows, 2, &TrpoConfig::default()).expect("updates");
        (told, all_values(&policy))
    };
    let (alone, values) = stepped(policy(3));
    let table = Arc::new((Mutex::new(vec![Vec::new(); 2]), Barrier::new(2)));
    let seats = [0, 1].map(|rank| Seat { rank, table: table.clone() });
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

/// One of two workers in one process.
#[derive(Debug)]
struct Seat {
    rank: usize,
    table: Arc<(Mutex<Vec<Vec<u8>>>, Barrier)>,
}

impl Link for Seat {
    fn rank(&self) -> usize {
        self.rank
    }

    fn count(&self) -> usize {
        2
    }

    fn sum_f32(&self, values: &mut [f32]) {
        let mut wide: Vec<f64> = values.iter().map(|it| f64::from(*it)).collect();
        self.sum_f64(&mut wide);
        values.iter_mut().zip(wide).for_each(|(value, sum)| *value = sum as f32);
    }

    fn sum_f64(&self, values: &mut [f64]) {
        let bytes: Vec<u8> = values.iter().flat_map(|it| it.to_le_bytes()).collect();
        let all = self.gather(&bytes);
        for (place, value) in values.iter_mut().enumerate() {
            let of = |all: &Vec<u8>| all[8 * place..][..8].try_into().expect("eight bytes");
            *value = all.iter().map(|it| f64::from_le_bytes(of(it))).sum();
        }
    }

    fn gather(&self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let (seats, barrier) = &*self.table;
        let locked = || seats.lock().unwrap_or_else(PoisonError::into_inner);
        locked()[self.rank] = bytes.to_vec();
        barrier.wait();
        let all = locked().clone();
        barrier.wait();
        all
    }

    fn spread(&self, bytes: Vec<u8>) -> Vec<u8> {
        self.gather(&bytes).swap_remove(0)
    }
}
