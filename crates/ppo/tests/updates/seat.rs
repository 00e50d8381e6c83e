//! Workers that are threads of one process.

use std::sync::{Arc, Barrier, Mutex, PoisonError};

use rein_data::workers::Link;

/// One of two workers in one process.
#[derive(Debug)]
pub(crate) struct Seat {
    rank: usize,
    table: Arc<(Mutex<Vec<Vec<u8>>>, Barrier)>,
}

impl Seat {
    /// Both of them.
    pub(crate) fn pair() -> [Self; 2] {
        let table = Arc::new((Mutex::new(vec![Vec::new(); 2]), Barrier::new(2)));
        [0, 1].map(|rank| Self { rank, table: Arc::clone(&table) })
    }
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
