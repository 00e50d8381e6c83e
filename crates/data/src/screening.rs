//! What is wrong with judgements, before anyone learns from them.
//!
//! A judgement of nothing is left out; whatever else is suspicious is kept, counted and told. Judgements are
//! remembered by a hash of their texts, so that a file of any length can be screened in one pass.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::Serialize;

use crate::example::{Body, Content, Example, Labeled, Preference};

/// Why a judgement says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Useless {
    /// All completions that it compares are the same.
    Identical,
    /// A completion has no text.
    Empty,
}

/// What was found so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Findings {
    /// Judgements that were looked at.
    pub n_judgements: usize,
    /// Of these, left out because the completions are the same.
    pub n_identical: usize,
    /// Left out because a completion is empty.
    pub n_empty: usize,
    /// Said before, word for word.
    pub n_duplicates: usize,
    /// The opposite, or another grade, was said before.
    pub n_contradictions: usize,
    /// Completions labelled good, and bad.
    pub n_labels: [usize; 2],
    /// The lowest and the highest grade.
    pub scores: Option<[f32; 2]>,
}

/// Looks at judgements, one after the other.
#[derive(Clone, Debug, Default)]
pub struct Screening {
    /// What was said of each thing: of pairs and labels, which of two sides.
    said: HashMap<u64, u64>,
    findings: Findings,
}

/// Both sides of a pair or a label.
const SIDES: [u64; 2] = [1, 2];

impl Screening {
    /// Looks at one more judgement; whatever else an example is passes.
    pub fn look(&mut self, example: &Example) -> Option<Useless> {
        match &example.body {
            Body::Preference { prompt, chosen, rejected, chosen_probability, .. } => {
                let leans = chosen_probability.is_none_or(|it| it != 0.5);
                self.pair(&key(prompt), [key(chosen), key(rejected)], leans)
            }
            Body::UnpairedPreference { prompt, completion, label } => {
                self.label(&key(prompt), &key(completion), *label)
            }
            Body::Ranking { prompt, completions, ranks } => {
                let texts: Vec<String> = completions.iter().map(key).collect();
                self.ranking(&key(prompt), &texts, ranks)
            }
            Body::Scored { prompt, completion, score } => {
                self.score(&key(prompt), &key(completion), *score)
            }
            _ => None,
        }
    }

    /// Looks at one more pair.
    pub fn look_at_pair(&mut self, pair: &Preference) -> Option<Useless> {
        self.pair(&pair.prompt, [pair.chosen.clone(), pair.rejected.clone()], true)
    }

    /// Looks at one more labelled completion.
    pub fn look_at_label(&mut self, row: &Labeled) -> Option<Useless> {
        self.label(&row.prompt, &row.completion, row.label)
    }

    /// What was found so far.
    pub fn findings(&self) -> &Findings {
        &self.findings
    }

    fn pair(&mut self, prompt: &str, sides: [String; 2], leans: bool) -> Option<Useless> {
        self.findings.n_judgements += 1;
        if let Some(useless) = self.useless(&sides, sides[0] == sides[1]) {
            return Some(useless);
        }
        let is_turned = sides[0] > sides[1];
        let [low, high] = if is_turned { [&sides[1], &sides[0]] } else { [&sides[0], &sides[1]] };
        let thing = hash((prompt, low, high));
        if leans {
            self.say(thing, SIDES[usize::from(is_turned)]);
        }
        None
    }

    fn label(&mut self, prompt: &str, completion: &String, is_good: bool) -> Option<Useless> {
        self.findings.n_judgements += 1;
        if let Some(useless) = self.useless(std::slice::from_ref(completion), false) {
            return Some(useless);
        }
        self.findings.n_labels[usize::from(!is_good)] += 1;
        self.say(hash((prompt, completion)), SIDES[usize::from(!is_good)]);
        None
    }

    fn ranking(&mut self, prompt: &str, texts: &[String], ranks: &[u32]) -> Option<Useless> {
        self.findings.n_judgements += 1;
        let are_same = texts.iter().all(|text| *text == texts[0]);
        if let Some(useless) = self.useless(texts, are_same) {
            return Some(useless);
        }
        let mut sorted: Vec<(&String, u32)> = texts.iter().zip(ranks.iter().copied()).collect();
        sorted.sort_unstable();
        let (texts, ranks): (Vec<&String>, Vec<u32>) = sorted.into_iter().unzip();
        // A hash of the ranks: another one contradicts.
        self.say_once(hash((prompt, texts)), hash(ranks));
        None
    }

    fn score(&mut self, prompt: &str, completion: &String, score: f32) -> Option<Useless> {
        self.findings.n_judgements += 1;
        if let Some(useless) = self.useless(std::slice::from_ref(completion), false) {
            return Some(useless);
        }
        let [low, high] = self.findings.scores.unwrap_or([score; 2]);
        self.findings.scores = Some([low.min(score), high.max(score)]);
        self.say_once(hash((prompt, completion)), u64::from(score.to_bits()));
        None
    }

