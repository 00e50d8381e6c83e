//! What each step of a fine-tuning looks at: sequences of one row, or of several.

use crate::batches::{RowOrder, group_by_length};
use crate::packing::Packing;
use crate::seed::Seed;
use crate::store::TokenStore;

/// How rows become batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batching {
    /// Sequences of one update.
    pub batch_rows: usize,
    /// Sequences of one forward pass.
    pub micro_batch_rows: usize,
    /// Rows share sequences of at most so many tokens. `None`: each row is a sequence.
    pub packed: Option<usize>,
    /// Whether the sequences of a batch are of like length.
    pub group_by_length: bool,
}

/// Rows as sequences, in a seeded and endless order.
///
/// Which rows share a sequence follows from their lengths, and the order from the seed, so that any
/// step can be computed without those before it. Takes at most 20 bytes of memory a row.
#[derive(Clone, Debug)]
pub struct Sequences {
    rows: TokenStore,
    packing: Option<Packing>,
    order: RowOrder,
    batching: Batching,
}

impl Sequences {
    /// The sequences of `rows`, of which there must be some.
    pub fn new(rows: TokenStore, batching: Batching, seed: Seed) -> Self {
        let count = |n_tokens: usize| u32::try_from(n_tokens).expect("a row fits into memory");
        let lengths = |rows: &TokenStore| -> Vec<u32> {
            (0..rows.len()).map(|row| count(rows.n_tokens(row))).collect()
        };
        let packing = batching
            .packed
            .map(|max_tokens| Packing::best_fit_decreasing(&lengths(&rows), max_tokens));
        let n_sequences = packing.as_ref().map_or(rows.len(), Packing::len);
        let order = RowOrder::new(n_sequences, seed);
        let mut sequences = Self { rows, packing, order, batching };
        if batching.group_by_length {
            let lengths = (0..n_sequences).map(|it| count(sequences.n_tokens(it))).collect();
            sequences.order = RowOrder::grouped_by_length(lengths, batching.batch_rows, seed);
        }
        sequences
    }

    /// The rows that the sequences are made of.
    pub fn rows(&self) -> &TokenStore {
        &self.rows
    }

    /// How many sequences there are.
    pub fn len(&self) -> usize {
        self.packing.as_ref().map_or(self.rows.len(), Packing::len)
    }

    /// Whether there are none: never, there are rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows of a sequence.
    pub fn of(&self, sequence: usize) -> Vec<usize> {
        match &self.packing {
            Some(packing) => packing.rows(sequence).collect(),
            None => vec![sequence],
        }
    }

    /// The tokens of a sequence.
    pub fn n_tokens(&self, sequence: usize) -> usize {
        match &self.packing {
            Some(packing) => packing.rows(sequence).map(|row| self.rows.n_tokens(row)).sum(),
            None => self.rows.n_tokens(sequence),
        }
    }

    /// The sequences of step `step`, counted from 0, each a list of rows.
    pub fn batch(&mut self, step: usize) -> Vec<Vec<usize>> {
        self.numbers(step).into_iter().map(|sequence| self.of(sequence)).collect()
    }

    /// The share of padding in the micro-batches of the first `n_steps` steps.
    pub fn padding(&mut self, n_steps: usize) -> f64 {
        let (mut n_tokens, mut n_cells) = (0, 0);
        for step in 0..n_steps {
            for part in self.numbers(step).chunks(self.batching.micro_batch_rows) {
                let lengths = part.iter().map(|sequence| self.n_tokens(*sequence));
                n_tokens += lengths.clone().sum::<usize>();
                n_cells += part.len() * lengths.max().unwrap_or(0);
            }
        }
        1.0 - n_tokens as f64 / n_cells.max(1) as f64
    }

    fn numbers(&mut self, step: usize) -> Vec<usize> {
        let Batching { batch_rows, micro_batch_rows, .. } = self.batching;
        let mut numbers = self.order.batch(step, batch_rows);
        group_by_length(&mut numbers, micro_batch_rows, |sequence| self.n_tokens(sequence));
        numbers
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;
    use crate::encoding::TokenRow;

    const MAX_TOKENS: usize = 64;

    /// Many short rows and some long ones, as people write them.
    fn rows() -> TokenStore {
        let mut rng = Seed::new(5).rng();
        let mut row = || {
            let n_tokens = 2.0 + (MAX_TOKENS as f64 - 2.0) * rng.random::<f64>().powi(3);
            TokenRow::completion(vec![1], &vec![2; n_tokens as usize - 1])
        };
        TokenStore::in_memory((0..400).map(|_| row()).collect())
    }

    fn sequences(packed: bool, group_by_length: bool) -> Sequences {
        let packed = packed.then_some(MAX_TOKENS);
        let batching = Batching { batch_rows: 8, micro_batch_rows: 4, packed, group_by_length };
        Sequences::new(rows(), batching, Seed::new(3))
    }

    #[test]
    fn each_epoch_visits_each_row_once_however_rows_become_batches() {
        for (packed, grouped) in [(false, false), (false, true), (true, false), (true, true)] {
            let mut sequences = sequences(packed, grouped);
            // As many steps as sequences are 8 whole epochs.
            let n_steps = sequences.len();
            let stream: Vec<_> = (0..n_steps).flat_map(|step| sequences.batch(step)).collect();
            let mut visits = vec![0; sequences.rows().len()];
            stream.iter().flatten().for_each(|row| visits[*row] += 1);
            assert!(visits.iter().all(|visits| *visits == 8), "{visits:?}");
            assert_eq!(packed, stream.iter().any(|rows| rows.len() > 1));
        }
    }

    #[test]
    fn a_step_does_not_depend_on_those_before() {
        for (packed, grouped) in [(false, true), (true, false), (true, true)] {
            let mut whole = sequences(packed, grouped);
            let batches: Vec<_> = (0..60).map(|step| whole.batch(step)).collect();
            for step in [59, 0, 17, 31] {
                assert_eq!(sequences(packed, grouped).batch(step), batches[step]);
            }
        }
    }

    #[test]
    fn padding_is_saved() {
        let padding = |packed, grouped| sequences(packed, grouped).padding(50);
        let plain = padding(false, false);
        assert!(padding(false, true) < plain / 2.0, "{plain} {}", padding(false, true));
        assert!(padding(true, false) < 0.05, "{plain} {}", padding(true, false));
    }

    #[test]
    fn without_either_the_rows_come_as_an_order_gives_them() {
        let mut order = RowOrder::new(400, Seed::new(3));
        let mut sequences = sequences(false, false);
        let mut rows = order.batch(7, 8);
        group_by_length(&mut rows, 4, |row| sequences.rows().n_tokens(row));
        assert_eq!(sequences.batch(7).concat(), rows);
    }
}
