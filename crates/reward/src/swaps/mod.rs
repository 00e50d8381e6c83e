//! Texts with other names, genders and groups in them, and what a model makes of the difference.
//!
//! A fair judge scores both alike unless the word matters. Word lists are blunt: a swap can make a sentence odd
//! ("his beard"), so look at texts before you trust a mean. The lists stand in `words.txt`.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde::Serialize;

use crate::report::mean_interval;

const WORDS: &str = include_str!("words.txt");

/// Words of two groups that take each other's place.
#[derive(Clone, Debug)]
pub struct Swap {
    name: &'static str,
    groups: [&'static str; 2],
    /// Each word's partner, and whether it is one of the first group's.
    partners: HashMap<&'static str, (&'static str, bool)>,
}

/// A text whose words of both groups changed places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swapped {
    /// The text.
    pub text: String,
    /// Words of the first group that went.
    pub n_first: usize,
    /// Words of the second group that went.
    pub n_second: usize,
}

/// How numbers that texts got (scores, log-probabilities) change under a swap.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The swap's name.
    pub swap: String,
    /// Its groups.
    pub groups: [String; 2],
    /// Texts that it changed.
    pub n_texts: usize,
    /// Mean number with the second group's words less that with the first one's, over texts with more words of one
    /// group than of the other.
    pub mean: f64,
    /// Lower end of its 95 % t interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Mean size of the change over all texts, whichever way.
    pub mean_size: f64,
}

/// All swaps, in the order of the list.
pub fn all() -> &'static [Swap] {
    static ALL: LazyLock<Vec<Swap>> = LazyLock::new(|| parse(WORDS));
    &ALL
}

fn parse(words: &'static str) -> Vec<Swap> {
    let mut swaps: Vec<Swap> = Vec::new();
    for line in words.lines().map(str::trim).filter(|it| !it.is_empty() && !it.starts_with('#')) {
        if let Some(title) = line.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
            let (name, groups) =
                title.split_once(": ").expect("a title names a swap and its groups");
            let (first, second) = groups.split_once(", ").expect("a swap has two groups");
            swaps.push(Swap { name, groups: [first, second], partners: HashMap::new() });
            continue;
        }
        let (first, second) = line.split_once(' ').expect("two words stand on a line");
        let partners = &mut swaps.last_mut().expect("a title comes first").partners;
        partners.insert(first, (second, true));
        partners.insert(second, (first, false));
    }
    swaps
}

impl Swap {
    /// What is swapped: `gender`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The text with the words of both groups in each other's place, in the case that they had; `None` where there
    /// are none.
    pub fn apply(&self, text: &str) -> Option<Swapped> {
        let mut swapped =
            Swapped { text: String::with_capacity(text.len()), n_first: 0, n_second: 0 };
        let mut rest = text;
        while !rest.is_empty() {
            let n_word = rest.find(|it: char| !it.is_alphanumeric()).unwrap_or(rest.len());
            let (word, behind) = rest.split_at(n_word);
            match self.partner(&word.to_lowercase(), behind) {
                Some((partner, is_first)) => {
                    swapped.text.push_str(&in_case_of(word, partner));
                    swapped.n_first += usize::from(is_first);
                    swapped.n_second += usize::from(!is_first);
                }
                None => swapped.text.push_str(word),
            }
            let n_between = behind.find(char::is_alphanumeric).unwrap_or(behind.len());
            swapped.text.push_str(&behind[..n_between]);
            rest = &behind[n_between..];
        }
        (swapped.n_first + swapped.n_second > 0).then_some(swapped)
    }

    fn partner(&self, word: &str, behind: &str) -> Option<(&'static str, bool)> {
        if self.name == "gender" {
            match word {
                "him" => return Some(("her", true)),
                "his" if owns(behind) => return Some(("her", true)),
                "his" => return Some(("hers", true)),
                "hers" => return Some(("his", false)),
                "her" if owns(behind) => return Some(("his", false)),
                "her" => return Some(("him", false)),
                _ => {}
            }
        }
        self.partners.get(word).copied()
    }

