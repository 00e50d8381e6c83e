//! Judgements that were said before, and those that say otherwise.

use std::collections::{BTreeMap, HashMap};

use rein_data::example::Example;

use super::near::Near;
use super::reading::{Digest, Reading};
use super::report::{Draft, Rule};
use super::{Action, Cleaning};

/// The judgements seen so far.
pub(super) struct Memory<'a> {
    cleaning: &'a Cleaning,
    judgements: HashMap<Digest, usize>,
    near: Near<'a>,
    said: BTreeMap<Digest, Vec<Said>>,
}

/// What a row says of a thing: the verdict of each response, in the order of their texts.
struct Said {
    row: usize,
    verdict: Vec<i64>,
}

impl<'a> Memory<'a> {
    pub(super) fn new(cleaning: &'a Cleaning, rows: &'a [Example]) -> Self {
        let near = Near::new(rows, cleaning.similarity);
        Self { cleaning, judgements: HashMap::new(), near, said: BTreeMap::new() }
    }

    /// Whether a judgement was said before; else it is remembered.
    pub(super) fn look(&mut self, row: usize, reading: &Reading<'_>, draft: &mut Draft) {
        let (duplicate, near) = (self.cleaning.duplicate, self.cleaning.near_duplicate);
        let first = *self.judgements.entry(reading.judgement()).or_insert(row);
        if first != row {
            draft.say(duplicate, row, Rule::Duplicate, format!("repeats row {first}"));
        } else if near != Action::Off
            && let Some((like, similarity)) = self.near.look(row, reading)
        {
            let reason = format!("is like row {like}: similarity {similarity:.3}");
            draft.say(near, row, Rule::NearDuplicate, reason);
        }
        if !draft.is_set_aside(row)
            && let Some(verdict) = reading.verdict()
        {
            self.said.entry(reading.thing()).or_default().push(Said { row, verdict });
        }
    }

    /// Tells the rows of things of which not all say the same, by their first row.
    pub(super) fn contradictions(self, draft: &mut Draft) -> Vec<Vec<usize>> {
        let differ = |said: &Vec<Said>| said.iter().any(|it| it.verdict != said[0].verdict);
        let mut things: Vec<Vec<Said>> = self.said.into_values().filter(differ).collect();
        things.sort_unstable_by_key(|said| said[0].row);
        for said in &things {
            for it in said {
                let other = said.iter().find(|other| other.verdict != it.verdict);
                let other = other.expect("not all say the same").row;
                let reason = format!("row {other} says otherwise");
                draft.say(self.cleaning.contradiction, it.row, Rule::Contradiction, reason);
            }
        }
        things.into_iter().map(|said| said.into_iter().map(|it| it.row).collect()).collect()
    }
}
