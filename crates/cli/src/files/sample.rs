//! Some of many rows, within a bound.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rein_data::seed::Seed;

/// Rows of a sample, at most.
const MAX_ROWS: usize = 1 << 16;
/// Bytes of a sample, at most.
const MAX_BYTES: usize = 16 << 20;

/// All rows, in their order, while they are few; beyond the bound, a random sample of them.
pub(super) struct Sample<T> {
    items: Vec<(T, usize)>,
    n_bytes: usize,
    n_offered: usize,
    draws: ChaCha8Rng,
    is_full: bool,
}

impl<T> Sample<T> {
    pub(super) fn new(seed: Seed) -> Self {
        Self { items: Vec::new(), n_bytes: 0, n_offered: 0, draws: seed.rng(), is_full: false }
    }

    /// Offers a row, which is made only where there is a place for it (reservoir sampling, algorithm
    /// R). `None` is no row at all; the number is how many bytes it takes.
    pub(super) fn offer(&mut self, make: impl FnOnce() -> Option<(T, usize)>) {
        self.n_offered += 1;
        let place = match self.is_full {
            true => self.draws.random_range(0..self.n_offered),
            false => self.items.len(),
        };
        if self.is_full && place >= self.items.len() {
            return;
        }
        if let Some((item, n_bytes)) = make() {
            self.put(place, item, n_bytes);
        }
    }

    fn put(&mut self, place: usize, item: T, n_bytes: usize) {
        let freed = self.items.get(place).map_or(0, |(_, n_bytes)| *n_bytes);
        let n_after = self.n_bytes - freed + n_bytes;
        if n_after > MAX_BYTES {
            self.is_full = !self.items.is_empty();
            return;
        }
        self.n_bytes = n_after;
        if place < self.items.len() {
            self.items[place] = (item, n_bytes);
        } else {
            self.items.push((item, n_bytes));
            self.is_full = self.items.len() == MAX_ROWS;
        }
    }

    pub(super) fn items(self) -> Vec<T> {
        self.items.into_iter().map(|(item, _)| item).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(n_rows: usize, n_bytes: usize) -> Vec<usize> {
        let mut sample = Sample::new(Seed::new(1));
        (0..n_rows).for_each(|row| sample.offer(|| Some((row, n_bytes))));
        sample.items()
    }

    #[test]
    fn few_rows_are_all_there_in_their_order() {
        assert_eq!(sample(1000, 100), (0..1000).collect::<Vec<_>>());
        let mut none = Sample::new(Seed::new(1));
        none.offer(|| None::<(u8, usize)>);
        assert!(none.items().is_empty());
    }

    #[test]
    fn of_many_rows_all_have_the_same_chance() {
        // A mebibyte each: sixteen have room, out of 1600, a hundred times.
        let mut mean = 0.0;
        for seed in 0..100 {
            let mut sample = Sample::new(Seed::new(seed));
            (0..1600_usize).for_each(|row| sample.offer(|| Some((row, 1 << 20))));
            let rows = sample.items();
            assert_eq!(rows.len(), 16);
            mean += rows.iter().sum::<usize>() as f64 / 1600.0;
        }
        // 1600 draws of a uniform number with deviation 462: within four deviations of the mean.
        assert!((mean - 799.5).abs() < 4.0 * 462.0 / 40.0, "{mean}");
        assert_eq!(sample(3 * MAX_ROWS, 1).len(), MAX_ROWS);
    }
}
