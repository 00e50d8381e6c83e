//! Several data sets as one.
//!
//! Each row of the mixture is drawn from one of the sets, at random: a set's weight divided by the sum
//! of all weights is the probability, and so the share of rows in the long run, however many rows the
//! set has. Within a set, rows come in their order. The draws follow from a seed.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::DataError;
use crate::seed::Seed;

/// When a mixture ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// With the first set that has no more rows: no row comes twice, and some of the others don't come
    /// at all.
    #[default]
    FirstExhausted,
    /// When every set has come to its end once: smaller ones begin again until then.
    AllExhausted,
}

/// Rows of several sets, see the [module](self).
#[derive(Debug)]
pub struct Mix<F, I> {
    sets: Vec<Set<F, I>>,
    until: Until,
    draws: ChaCha8Rng,
    is_over: bool,
}

#[derive(Debug)]
struct Set<F, I> {
    /// Begins at the first row.
    open: F,
    rows: I,
    /// The share of this set and those before it.
    upto: f64,
    is_exhausted: bool,
}

impl<T, F, I> Mix<F, I>
where
    F: FnMut() -> Result<I, DataError>,
    I: Iterator<Item = Result<T, DataError>>,
{
    /// Mixes sets, each given by a weight above 0 and by what opens it at its first row.
    ///
    /// # Errors
    /// Weights that aren't finite and above 0, and those of opening.
    pub fn new(sets: Vec<(f64, F)>, until: Until, seed: Seed) -> Result<Self, DataError> {
        let total: f64 = sets.iter().map(|(weight, _)| weight).sum();
        if sets.iter().any(|(weight, _)| !(*weight > 0.0 && total.is_finite())) {
            return Err(DataError::Invalid("the weights of a mix must be above 0".into()));
        }
        let mut upto = 0.0;
        let open = |(weight, mut open): (f64, F)| {
            upto += weight / total;
            Ok(Set { rows: open()?, open, upto, is_exhausted: false })
        };
        let sets = sets.into_iter().map(open).collect::<Result<Vec<_>, DataError>>()?;
        let is_over = sets.is_empty();
        Ok(Self { sets, until, draws: seed.rng(), is_over })
    }

    fn draw(&mut self) -> usize {
        // The 53 bits that a number of double precision has.
        let place = (self.draws.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        let last = self.sets.len() - 1;
        self.sets.iter().position(|set| place < set.upto).unwrap_or(last)
    }

    /// The next row of a set, or the end of the mixture.
    fn advance(&mut self, set: usize) -> Result<Option<T>, DataError> {
        if let Some(row) = self.sets[set].rows.next() {
            return row.map(Some);
        }
        self.sets[set].is_exhausted = true;
        let ends = self.until == Until::FirstExhausted;
        if ends || self.sets.iter().all(|set| set.is_exhausted) {
            return Ok(None);
        }
        let again = &mut self.sets[set];
        again.rows = (again.open)()?;
        again.rows.next().transpose()
    }
}

impl<T, F, I> Iterator for Mix<F, I>
where
    F: FnMut() -> Result<I, DataError>,
    I: Iterator<Item = Result<T, DataError>>,
{
    type Item = Result<T, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let set = self.draw();
        let row = self.advance(set).transpose();
        self.is_over = row.is_none();
        row
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sets of this many rows with these weights; rows are the set and a number.
    fn mix(sets: &[(f64, usize)], until: Until, seed: u64) -> Vec<(usize, usize)> {
        let open = |(set, (weight, n_rows)): (usize, &(f64, usize))| {
            let n_rows = *n_rows;
            (*weight, move || Ok((0..n_rows).map(move |row| Ok((set, row)))))
        };
        let sets = sets.iter().enumerate().map(open).collect();
        let rows = Mix::new(sets, until, Seed::new(seed)).expect("mixes");
        rows.collect::<Result<_, _>>().expect("reads")
    }

    fn count(rows: &[(usize, usize)], set: usize) -> usize {
        rows.iter().filter(|row| row.0 == set).count()
    }

    #[test]
    fn a_weight_is_the_share_of_rows_drawn() {
        let rows = mix(&[(3.0, 90_000), (1.0, 90_000)], Until::FirstExhausted, 1);
        // Ends with the heavier set. The share is a quarter, within four standard deviations.
        assert_eq!(count(&rows, 0), 90_000);
        let share = count(&rows, 1) as f64 / rows.len() as f64;
        let deviation = (0.25 * 0.75 / rows.len() as f64).sqrt();
        assert!((share - 0.25).abs() < 4.0 * deviation, "{share}");
        let second: Vec<usize> = rows.iter().filter(|row| row.0 == 1).map(|row| row.1).collect();
        assert_eq!(second, (0..second.len()).collect::<Vec<_>>());
    }

    #[test]
    fn the_seed_decides() {
        let sets = [(1.0, 50), (1.0, 50)];
        let until = Until::FirstExhausted;
        assert_eq!(mix(&sets, until, 1), mix(&sets, until, 1));
        assert_ne!(mix(&sets, until, 1), mix(&sets, until, 2));
    }

    #[test]
    fn smaller_sets_begin_again_until_all_are_exhausted() {
        let rows = mix(&[(1.0, 3), (1.0, 40)], Until::AllExhausted, 5);
        assert_eq!(count(&rows, 1), 40);
        let first: Vec<usize> = rows.iter().filter(|row| row.0 == 0).map(|row| row.1).collect();
        assert!(first.len() > 3);
        assert!(first.iter().enumerate().all(|(place, row)| *row == place % 3), "{first:?}");
        assert_eq!(mix(&[(1.0, 4)], Until::AllExhausted, 1).len(), 4);
        assert_eq!(mix(&[], Until::AllExhausted, 1), []);
    }

    #[test]
    fn weights_must_be_above_0() {
        for weight in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let sets = vec![(weight, || Ok(std::iter::empty::<Result<u8, DataError>>()))];
            assert!(Mix::new(sets, Until::FirstExhausted, Seed::new(1)).is_err(), "{weight}");
        }
    }
}
