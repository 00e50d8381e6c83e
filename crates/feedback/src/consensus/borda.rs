use super::ranking::Ranking;
use crate::consensus::PairCounts;
use crate::error::FeedbackError;

/// Borda's points of items `0..n_items`: in each ranking an item has one for every item below it, and half a point
/// for every one beside it. Items that a ranking leaves out have none.
///
/// # Errors
/// As [`PairCounts::new`].
pub fn borda(rankings: &[Ranking], n_items: usize) -> Result<Vec<f64>, FeedbackError> {
    PairCounts::new(rankings, n_items)?;
    let mut points = vec![0.0; n_items];
    for ranking in rankings {
        let mut n_below = ranking.n_items();
        for group in ranking.groups() {
            n_below -= group.len();
            let beside = 0.5 * (group.len() - 1) as f64;
            group.iter().for_each(|item| points[*item] += n_below as f64 + beside);
        }
    }
    Ok(points)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_beside_each_other_share_points() {
        let rankings: [&[u32]; 2] = [&[1, 2, 2, 3], &[2, 1]];
        let rankings = rankings.map(|it| Ranking::of_ranks(it).expect("few items"));
        assert_eq!(borda(&rankings, 4).expect("its items"), [3.0, 2.5, 1.5, 0.0]);
    }
}
