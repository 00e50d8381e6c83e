use std::cmp::Reverse;

use super::pair_counts::PairCounts;

/// Ranked pairs (Tideman, 1987): of each two items, the one that more people put first goes before the other, the
/// largest number of such people first, unless that closes a circle. Where numbers are equal, fewer people against
/// come first, then lower indices. Best item first.
pub fn tideman(counts: &PairCounts) -> Vec<usize> {
    let n_items = counts.n_items();
    // Whether an item is known to come before another, by way of others if need be.
    let mut comes_before = vec![vec![false; n_items]; n_items];
    for (winner, loser) in ranked_pairs(counts) {
        if !comes_before[winner][loser] && !comes_before[loser][winner] {
            lock(&mut comes_before, winner, loser);
        }
    }
    order(&comes_before)
}

/// Pairs with a majority, the largest first.
fn ranked_pairs(counts: &PairCounts) -> Vec<(usize, usize)> {
    let items = 0..counts.n_items();
    let pairs = items.clone().flat_map(|a| items.clone().map(move |b| (a, b)));
    let mut won: Vec<(usize, usize)> =
        pairs.filter(|(a, b)| counts.before(*a, *b) > counts.before(*b, *a)).collect();
    won.sort_by_key(|(a, b)| (Reverse(counts.before(*a, *b)), counts.before(*b, *a)));
    won
}

/// Whatever comes before the winner, and itself, now comes before the loser and whatever comes after that.
fn lock(comes_before: &mut [Vec<bool>], winner: usize, loser: usize) {
    let mut after = comes_before[loser].clone();
    after[loser] = true;
    for (item, row) in comes_before.iter_mut().enumerate() {
        if item == winner || row[winner] {
            row.iter_mut().zip(&after).for_each(|(it, after)| *it |= after);
        }
    }
}

/// At each place the lowest index that nothing left comes before.
fn order(comes_before: &[Vec<bool>]) -> Vec<usize> {
    let n_items = comes_before.len();
    let mut left: Vec<usize> = (0..n_items).collect();
    let mut order = Vec::with_capacity(n_items);
    while !left.is_empty() {
        let is_first = |item: &&usize| left.iter().all(|other| !comes_before[*other][**item]);
        let next = *left.iter().find(is_first).expect("circles aren't locked");
        left.retain(|item| *item != next);
        order.push(next);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::super::ranking::Ranking;
    use super::*;

    #[test]
    fn the_weakest_side_of_a_circle_is_left_out() {
        // 3 people: 0 > 1 > 2, 2 people: 1 > 2 > 0, 1 person: 2 > 0 > 1. 1 beats 2 by 5, 0 beats 1 by 4, 2 ties 0.
        let rankings = [vec![[1, 2, 3]; 3], vec![[3, 1, 2]; 2], vec![[2, 3, 1]; 1]].concat();
        let rankings: Vec<Ranking> =
            rankings.iter().map(|it| Ranking::of_ranks(it).expect("few items")).collect();
        assert_eq!(tideman(&PairCounts::new(&rankings, 3).expect("items")), [0, 1, 2]);
    }

    #[test]
    fn items_nobody_ranked_keep_their_order() {
        assert_eq!(tideman(&PairCounts::new(&[], 3).expect("items")), [0, 1, 2]);
    }
}
