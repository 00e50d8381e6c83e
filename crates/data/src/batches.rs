//! Which rows a step trains on.

use crate::seed::{Seed, shuffle};

/// An endless, seeded order of rows: a fresh permutation for each epoch, one after the other.
///
/// Batches are cut from the whole stream, so that every batch is full, none of the rows is lost
/// at the end of an epoch, and step `k` can be computed without the steps before it.
#[derive(Clone, Debug)]
pub struct RowOrder {
    n_rows: usize,
    seed: Seed,
    /// The permutation of the epoch asked for last.
    current: Option<(usize, Vec<usize>)>,
}

impl RowOrder {
    /// An order of `n_rows` rows.
    pub fn new(n_rows: usize, seed: Seed) -> Self {
        assert!(n_rows > 0, "an order needs rows");
        Self { n_rows, seed, current: None }
    }

    /// The rows of step `step`, counted from 0.
    pub fn batch(&mut self, step: usize, batch_rows: usize) -> Vec<usize> {
        (step * batch_rows..(step + 1) * batch_rows).map(|position| self.row(position)).collect()
    }

    fn row(&mut self, position: usize) -> usize {
        let epoch = position / self.n_rows;
        if self.current.as_ref().is_none_or(|(current, _)| *current != epoch) {
            self.current = Some((epoch, permutation(self.n_rows, self.seed.index(epoch as u64))));
        }
        let (_, rows) = self.current.as_ref().expect("set above");
        rows[position % self.n_rows]
    }
}

/// The numbers below `n_rows` in a random order.
pub fn permutation(n_rows: usize, seed: Seed) -> Vec<usize> {
    let mut rows: Vec<usize> = (0..n_rows).collect();
    shuffle(&mut rows, &mut seed.rng());
    rows
}

/// Puts a batch's rows of like length into the same micro-batch, so that little of it is padding. A
/// batch that isn't cut keeps its order.
pub fn group_by_length(
    rows: &mut [usize],
    micro_batch_rows: usize,
    length: impl Fn(usize) -> usize,
) {
    if rows.len() > micro_batch_rows {
        rows.sort_by_key(|row| length(*row));
    }
}

/// The steps that visit `n_rows` rows `epochs` times, rounded up.
pub fn steps(n_rows: usize, batch_rows: usize, epochs: f64) -> usize {
    (n_rows as f64 * epochs / batch_rows as f64).ceil() as usize
}

/// What is wrong with the sizes of a batch and of the micro-batches it is cut into.
pub fn divides(section: &str, batch_rows: usize, micro_batch_rows: usize) -> Option<String> {
    if batch_rows == 0 || micro_batch_rows == 0 {
        return Some(format!(
            "`{section}.batch_rows` and `{section}.micro_batch_rows` must be above 0"
        ));
    }
    (!batch_rows.is_multiple_of(micro_batch_rows)).then(|| {
        format!(
            "`{section}.micro_batch_rows` ({micro_batch_rows}) does not divide \
             `{section}.batch_rows` ({batch_rows})"
        )
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_epoch_visits_each_row_once(n_rows in 1_usize..40, batch in 1_usize..50) {
            let mut order = RowOrder::new(n_rows, Seed::new(3));
            let stream: Vec<usize> = (0..n_rows).flat_map(|step| order.batch(step, batch)).collect();
            for epoch in stream.chunks_exact(n_rows) {
                let mut rows = epoch.to_vec();
                rows.sort_unstable();
                prop_assert_eq!(rows, (0..n_rows).collect::<Vec<_>>());
            }
        }

        #[test]
        fn a_step_does_not_depend_on_those_before(step in 0_usize..30, batch in 1_usize..9) {
            let mut whole = RowOrder::new(17, Seed::new(3));
            let last = (0..=step).map(|step| whole.batch(step, batch)).last();
            prop_assert_eq!(last, Some(RowOrder::new(17, Seed::new(3)).batch(step, batch)));
        }
    }

    #[test]
    fn epochs_differ() {
        let mut order = RowOrder::new(50, Seed::new(3));
        assert_ne!(order.batch(0, 50), order.batch(1, 50));
    }

    #[test]
    fn steps_round_up() {
        assert_eq!([steps(10, 4, 1.0), steps(10, 5, 1.0), steps(10, 4, 0.5)], [3, 2, 2]);
    }
}
