use std::collections::{BTreeMap, BTreeSet};

use crate::error::FeedbackError;

/// A ranking of so many items has half a million pairs.
const MAX_ITEMS: usize = 1024;

/// One person's order of some items: groups of equally good ones, best first. Items are indices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranking {
    groups: Vec<Vec<usize>>,
}

/// All `K (K − 1) / 2` pairs of a ranking of `K` items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pairs {
    /// The better item and the worse one.
    pub preferred: Vec<[usize; 2]>,
    /// Equally good ones, the lower index first; they say nothing to a model of pairs.
    pub tied: Vec<[usize; 2]>,
}

impl Ranking {
    /// A ranking of groups, best first.
    ///
    /// # Errors
    /// Where an item occurs twice or a group is empty, and above 1024 items.
    pub fn new(mut groups: Vec<Vec<usize>>) -> Result<Self, FeedbackError> {
        check_size(groups.iter().map(Vec::len).sum())?;
        let mut seen = BTreeSet::new();
        if let Some(twice) = groups.iter().flatten().find(|item| !seen.insert(**item)) {
            return Err(FeedbackError::Invalid(format!(
                "item {twice} is ranked twice; rank it once"
            )));
        }
        if let Some(empty) = groups.iter().position(Vec::is_empty) {
            let what = format!("rank {} holds no item; leave it out", empty + 1);
            return Err(FeedbackError::Invalid(what));
        }
        groups.iter_mut().for_each(|group| group.sort_unstable());
        Ok(Self { groups })
    }

    /// The ranking in which item `i` has rank `ranks[i]`: the lower, the better; ties share a rank, and gaps between
    /// ranks say nothing.
    ///
    /// # Errors
    /// Above 1024 items.
    pub fn of_ranks(ranks: &[u32]) -> Result<Self, FeedbackError> {
        check_size(ranks.len())?;
        let mut groups: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (item, rank) in ranks.iter().enumerate() {
            groups.entry(*rank).or_default().push(item);
        }
        Ok(Self { groups: groups.into_values().collect() })
    }

    /// The groups, best first, each in ascending order.
    pub fn groups(&self) -> &[Vec<usize>] {
        &self.groups
    }

    /// How many items are ranked.
    pub fn n_items(&self) -> usize {
        self.groups.iter().map(Vec::len).sum()
    }

    /// Each item and its group's place from 0.
    pub fn ranks(&self) -> Vec<(usize, usize)> {
        let groups = self.groups.iter().enumerate();
        groups.flat_map(|(rank, group)| group.iter().map(move |item| (*item, rank))).collect()
    }

    /// All pairs (InstructGPT: Ouyang et al., 2022, section 3.5, where the pairs of one prompt share a batch element
    /// and a weight of 1).
    pub fn pairs(&self) -> Pairs {
        let ranks = self.ranks();
        let (mut preferred, mut tied) = (Vec::new(), Vec::new());
        for (at, (item, rank)) in ranks.iter().enumerate() {
            for (other, other_rank) in &ranks[at + 1..] {
                let pairs = if rank == other_rank { &mut tied } else { &mut preferred };
                pairs.push([*item, *other]);
            }
        }
        Pairs { preferred, tied }
    }
}

pub(super) fn check_size(n_items: usize) -> Result<(), FeedbackError> {
    if n_items <= MAX_ITEMS {
        return Ok(());
    }
    let what = format!("{n_items} items are too many to order; the limit is {MAX_ITEMS}");
    Err(FeedbackError::Invalid(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_ranks_are_a_group() {
        let ranking = Ranking::of_ranks(&[2, 7, 2, 1]).expect("few items");
        assert_eq!(ranking.groups(), [vec![3], vec![0, 2], vec![1]]);
        assert_eq!(ranking.n_items(), 4);
    }

    #[test]
    fn long_lists_are_refused() {
        let error = Ranking::of_ranks(&[1; 1025]).expect_err("one more than the limit");
        assert_eq!(error.to_string(), "1025 items are too many to order; the limit is 1024");
    }

    #[test]
    fn an_item_has_one_place() {
        let error = Ranking::new(vec![vec![1], vec![0, 1]]).expect_err("1 is there twice");
        assert_eq!(error.to_string(), "item 1 is ranked twice; rank it once");
        let error = Ranking::new(vec![vec![1], vec![]]).expect_err("nothing is second");
        assert_eq!(error.to_string(), "rank 2 holds no item; leave it out");
    }
}
