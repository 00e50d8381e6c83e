//! Features of completions that people can read.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rein_data::example::Completion;
use serde::{Deserialize, Serialize};

use super::max_ent::Sparse;
use crate::bag_of_words::words;

/// Words that make one unit of the feature `length`.
const WORDS_OF_LENGTH: f64 = 10.0;

/// Which features of a completion are looked at. Words are in lower case; marks are words of their own.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FeaturesConfig {
    /// `word:tired`: how often a word is there.
    pub words: bool,
    /// `pair:never tired`: how often two words follow each other. `<start>` stands before the first word, and
    /// `<end>` behind the last one of a completion that ended by itself.
    pub pairs: bool,
    /// `given:slow word:upstairs`: 1 where the prompt has the one word and the completion the other.
    pub given: bool,
    /// `length`: the number of words, in tens.
    pub length: bool,
    /// `finished`: 1 where the completion ended by itself.
    pub ending: bool,
    /// Features that fewer completions have are left out.
    pub min_count: usize,
    /// Of more than so many features, those that most completions have are kept.
    pub max_features: usize,
}

impl Default for FeaturesConfig {
    fn default() -> Self {
        Self {
            words: true,
            pairs: true,
            given: true,
            length: true,
            ending: true,
            min_count: 5,
            max_features: 4096,
        }
    }
}

impl FeaturesConfig {
    /// What is wrong with these settings, each with its key below `section`.
    pub fn problems(&self, section: &str) -> Vec<String> {
        let mut problems = Vec::new();
        if ![self.words, self.pairs, self.given, self.length, self.ending].contains(&true) {
            problems.push(format!("`{section}` looks at no feature: set one of them to true"));
        }
        if self.max_features == 0 {
            problems.push(format!("`{section}.max_features` must be above 0"));
        }
        problems
    }

    /// What there is of each feature, by its name; what there is none of is left out.
    pub fn count(&self, completion: &Completion) -> BTreeMap<String, f64> {
        let said: Vec<String> = words(&completion.text).collect();
        let mut counts = BTreeMap::new();
        let mut add = |name: String, amount: f64| *counts.entry(name).or_insert(0.0) += amount;
        if self.words {
            said.iter().for_each(|word| add(format!("word:{word}"), 1.0));
        }
        if self.pairs {
            let end = completion.finished.then_some("<end>");
            let all = ["<start>"].into_iter().chain(said.iter().map(String::as_str)).chain(end);
            let all: Vec<&str> = all.collect();
            all.windows(2).for_each(|pair| add(format!("pair:{} {}", pair[0], pair[1]), 1.0));
        }
        if self.given {
            let asked: BTreeSet<String> = words(&completion.prompt).collect();
            let said: BTreeSet<&String> = said.iter().collect();
            for (asked, said) in
                asked.iter().flat_map(|asked| said.iter().map(move |it| (asked, it)))
            {
                add(format!("given:{asked} word:{said}"), 1.0);
            }
        }
        if self.length && !said.is_empty() {
            add("length".into(), said.len() as f64 / WORDS_OF_LENGTH);
        }
        if self.ending && completion.finished {
            add("finished".into(), 1.0);
        }
        counts
    }
}

/// The features that a fit knows, in the order of their names.
#[derive(Clone, Debug)]
pub(super) struct Vocabulary {
    pub(super) names: Vec<String>,
    places: HashMap<String, usize>,
}

impl Vocabulary {
    /// Those of some completions' features that are frequent enough.
    pub(super) fn of<'a>(
        completions: impl Iterator<Item = &'a BTreeMap<String, f64>>,
        config: &FeaturesConfig,
    ) -> Self {
        let mut n_with: BTreeMap<&str, usize> = BTreeMap::new();
        for name in completions.flat_map(BTreeMap::keys) {
            *n_with.entry(name).or_default() += 1;
        }
        let mut frequent: Vec<(&str, usize)> =
            n_with.into_iter().filter(|(_, count)| *count >= config.min_count).collect();
        // Of equally frequent ones, the first in the alphabet: the sort is stable.
        frequent.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        frequent.truncate(config.max_features);
        let mut names: Vec<String> =
            frequent.into_iter().map(|(name, _)| name.to_owned()).collect();
        names.sort_unstable();
        let places = names.iter().cloned().enumerate().map(|(place, name)| (name, place)).collect();
        Self { names, places }
    }

    /// A completion's features, of those that are known.
    pub(super) fn sparse(&self, counts: &BTreeMap<String, f64>) -> Sparse {
        let known = |(name, count): (&String, &f64)| Some((*self.places.get(name)?, *count));
        counts.iter().filter_map(known).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_named_by_what_people_read() {
        let completion = Completion {
            prompt: "Slow!".into(),
            text: " Never, never.".into(),
            finished: true,
            ..Completion::default()
        };
        let config = FeaturesConfig::default();
        let want = [
            ("finished", 1.0),
            ("given:! word:,", 1.0),
            ("given:! word:.", 1.0),
            ("given:! word:never", 1.0),
            ("given:slow word:,", 1.0),
            ("given:slow word:.", 1.0),
            ("given:slow word:never", 1.0),
            ("length", 0.4),
            ("pair:, never", 1.0),
            ("pair:. <end>", 1.0),
            ("pair:<start> never", 1.0),
            ("pair:never ,", 1.0),
            ("pair:never .", 1.0),
            ("word:,", 1.0),
            ("word:.", 1.0),
            ("word:never", 2.0),
        ];
        let counts = config.count(&completion);
        let got: Vec<(&str, f64)> = counts.iter().map(|(name, it)| (name.as_str(), *it)).collect();
        assert_eq!(got, want);
        let cut = config.count(&Completion { finished: false, ..completion });
        assert!(!cut.contains_key("finished") && !cut.contains_key("pair:. <end>"));
        let [once, twice] = [[&cut, &counts], [&counts, &counts]];
        let frequent = FeaturesConfig { min_count: 2, max_features: 3, ..config };
        let names =
            |of: [&BTreeMap<String, f64>; 2]| Vocabulary::of(of.into_iter(), &frequent).names;
        // All but one are equally frequent, so that the alphabet decides.
        assert_eq!(names(once), ["given:! word:,", "given:! word:.", "given:! word:never"]);
        assert_eq!(names(twice)[0], "finished");
    }
}
