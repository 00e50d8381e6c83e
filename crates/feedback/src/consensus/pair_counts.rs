use super::ranking::{Ranking, check_size};
use crate::error::FeedbackError;

/// How many people put one item before another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairCounts {
    n_items: usize,
    before: Vec<u64>,
}

impl PairCounts {
    /// Counts the rankings' pairs of items `0..n_items`. Ties, and items that a ranking leaves out, count for neither
    /// side.
    ///
    /// # Errors
    /// Where a ranking has other items, and above 1024 items.
    pub fn new(rankings: &[Ranking], n_items: usize) -> Result<Self, FeedbackError> {
        check_size(n_items)?;
        let mut counts = Self { n_items, before: vec![0; n_items * n_items] };
        for (number, ranking) in rankings.iter().enumerate() {
            if let Some(item) = ranking.groups().iter().flatten().find(|item| **item >= n_items) {
                let (row, last) = (number + 1, n_items as i64 - 1);
                let what =
                    format!("ranking {row}: there is no item {item}; the last one is {last}");
                return Err(FeedbackError::Invalid(what));
            }
            for [better, worse] in ranking.pairs().preferred {
                counts.before[better * n_items + worse] += 1;
            }
        }
        Ok(counts)
    }

    /// How many items there are.
    pub fn n_items(&self) -> usize {
        self.n_items
    }

    /// How many put `item` before `other`.
    pub fn before(&self, item: usize, other: usize) -> u64 {
        self.before[item * self.n_items + other]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_items_are_refused() {
        let ranking = Ranking::of_ranks(&[1, 2, 3]).expect("3 items");
        let error = PairCounts::new(&[ranking], 2).expect_err("it ranks item 2");
        assert_eq!(error.to_string(), "ranking 1: there is no item 2; the last one is 1");
    }
}
