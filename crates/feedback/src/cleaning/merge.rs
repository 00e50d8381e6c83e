//! One row of all that judge one pair.

use std::collections::BTreeMap;

use rein_data::example::{Body, Example};
use serde_json::json;

use super::reading::{Digest, Reading};
use super::report::Report;
use super::text::{folded, text_of};

/// Columns that belong to a side.
const FINISHED: [&str; 2] = ["chosen_finished", "rejected_finished"];
const WEIGHT: &str = "weight";

impl Report {
    /// The rows that are kept, those that judge one pair made into one at the place of the first.
    ///
    /// Its `chosen_probability` is `Σ w p / Σ w`, for the probability `p` of each row and its `weight` (1 if it has none;
    /// below 0 counts as 0). Its weight is their mean, so that it counts as one row; a column in which they differ is left
    /// out. If rows that repeat each other are votes, the rule for duplicates has to be off.
    pub fn merged(&self, rows: &[Example]) -> Vec<Example> {
        let mut groups: BTreeMap<Digest, Vec<usize>> = BTreeMap::new();
        let mut merged: BTreeMap<usize, Example> = BTreeMap::new();
        for row in self.kept.iter().copied().filter(|row| *row < rows.len()) {
            match &rows[row].body {
                Body::Preference { .. } => {
                    groups.entry(Reading::of(&rows[row]).thing()).or_default().push(row);
                }
                _ => drop(merged.insert(row, rows[row].clone())),
            }
        }
        for group in groups.into_values() {
            let judgements: Vec<&Example> = group.iter().map(|row| &rows[*row]).collect();
            merged.insert(group[0], merge(judgements[0], &judgements));
        }
        merged.into_values().collect()
    }
}

/// One judgement of several of one pair, in the words of the first.
fn merge(first: &Example, all: &[&Example]) -> Example {
    let mut merged = first.clone();
    if all.len() == 1 {
        return merged;
    }
    merged.extra.retain(|name, value| {
        FINISHED.contains(&name.as_str()) || all.iter().all(|it| it.extra.get(name) == Some(value))
    });
    if all.iter().any(|it| it.weight().is_some()) {
        let mean = all.iter().map(|it| weight(it)).sum::<f64>() / all.len() as f64;
        merged.extra.insert(WEIGHT.into(), json!(mean));
    }
    lean(&mut merged, share(first, all), all.iter().all(|it| margin(it) == margin(first)));
    merged
}

/// The share of votes for what the first row calls chosen.
fn share(first: &Example, all: &[&Example]) -> f64 {
    let weights: Vec<f64> = all.iter().map(|it| weight(it)).collect();
    let total: f64 = weights.iter().sum();
    let weigh = |weight: f64| if total > 0.0 { weight / total } else { 1.0 / all.len() as f64 };
    let vote = |it: &&Example| {
        if chosen(it) == chosen(first) { probability(it) } else { 1.0 - probability(it) }
    };
    all.iter().zip(weights).map(|(it, weight)| vote(it) * weigh(weight)).sum()
}

/// Has a pair lean towards what more votes are for. A margin stays where all agree.
fn lean(merged: &mut Example, share: f64, one_margin: bool) {
    let Body::Preference { chosen, rejected, chosen_probability, margin, .. } = &mut merged.body
    else {
        return;
    };
    let larger = share.max(1.0 - share) as f32;
    *chosen_probability = (larger < 1.0).then_some(larger);
    *margin = margin.filter(|_| one_margin && larger == 1.0);
    if share < 0.5 {
        std::mem::swap(chosen, rejected);
        let [of_chosen, of_rejected] = FINISHED.map(|name| merged.extra.remove(name));
        let turned = FINISHED.into_iter().zip([of_rejected, of_chosen]);
        merged.extra.extend(turned.filter_map(|(name, value)| Some((name.to_owned(), value?))));
    }
}

fn weight(example: &Example) -> f64 {
    f64::from(example.weight().unwrap_or(1.0).max(0.0))
}

fn chosen(example: &Example) -> Option<String> {
    match &example.body {
        Body::Preference { chosen, .. } => Some(folded(&text_of(chosen))),
        _ => None,
    }
}

fn probability(example: &Example) -> f64 {
    match &example.body {
        Body::Preference { chosen_probability, .. } => f64::from(chosen_probability.unwrap_or(1.0)),
        _ => 1.0,
    }
}

fn margin(example: &Example) -> Option<f32> {
    match &example.body {
        Body::Preference { margin, .. } => *margin,
        _ => None,
    }
}