    /// How numbers changed: for each text what it was swapped into, the number before and the one after.
    pub fn difference(&self, changes: &[(Swapped, f64, f64)]) -> Option<Difference> {
        if changes.is_empty() {
            return None;
        }
        let signed = |(swapped, before, after): &(Swapped, f64, f64)| match swapped
            .n_first
            .cmp(&swapped.n_second)
        {
            std::cmp::Ordering::Greater => Some(after - before),
            std::cmp::Ordering::Less => Some(before - after),
            std::cmp::Ordering::Equal => None,
        };
        let signed: Vec<f64> = changes.iter().filter_map(signed).collect();
        let [mean, low, high] = mean_interval(&signed);
        let sizes = changes.iter().map(|(_, before, after)| (after - before).abs());
        Some(Difference {
            swap: self.name.to_owned(),
            groups: self.groups.map(str::to_owned),
            n_texts: changes.len(),
            mean,
            low,
            high,
            mean_size: sizes.sum::<f64>() / changes.len() as f64,
        })
    }
}

/// Whether "her" or "his" before this belongs to a noun: a word follows at once, and none of those that begin another
/// part of the sentence.
fn owns(behind: &str) -> bool {
    const OTHERS: [&str; 40] = [
        "a", "about", "after", "again", "all", "an", "and", "as", "at", "away", "back", "because",
        "before", "but", "by", "down", "for", "from", "i", "if", "in", "into", "is", "it", "of",
        "off", "on", "or", "out", "so", "than", "that", "the", "to", "up", "was", "when", "who",
        "with", "you",
    ];
    let Some(next) = behind.strip_prefix([' ', '\n']) else { return false };
    let n_word = next.find(|it: char| !it.is_alphanumeric()).unwrap_or(next.len());
    let word = next[..n_word].to_lowercase();
    !word.is_empty() && !OTHERS.contains(&word.as_str())
}

/// `word` as `like` is written: in capitals, with a capital, or as it is.
fn in_case_of(like: &str, word: &str) -> String {
    let is_long = like.chars().count() > 1;
    if is_long && like.chars().all(|it| !it.is_lowercase()) {
        return word.to_uppercase();
    }
    let mut letters = word.chars();
    match letters.next() {
        Some(first) if like.starts_with(char::is_uppercase) => {
            first.to_uppercase().chain(letters).collect()
        }
        _ => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn swap(name: &str) -> &'static Swap {
        all().iter().find(|it| it.name == name).expect("is there")
    }

    #[test]
    fn whole_words_change_places_and_keep_their_case() {
        let gender = swap("gender");
        let check = |text: &str, want: &str| {
            assert_eq!(gender.apply(text).expect("changes").text, want);
        };
        check("He said his father saw him.", "She said her mother saw her.");
        check("She gave her book to her and left.", "He gave his book to him and left.");
        check("That is hers, not HIS!", "That is his, not HERS!");
        check("MEN and the woman's boy", "WOMEN and the man's girl");
        assert_eq!(gender.apply("The theme of heroes: shed, manner, kingdom."), None);
        let religion =
            swap("religion").apply("A Christian church\u{2028}für Muslims").expect("changes");
        assert_eq!(religion.text, "A Muslim mosque\u{2028}für Christians");
        assert_eq!((religion.n_first, religion.n_second), (2, 1));
    }

    #[test]
    fn the_list_is_sound() {
        assert_eq!(all().len(), 8);
        for swap in all() {
            for (word, (partner, is_first)) in &swap.partners {
                assert_eq!(swap.partners[partner], (*word, !is_first), "{word} of {}", swap.name);
                assert!(word.chars().all(|it| it.is_lowercase()), "{word}");
            }
        }
    }

    #[test]
    fn differences_point_from_the_first_group_to_the_second() {
        let gender = swap("gender");
        let of = |text: &str| gender.apply(text).expect("changes");
        // 1 more with "she", whichever it began with; a text with as many of both says nothing of the direction.
        let changes = [(of("he"), 0.0, 1.0), (of("she"), 1.0, 0.0), (of("he she"), 0.0, 4.0)];
        let told = gender.difference(&changes).expect("texts changed");
        assert_eq!(
            (told.n_texts, told.mean, told.low, told.high, told.mean_size),
            (3, 1.0, 1.0, 1.0, 2.0)
        );
        assert_eq!(gender.difference(&[]), None);
    }
}
