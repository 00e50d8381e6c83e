use std::collections::BTreeMap;

/// The share of pairs of answers to the same unit that are equal, over all units; of two people's answers, how often
/// they say the same. Chance is in it. None where no unit has two answers.
pub fn percent<L: Ord>(units: &[Vec<L>]) -> Option<f64> {
    let n_pairs: f64 = units.iter().map(|answers| pairs(answers.len())).sum();
    let n_equal: f64 = units.iter().map(|answers| equal_pairs(answers)).sum();
    (n_pairs > 0.0).then(|| n_equal / n_pairs)
}

fn equal_pairs<L: Ord>(answers: &[L]) -> f64 {
    let mut counts: BTreeMap<&L, usize> = BTreeMap::new();
    answers.iter().for_each(|answer| *counts.entry(answer).or_insert(0) += 1);
    counts.into_values().map(pairs).sum()
}

fn pairs(n: usize) -> f64 {
    0.5 * n as f64 * n.saturating_sub(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_of_answers_are_compared_within_units() {
        // 3 pairs of which 1 is equal, 1 of 1, and none.
        assert_eq!(percent(&[vec!['a', 'a', 'b'], vec!['c', 'c'], vec!['d']]), Some(0.5));
        assert_eq!(percent(&[vec![1], vec![]]), None);
    }
}
