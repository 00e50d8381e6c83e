use super::pair_counts::PairCounts;

/// Up to how many items [`kemeny`] orders: its work doubles with each.
pub const MAX_KEMENY_ITEMS: usize = 8;

/// The orders of all items that contradict the fewest pairs of the rankings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kemeny {
    /// Such an order, best first: among several, the one that begins with the lowest indices.
    pub order: Vec<usize>,
    /// How many pairs of rankings it contradicts. A tie contradicts nothing.
    pub n_disagreements: u64,
    /// How many orders contradict as few.
    pub n_orders: u64,
}

/// Kemeny's order (Kemeny, 1959), exactly, by dynamic programming over sets of items: the cost of placing a set last is
/// the least, over its members, of placing that member first of the set. None above [`MAX_KEMENY_ITEMS`] items.
pub fn kemeny(counts: &PairCounts) -> Option<Kemeny> {
    let n_items = counts.n_items();
    if n_items > MAX_KEMENY_ITEMS {
        return None;
    }
    let mut best = vec![Best { cost: 0, n_orders: 1, first: 0 }; 1 << n_items];
    for set in 1..best.len() {
        best[set] = best_first(counts, set, &best);
    }
    let mut set = best.len() - 1;
    let Best { cost: n_disagreements, n_orders, .. } = best[set];
    let mut order = Vec::with_capacity(n_items);
    while set != 0 {
        let first = best[set].first;
        order.push(first);
        set &= !(1 << first);
    }
    Some(Kemeny { order, n_disagreements, n_orders })
}

/// The best order of a set of items.
#[derive(Clone, Copy)]
struct Best {
    cost: u64,
    n_orders: u64,
    first: usize,
}

fn best_first(counts: &PairCounts, set: usize, best: &[Best]) -> Best {
    let mut found = Best { cost: u64::MAX, n_orders: 0, first: 0 };
    for first in members(set) {
        let rest = set & !(1 << first);
        let against: u64 = members(rest).map(|item| counts.before(item, first)).sum();
        let cost = best[rest].cost + against;
        if cost < found.cost {
            found = Best { cost, n_orders: best[rest].n_orders, first };
        } else if cost == found.cost {
            found.n_orders += best[rest].n_orders;
        }
    }
    found
}

fn members(set: usize) -> impl Iterator<Item = usize> {
    (0..MAX_KEMENY_ITEMS).filter(move |item| set & (1 << item) != 0)
}

#[cfg(test)]
mod tests {
    use super::super::ranking::Ranking;
    use super::*;

    fn of(rankings: &[&[u32]], n_items: usize) -> Kemeny {
        let rankings: Vec<Ranking> =
            rankings.iter().map(|it| Ranking::of_ranks(it).expect("few items")).collect();
        kemeny(&PairCounts::new(&rankings, n_items).expect("its items")).expect("few items")
    }

    #[test]
    fn a_circle_has_three_best_orders() {
        // 0 > 1 > 2, 1 > 2 > 0, 2 > 0 > 1: each order that follows the circle contradicts 1 + 1 + 2 pairs.
        let found = of(&[&[1, 2, 3], &[3, 1, 2], &[2, 3, 1]], 3);
        assert_eq!(found, Kemeny { order: vec![0, 1, 2], n_disagreements: 4, n_orders: 3 });
    }

    #[test]
    fn ties_contradict_nothing() {
        // 0 and 1 before 2, and 0 before 1 and 2.
        let found = of(&[&[1, 1, 2], &[1, 2, 2]], 3);
        assert_eq!(found, Kemeny { order: vec![0, 1, 2], n_disagreements: 0, n_orders: 1 });
    }

    #[test]
    fn it_costs_what_the_best_of_all_permutations_costs() {
        let rankings: [&[u32]; 4] =
            [&[3, 1, 2, 5, 4], &[1, 1, 4, 2, 3], &[5, 4, 3, 2, 1], &[2, 3, 1, 1, 4]];
        let lists: Vec<Ranking> =
            rankings.iter().map(|it| Ranking::of_ranks(it).expect("few items")).collect();
        let counts = PairCounts::new(&lists, 5).expect("five items");
        let cost = |order: &[usize]| -> u64 {
            let pairs = order.iter().enumerate();
            pairs.flat_map(|(at, a)| order[at + 1..].iter().map(|b| counts.before(*b, *a))).sum()
        };
        let costs: Vec<u64> = permutations(5).iter().map(|it| cost(it)).collect();
        let least = *costs.iter().min().expect("120 orders");
        let found = of(&rankings, 5);
        assert_eq!((found.n_disagreements, cost(&found.order)), (least, least));
        assert_eq!(found.n_orders, costs.iter().filter(|it| **it == least).count() as u64);
    }

    fn permutations(n: usize) -> Vec<Vec<usize>> {
        if n == 0 {
            return vec![Vec::new()];
        }
        let shorter = permutations(n - 1);
        let insert = |at: usize, list: &Vec<usize>| {
            let mut list = list.clone();
            list.insert(at, n - 1);
            list
        };
        shorter.iter().flat_map(|list| (0..n).map(move |at| insert(at, list))).collect()
    }
}
