//! One order from many people's rankings.
//!
//! [`Ranking`] is what one person said, with ties; [`PairCounts`] how many put one item before another. [`consensus`]
//! is the order that contradicts them least (Kemeny's), which is found exactly for few items, and for more of them
//! Tideman's ranked pairs.

mod borda;
mod kemeny;
mod pair_counts;
mod ranking;
mod tau;
mod tideman;

pub use borda::borda;
pub use kemeny::{Kemeny, MAX_KEMENY_ITEMS, kemeny};
pub use pair_counts::PairCounts;
pub use ranking::{Pairs, Ranking};
pub use tau::{kendall_tau, kendall_tau_b};
pub use tideman::tideman;

use crate::error::FeedbackError;

/// An order of all items, and how far people agree with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Agreed {
    /// The items, best first.
    pub order: Vec<usize>,
    /// How it was found.
    pub method: Method,
    /// Mean Kendall τ_b of the rankings with the order, over those for which it is defined; none if it is for none.
    pub mean_tau: Option<f64>,
}

/// How an order is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// [`kemeny`], up to [`MAX_KEMENY_ITEMS`] items.
    Kemeny,
    /// [`tideman`]
    Tideman,
}

/// The order of items `0..n_items` that rankings agree on best.
///
/// # Errors
/// As [`PairCounts::new`].
pub fn consensus(rankings: &[Ranking], n_items: usize) -> Result<Agreed, FeedbackError> {
    let counts = PairCounts::new(rankings, n_items)?;
    let (order, method) = match kemeny(&counts) {
        Some(kemeny) => (kemeny.order, Method::Kemeny),
        None => (tideman(&counts), Method::Tideman),
    };
    let mut place = vec![0.0; n_items];
    order.iter().enumerate().for_each(|(at, item)| place[*item] = at as f64);
    let taus: Vec<f64> = rankings.iter().filter_map(|ranking| tau_with(ranking, &place)).collect();
    let mean = taus.iter().sum::<f64>() / taus.len() as f64;
    Ok(Agreed { order, method, mean_tau: (!taus.is_empty()).then_some(mean) })
}

fn tau_with(ranking: &Ranking, place: &[f64]) -> Option<f64> {
    let (ranks, places): (Vec<f64>, Vec<f64>) =
        ranking.ranks().into_iter().map(|(item, rank)| (rank as f64, place[item])).unzip();
    kendall_tau_b(&ranks, &places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nine_items_are_ordered_by_tideman() {
        let ranking =
            Ranking::new((0..9).rev().map(|item| vec![item]).collect()).expect("no item twice");
        let agreed = consensus(&[ranking], 9).expect("items below 9");
        assert_eq!(agreed.order, [8, 7, 6, 5, 4, 3, 2, 1, 0]);
        assert_eq!((agreed.method, agreed.mean_tau), (Method::Tideman, Some(1.0)));
    }

    #[test]
    fn nobody_and_nothing_agree_on_nothing() {
        let agreed = consensus(&[], 0).expect("nothing to order");
        assert_eq!((agreed.order, agreed.mean_tau), (Vec::new(), None));
    }
}
