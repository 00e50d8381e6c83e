//! Several rows in one sequence, so that little of a batch is padding.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};

/// Which rows share a sequence. Rows are never cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packing {
    /// The rows of all sequences, one sequence after the other.
    rows: Vec<u32>,
    /// Where each sequence ends in `rows`.
    ends: Vec<u32>,
}

impl Packing {
    /// Rows of these lengths in sequences of at most `max_tokens`, by the rule "best fit decreasing"
    /// that TRL packs by: from the longest row to the shortest, each goes to the sequence that it
    /// fills best, or to a new one. A row that is longer than a sequence may be stays alone.
    ///
    /// Takes `O(n log n)` and depends on nothing but the lengths.
    pub fn best_fit_decreasing(lengths: &[u32], max_tokens: usize) -> Self {
        let n_rows = u32::try_from(lengths.len()).expect("fewer than 2^32 rows");
        let length = |row: u32| lengths[row as usize] as usize;
        let mut order: Vec<u32> = (0..n_rows).collect();
        order.sort_by_key(|row| Reverse(length(*row)));
        let mut room = Room::default();
        let mut n_sequences = 0;
        let mut places = Vec::with_capacity(order.len());
        for row in &order {
            let (sequence, left) = room.take(length(*row)).unwrap_or_else(|| {
                n_sequences += 1;
                (n_sequences - 1, max_tokens.saturating_sub(length(*row)))
            });
            room.give(sequence, left);
            places.push(sequence);
        }
        Self::gather(&order, &places, n_sequences as usize)
    }

    /// How many sequences there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The rows of a sequence.
    pub fn rows(&self, sequence: usize) -> impl Iterator<Item = usize> {
        let begin = sequence.checked_sub(1).map_or(0, |before| self.ends[before]) as usize;
        self.rows[begin..self.ends[sequence] as usize].iter().map(|row| *row as usize)
    }

    /// Brings the rows of each sequence together, in the order in which they came to it.
    fn gather(order: &[u32], places: &[u32], n_sequences: usize) -> Self {
        let mut ends = vec![0; n_sequences];
        places.iter().for_each(|sequence| ends[*sequence as usize] += 1);
        let mut total = 0;
        let mut next: Vec<u32> = Vec::with_capacity(n_sequences);
        for end in &mut ends {
            next.push(total);
            total += *end;
            *end = total;
        }
        let mut rows = vec![0; order.len()];
        for (row, sequence) in order.iter().zip(places) {
            let place = &mut next[*sequence as usize];
            rows[*place as usize] = *row;
            *place += 1;
        }
        Self { rows, ends }
    }
}

/// Sequences by the tokens that they have room for; of those alike, the first to come is the first
/// to be filled.
#[derive(Default)]
struct Room(BTreeMap<usize, VecDeque<u32>>);

impl Room {
    /// Takes the sequence with the least room that a row of `n_tokens` fits into, and says how much
    /// room it will have left.
    fn take(&mut self, n_tokens: usize) -> Option<(u32, usize)> {
        let mut entry = self.0.range_mut(n_tokens..);
        let (room, sequences) = entry.next()?;
        let (room, sequence) = (*room, sequences.pop_front()?);
        if sequences.is_empty() {
            self.0.remove(&room);
        }
        Some((sequence, room - n_tokens))
    }

    fn give(&mut self, sequence: u32, room: usize) {
        if room > 0 {
            self.0.entry(room).or_default().push_back(sequence);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sequences(packing: &Packing) -> Vec<Vec<usize>> {
        (0..packing.len()).map(|sequence| packing.rows(sequence).collect()).collect()
    }

    #[test]
    fn the_longest_go_first_and_each_where_it_fits_best() {
        let packing = Packing::best_fit_decreasing(&[3, 9, 4, 6, 1, 4, 12], 10);
        // 12 | 9 | 6 | 4 to 6 | 4 | 3 to 4 | 1 to 9, which has room for no more.
        assert_eq!(sequences(&packing), [vec![6], vec![1, 4], vec![3, 2], vec![5, 0]],);
        assert!(Packing::best_fit_decreasing(&[], 10).is_empty());
    }

    /// The room of the sequences in the end, found by looking at each of them.
    fn naive(lengths: &[u32], max_tokens: u32) -> Vec<u32> {
        let mut lengths = lengths.to_vec();
        lengths.sort_by_key(|length| Reverse(*length));
        let mut room: Vec<u32> = Vec::new();
        for length in lengths {
            match room.iter_mut().filter(|room| **room >= length).min() {
                Some(room) => *room -= length,
                None => room.push(max_tokens.saturating_sub(length)),
            }
        }
        room.sort_unstable();
        room
    }

    proptest! {
        #[test]
        fn every_row_is_packed_once_and_as_tightly_as_by_hand(
            lengths in prop::collection::vec(1_u32..25, 1..80),
        ) {
            let packing = Packing::best_fit_decreasing(&lengths, 20);
            let sequences = sequences(&packing);
            let mut rows: Vec<usize> = sequences.concat();
            rows.sort_unstable();
            prop_assert_eq!(rows, (0..lengths.len()).collect::<Vec<_>>());
            let n_tokens = |rows: &Vec<usize>| rows.iter().map(|row| lengths[*row]).sum::<u32>();
            for rows in &sequences {
                prop_assert!(rows.len() == 1 || n_tokens(rows) <= 20);
            }
            let mut room: Vec<u32> =
                sequences.iter().map(|rows| 20_u32.saturating_sub(n_tokens(rows))).collect();
            room.sort_unstable();
            prop_assert_eq!(room, naive(&lengths, 20));
        }
    }
}
