//! How long rows are.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Lengths of rows, each with how many have it.
#[derive(Clone, Debug, Default)]
pub(super) struct Lengths(BTreeMap<usize, u64>);

impl Lengths {
    pub(super) fn add(&mut self, length: usize) {
        *self.0.entry(length).or_default() += 1;
    }

    pub(super) fn n_rows(&self) -> u64 {
        self.0.values().sum()
    }

    pub(super) fn n_tokens(&self) -> u64 {
        self.0.iter().map(|(length, count)| *length as u64 * count).sum()
    }

    /// The least length that this share of the rows doesn't exceed; 0 without rows.
    pub(super) fn quantile(&self, share: f64) -> usize {
        let wanted = (share * self.n_rows() as f64).ceil().max(1.0) as u64;
        let mut n_rows = 0;
        let reached = self.0.iter().find(|(_, count)| {
            n_rows += **count;
            n_rows >= wanted
        });
        reached.map_or(0, |(length, _)| *length)
    }

    /// The shortest, half, nine in ten, ninety-nine in a hundred, and the longest.
    pub(super) fn quantiles(&self) -> [usize; 5] {
        [0.0, 0.5, 0.9, 0.99, 1.0].map(|share| self.quantile(share))
    }

    pub(super) fn to_json(&self) -> Value {
        let [min, p50, p90, p99, max] = self.quantiles();
        json!({
            "rows": self.n_rows(), "tokens": self.n_tokens(),
            "min": min, "p50": p50, "p90": p90, "p99": p99, "max": max,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_lengths_that_occur() {
        let mut lengths = Lengths::default();
        assert_eq!(lengths.quantiles(), [0; 5]);
        (1..=100).rev().for_each(|length| lengths.add(10 * length));
        assert_eq!(lengths.quantiles(), [10, 500, 900, 990, 1000]);
        assert_eq!((lengths.n_rows(), lengths.n_tokens()), (100, 50_500));
        lengths.add(7);
        assert_eq!(lengths.quantiles(), [7, 500, 900, 990, 1000]);
    }
}
