//! What was found.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::Action;
use super::length::{LengthBias, Sides};

/// What the rules say of some rows. Rows are counted from 0, in reasons as well.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Rows that were looked at.
    pub n_rows: usize,
    /// Of these, kept.
    pub n_kept: usize,
    /// The rows that are kept, in their order.
    pub kept: Vec<usize>,
    /// The rows that aren't, in their order; none twice.
    pub set_aside: Vec<SetAside>,
    /// What is worth a look among those that are kept, in their order.
    pub flagged: Vec<Flag>,
    /// How many rows each rule set aside.
    pub n_set_aside: BTreeMap<Rule, usize>,
    /// How many of the rows that are kept each rule flagged.
    pub n_flagged: BTreeMap<Rule, usize>,
    /// Rows that judge one thing, but not all alike; none of them was set aside for another reason.
    pub contradictions: Vec<Vec<usize>>,
    /// Whether longer responses were preferred in all pairs. None if there are too few to tell.
    pub length_before: Option<LengthBias>,
    /// Whether they are in the pairs that are kept.
    pub length_after: Option<LengthBias>,
}

/// A row that isn't kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SetAside {
    /// Which.
    pub row: usize,
    /// The rule that says so.
    pub rule: Rule,
    /// Why.
    pub reason: String,
}

/// A row that is kept, but worth a look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Flag {
    /// Which.
    pub row: usize,
    /// The rule that says so.
    pub rule: Rule,
    /// Why.
    pub reason: String,
}

/// A rule by which rows are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// All responses are the same.
    Identical,
    /// A response has no text.
    Empty,
    /// The judgement was said before.
    Duplicate,
    /// It was said before in almost the same words.
    NearDuplicate,
    /// A response says which model wrote it.
    Identity,
    /// A response is an error message.
    ErrorText,
    /// A response was cut.
    Unfinished,
    /// The same thing is judged differently.
    Contradiction,
    /// A text holds personal data.
    PersonalData,
}

impl Rule {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Identical => "identical",
            Self::Empty => "empty",
            Self::Duplicate => "duplicate",
            Self::NearDuplicate => "near_duplicate",
            Self::Identity => "identity",
            Self::ErrorText => "error_text",
            Self::Unfinished => "unfinished",
            Self::Contradiction => "contradiction",
            Self::PersonalData => "personal_data",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A report that isn't finished.
pub(super) struct Draft {
    set_aside: Vec<Option<SetAside>>,
    flagged: Vec<Flag>,
}

impl Draft {
    pub(super) fn new(n_rows: usize) -> Self {
        Self { set_aside: vec![None; n_rows], flagged: Vec::new() }
    }

    pub(super) fn is_set_aside(&self, row: usize) -> bool {
        self.set_aside[row].is_some()
    }

    /// A rule has a word on a row; the first that sets it aside counts.
    pub(super) fn say(&mut self, action: Action, row: usize, rule: Rule, reason: String) {
        match action {
            Action::Off => {}
            Action::Flag => self.flagged.push(Flag { row, rule, reason }),
            Action::SetAside => {
                self.set_aside[row].get_or_insert(SetAside { row, rule, reason });
            }
        }
    }

    pub(super) fn finish(
        mut self,
        contradictions: Vec<Vec<usize>>,
        sides: &[(usize, Sides)],
    ) -> Report {
        let n_rows = self.set_aside.len();
        let kept: Vec<usize> = (0..n_rows).filter(|row| !self.is_set_aside(*row)).collect();
        let all = sides.iter().map(|(_, it)| *it);
        let of_kept = sides.iter().filter(|(row, _)| !self.is_set_aside(*row)).map(|(_, it)| *it);
        let [length_before, length_after] =
            [all.collect(), of_kept.collect()].map(|sides: Vec<Sides>| LengthBias::measure(&sides));
        let set_aside: Vec<SetAside> = self.set_aside.iter().flatten().cloned().collect();
        let is_set_aside = |row: usize| self.set_aside[row].is_some();
        self.flagged.retain(|it| !is_set_aside(it.row));
        self.flagged.sort_by_key(|it| (it.row, it.rule));
        Report {
            n_rows,
            n_kept: kept.len(),
            kept,
            n_set_aside: counts(set_aside.iter().map(|it| it.rule)),
            n_flagged: counts(self.flagged.iter().map(|it| it.rule)),
            set_aside,
            flagged: self.flagged,
            contradictions,
            length_before,
            length_after,
        }
    }
}

fn counts(rules: impl Iterator<Item = Rule>) -> BTreeMap<Rule, usize> {
    let mut counts = BTreeMap::new();
    for rule in rules {
        *counts.entry(rule).or_insert(0) += 1;
    }
    counts
}
