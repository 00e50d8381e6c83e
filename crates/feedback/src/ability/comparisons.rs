use std::collections::BTreeMap;

use crate::aggregate::votes::{place, sorted};
use crate::error::FeedbackError;

/// What came of a comparison, by the side on which items were shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// The left (first) item is better.
    Left,
    /// The right (second) item is better.
    Right,
    /// Neither is.
    Tie,
}

/// Two items that somebody compared. Anything with an order can be a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Comparison<I = usize, W = usize> {
    /// The item shown on the left, or first.
    pub left: I,
    /// The other one.
    pub right: I,
    /// Who compared them.
    pub worker: W,
    /// What they said.
    pub outcome: Outcome,
}

/// All comparisons, counted by items, side, worker and outcome: their order is forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparisons {
    n_items: usize,
    n_workers: usize,
    counts: BTreeMap<Comparison, u64>,
}

impl Comparisons {
    /// Counts comparisons; beside them the items and the workers in ascending order, at their indices.
    ///
    /// # Errors
    /// Where an item was compared with itself.
    pub fn new<I: Ord + Clone, W: Ord + Clone>(
        rows: &[Comparison<I, W>],
    ) -> Result<(Self, Vec<I>, Vec<W>), FeedbackError> {
        if let Some(row) = rows.iter().position(|it| it.left == it.right) {
            let what =
                format!("comparison {}: an item is compared with itself; leave it out", row + 1);
            return Err(FeedbackError::Invalid(what));
        }
        let items = sorted(rows.iter().flat_map(|it| [&it.left, &it.right]));
        let workers = sorted(rows.iter().map(|it| &it.worker));
        let mut counts = BTreeMap::new();
        for row in rows {
            let [left, right] = [&row.left, &row.right].map(|it| place(&items, it));
            let worker = place(&workers, &row.worker);
            let index = Comparison { left, right, worker, outcome: row.outcome };
            *counts.entry(index).or_insert(0) += 1;
        }
        Ok((Self { n_items: items.len(), n_workers: workers.len(), counts }, items, workers))
    }

    /// How many items there are.
    pub fn n_items(&self) -> usize {
        self.n_items
    }

    /// How many workers there are.
    pub fn n_workers(&self) -> usize {
        self.n_workers
    }

    /// How often each comparison had its outcome.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&Comparison, f64)> {
        self.counts.iter().map(|(comparison, count)| (comparison, *count as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_are_counted_by_side_and_worker() {
        let row = |left, right| Comparison { left, right, worker: 'w', outcome: Outcome::Left };
        let (counted, items, _) =
            Comparisons::new(&[row("b", "a"), row("a", "b"), row("b", "a")]).expect("two items");
        assert_eq!(items, ["a", "b"]);
        let counts: Vec<_> = counted.counts().map(|(it, n)| (it.left, it.right, n)).collect();
        assert_eq!(counts, [(0, 1, 1.0), (1, 0, 2.0)]);
    }

    #[test]
    fn an_item_isnt_compared_with_itself() {
        let row = |left, right| Comparison { left, right, worker: 0, outcome: Outcome::Tie };
        let error = Comparisons::new(&[row(1, 2), row(2, 2)]).expect_err("row 2 compares 2 and 2");
        assert!(error.to_string().starts_with("comparison 2:"), "{error}");
    }
}