    fn useless(&mut self, texts: &[String], are_same: bool) -> Option<Useless> {
        if texts.iter().any(|text| text.trim().is_empty()) {
            self.findings.n_empty += 1;
            return Some(Useless::Empty);
        }
        self.findings.n_identical += usize::from(are_same);
        are_same.then_some(Useless::Identical)
    }

    /// One of two sides is taken.
    fn say(&mut self, thing: u64, side: u64) {
        let said = self.said.entry(thing).or_insert(0);
        self.findings.n_duplicates += usize::from(*said & side != 0);
        self.findings.n_contradictions += usize::from(*said & !side != 0);
        *said |= side;
    }

    /// Something is said that either is what was said before, or not.
    fn say_once(&mut self, thing: u64, what: u64) {
        match self.said.insert(thing, what) {
            None => {}
            Some(before) if before == what => self.findings.n_duplicates += 1,
            Some(_) => self.findings.n_contradictions += 1,
        }
    }
}

impl Findings {
    /// What is worth a word, a sentence each.
    pub fn notes(&self) -> Vec<String> {
        let Self { n_identical, n_empty, n_duplicates, n_contradictions, n_labels, .. } = self;
        let all = self.n_judgements;
        let mut notes = Vec::new();
        let mut tell = |count: usize, what: &str| {
            if count > 0 {
                notes.push(format!("{count} of {all} judgements {what}"));
            }
        };
        tell(*n_identical, "compare completions that are the same, and are left out");
        tell(*n_empty, "judge an empty completion, and are left out");
        tell(*n_duplicates, "repeat an earlier one; each counts");
        tell(*n_contradictions, CONTRADICTIONS);
        if n_labels.iter().sum::<usize>() > 0 && n_labels.contains(&0) {
            let which = if n_labels[1] == 0 { "good" } else { "bad" };
            notes.push(format!("all completions are labelled {which}"));
        }
        notes
    }
}

const CONTRADICTIONS: &str =
    "contradict an earlier one; all are kept, and together they are a soft label";

/// The text by which a completion is known again.
fn key(content: &Content) -> String {
    match content {
        Content::Text(text) => text.clone(),
        // Of messages, their words; those without any are empty.
        Content::Messages(_) => content.to_text(),
    }
}

fn hash(thing: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    thing.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::schema::Schema;

    /// What screening says of each of these rows, and what it found.
    fn screen(rows: Value) -> (Vec<Option<Useless>>, Findings) {
        let mut screening = Screening::default();
        let rows: Vec<Value> = serde_json::from_value(rows).expect("a list");
        let mut look = |row: &Value| {
            let row = row.as_object().expect("an object").clone();
            let schema = Schema::recognise(&row).expect("is known");
            screening.look(&schema.example(row).expect("converts").expect("says something"))
        };
        let said = rows.iter().map(&mut look).collect();
        (said, screening.findings().clone())
    }

    #[test]
    fn pairs_that_say_nothing_are_left_out_and_others_counted() {
        let pair = |chosen: &str, rejected: &str| json!({"prompt": "p", "chosen": chosen, "rejected": rejected});
        let mut tie = pair("b", "a");
        tie["chosen_probability"] = json!(0.5);
        let rows = json!([
            pair("a", "b"),
            pair("a", "b"),
            pair("b", "a"),
            tie,
            pair("a", "a"),
            pair(" ", "a")
        ]);
        let (said, findings) = screen(rows);
        let useless = [None, None, None, None, Some(Useless::Identical), Some(Useless::Empty)];
        assert_eq!(said, useless);
        let want = Findings {
            n_judgements: 6,
            n_identical: 1,
            n_empty: 1,
            n_duplicates: 1,
            n_contradictions: 1,
            ..Findings::default()
        };
        assert_eq!(findings, want);
        assert_eq!(findings.notes()[3], format!("1 of 6 judgements {CONTRADICTIONS}"));
    }

    #[test]
    fn labels_of_one_class_grades_and_rankings_are_told() {
        let label = |text: &str| json!({"completion": text, "label": 1});
        let (_, findings) = screen(json!([label("a"), label("b"), label("a")]));
        assert_eq!((findings.n_labels, findings.n_duplicates), ([3, 0], 1));
        assert_eq!(findings.notes()[1], "all completions are labelled good");
        let score = |text: &str, score: f64| json!({"completion": text, "score": score});
        let (_, findings) =
            screen(json!([score("a", 1.0), score("a", 3.0), score("b", -2.0), score("", 9.0)]));
        assert_eq!((findings.n_contradictions, findings.n_empty), (1, 1));
        assert_eq!(findings.scores, Some([-2.0, 3.0]));
        let ranking = |texts: [&str; 2], ranks: [u32; 2]| json!({"prompt": "p", "completions": texts, "ranks": ranks});
        let (_, findings) = screen(json!([
            ranking(["a", "b"], [1, 2]),
            ranking(["b", "a"], [2, 1]),
            ranking(["a", "b"], [2, 1])
        ]));
        assert_eq!((findings.n_duplicates, findings.n_contradictions), (1, 1));
    }
}
