//! How far texts are each other's.

use std::collections::{BTreeMap, BTreeSet};

use rein_data::diversity::words;

/// Words in a row that are compared.
const N_WORDS: usize = 3;

/// Of each text, the share of its distinct n-grams that the text has which shares most of them with it: 1 for what comes
/// twice, 0 for what has nothing in common with any other.
///
/// N-grams have three [`words`]; a shorter text is one n-gram. In time that grows with the pairs of texts that share
/// one.
pub fn overlaps<T: AsRef<str>>(texts: &[T]) -> Vec<f64> {
    let grams: Vec<BTreeSet<Vec<&str>>> = texts.iter().map(|it| grams(it.as_ref())).collect();
    let mut holders: BTreeMap<&[&str], Vec<usize>> = BTreeMap::new();
    for (text, grams) in grams.iter().enumerate() {
        grams.iter().for_each(|it| holders.entry(it).or_default().push(text));
    }
    let overlap = |(text, own): (usize, &BTreeSet<Vec<&str>>)| {
        let mut shared = vec![0_usize; texts.len()];
        own.iter().flat_map(|it| &holders[&it[..]]).for_each(|other| shared[*other] += 1);
        shared[text] = 0;
        shared.into_iter().max().unwrap_or(0) as f64 / own.len().max(1) as f64
    };
    grams.iter().enumerate().map(overlap).collect()
}

fn grams(text: &str) -> BTreeSet<Vec<&str>> {
    let words: Vec<&str> = words(text).collect();
    let n = words.len().clamp(1, N_WORDS);
    words.windows(n).map(<[&str]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_most_is_shared_with_counts() {
        // abc bcd cde | bcd cde def | xyz: two of three, whatever a third text has.
        let texts = ["a b c d e", "b c d e f", "x y z", "c d e"];
        assert_eq!(overlaps(&texts), [2.0 / 3.0, 2.0 / 3.0, 0.0, 1.0]);
        assert_eq!(overlaps(&["so it goes", "so it goes"]), [1.0, 1.0]);
        assert_eq!(overlaps(&["no no no no", "yes"]), [0.0, 0.0]);
    }

    #[test]
    fn short_texts_and_none_have_an_overlap_too() {
        assert_eq!(overlaps(&["hi", "hi", "hi there", ""]), [1.0, 1.0, 0.0, 0.0]);
        assert_eq!(overlaps::<&str>(&[]), [0.0; 0]);
        assert_eq!(overlaps(&["a b c d"]), [0.0]);
    }
}
