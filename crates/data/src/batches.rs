//! Which rows a step trains on.

use std::cmp::Reverse;

use crate::seed::{Seed, shuffle};

/// Batches of a megabatch, at most: as in transformers' `LengthGroupedSampler`.
const MEGABATCH: usize = 50;

/// An endless, seeded order of rows: a fresh permutation for each epoch, one after the other.
///
/// Batches are cut from the whole stream, so that every batch is full, none of the rows is lost
/// at the end of an epoch, and step `k` can be computed without the steps before it.
#[derive(Clone, Debug)]
pub struct RowOrder {
    n_rows: usize,
    seed: Seed,
    groups: Option<LengthGroups>,
    /// The permutation of the epoch asked for last.
    current: Option<(usize, Vec<u32>)>,
}

impl RowOrder {
    /// An order of `n_rows` rows.
    pub fn new(n_rows: usize, seed: Seed) -> Self {
        assert!(n_rows > 0, "an order needs rows");
        Self { n_rows, seed, groups: None, current: None }
    }

    /// An order of rows of these lengths that puts rows of like length into a batch, so that little
    /// of it is padding, and yet leaves the order of the batches to chance in part.
    ///
    /// Each epoch's permutation is cut into megabatches of 50 batches (or a quarter of the epoch, if
    /// that is less), and each of them is sorted, the longest row first. The longest row of all
    /// comes first, so that a batch too large for the memory is met at once. This is what
    /// transformers does with `group_by_length`.
    pub fn grouped_by_length(lengths: Vec<u32>, batch_rows: usize, seed: Seed) -> Self {
        let order = Self::new(lengths.len(), seed);
        Self { groups: Some(LengthGroups { lengths, batch_rows }), ..order }
    }

    /// The rows of step `step`, counted from 0.
    pub fn batch(&mut self, step: usize, batch_rows: usize) -> Vec<usize> {
        (step * batch_rows..(step + 1) * batch_rows).map(|position| self.row(position)).collect()
    }

    fn row(&mut self, position: usize) -> usize {
        let epoch = position / self.n_rows;
        if self.current.as_ref().is_none_or(|(current, _)| *current != epoch) {
            let mut rows = shuffled(self.n_rows, self.seed.index(epoch as u64));
            if let Some(groups) = &self.groups {
                groups.arrange(&mut rows);
            }
            self.current = Some((epoch, rows));
        }
        let (_, rows) = self.current.as_ref().expect("set above");
        rows[position % self.n_rows] as usize
    }
}

#[derive(Clone, Debug)]
struct LengthGroups {
    lengths: Vec<u32>,
    batch_rows: usize,
}

impl LengthGroups {
    fn arrange(&self, rows: &mut [u32]) {
        let length = |row: u32| self.lengths[row as usize];
        let n_batches = (rows.len() / (4 * self.batch_rows)).clamp(1, MEGABATCH);
        let n_rows = n_batches * self.batch_rows;
        rows.chunks_mut(n_rows).for_each(|rows| rows.sort_by_key(|row| Reverse(length(*row))));
        let first = (0..rows.len()).step_by(n_rows).min_by_key(|row| Reverse(length(rows[*row])));
        rows.swap(0, first.expect("an order needs rows"));
    }
}

/// The numbers below `n_rows` in a random order.
pub fn permutation(n_rows: usize, seed: Seed) -> Vec<usize> {
    shuffled(n_rows, seed).into_iter().map(|row| row as usize).collect()
}

fn shuffled(n_rows: usize, seed: Seed) -> Vec<u32> {
    let n_rows = u32::try_from(n_rows).expect("fewer than 2^32 rows");
    let mut rows: Vec<u32> = (0..n_rows).collect();
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

    fn orders(n_rows: usize, batch: usize) -> [RowOrder; 2] {
        let lengths = (0..n_rows as u32).map(|row| row * 7 % 13).collect();
        let seed = Seed::new(3);
        [RowOrder::new(n_rows, seed), RowOrder::grouped_by_length(lengths, batch, seed)]
    }

    proptest! {
        #[test]
        fn each_epoch_visits_each_row_once(n_rows in 1_usize..40, batch in 1_usize..50) {
            for mut order in orders(n_rows, batch) {
                let stream = (0..n_rows).flat_map(|step| order.batch(step, batch));
                for epoch in stream.collect::<Vec<_>>().chunks_exact(n_rows) {
                    let mut rows = epoch.to_vec();
                    rows.sort_unstable();
                    prop_assert_eq!(rows, (0..n_rows).collect::<Vec<_>>());
                }
            }
        }

        #[test]
        fn a_step_does_not_depend_on_those_before(step in 0_usize..30, batch in 1_usize..9) {
            for (mut whole, mut fresh) in orders(17, batch).into_iter().zip(orders(17, batch)) {
                let last = (0..=step).map(|step| whole.batch(step, batch)).last();
                prop_assert_eq!(last, Some(fresh.batch(step, batch)));
            }
        }
    }

    #[test]
    fn megabatches_are_sorted_and_the_longest_row_comes_first() {
        // 1000 rows in batches of 4: megabatches of 50 batches.
        let lengths: Vec<u32> =
            permutation(1000, Seed::new(8)).into_iter().map(|it| it as u32).collect();
        let mut order = RowOrder::grouped_by_length(lengths.clone(), 4, Seed::new(3));
        let rows = order.batch(0, 1000);
        let mut sorted: Vec<u32> = rows.iter().map(|row| lengths[*row]).collect();
        assert_eq!(sorted[0], 999);
        // The longest row has changed places with the first of another megabatch.
        let other = RowOrder::new(1000, Seed::new(3)).batch(0, 1000);
        let home = other.iter().position(|row| lengths[*row] == 999).expect("is there") / 200;
        sorted.swap(0, home * 200);
        for (megabatch, rows) in sorted.chunks(200).zip(other.chunks(200)) {
            let mut lengths: Vec<u32> = rows.iter().map(|row| lengths[*row]).collect();
            lengths.sort_by_key(|length| Reverse(*length));
            assert_eq!(megabatch, lengths);
        }
    }

    #[test]
    fn a_small_epoch_has_four_megabatches() {
        let mut order = RowOrder::grouped_by_length((0..80).collect(), 4, Seed::new(3));
        let rows = order.batch(0, 80);
        let falls = rows[1..].windows(2).filter(|pair| pair[0] < pair[1]).count();
        assert_eq!(falls, 3, "lengths rise between megabatches only: {rows:?}");
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
