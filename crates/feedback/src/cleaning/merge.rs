//! One row of all that judge one pair.

use std::collections::BTreeMap;

use rein_data::example::{Body, Example, PAIR_FINISHED};
use serde_json::json;

use super::reading::{Digest, Reading, probability};
use super::report::Report;
use super::text::{folded, text_of};

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
        PAIR_FINISHED.contains(&name.as_str())
            || all.iter().all(|it| it.extra.get(name) == Some(value))
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
    let for_first = |it: &Example| {
        if chosen(it) == chosen(first) { vote(it) } else { 1.0 - vote(it) }
    };
    all.iter().zip(weights).map(|(it, weight)| for_first(it) * weigh(weight)).sum()
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
        let [of_chosen, of_rejected] = PAIR_FINISHED.map(|name| merged.extra.remove(name));
        let turned = PAIR_FINISHED.into_iter().zip([of_rejected, of_chosen]);
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

fn vote(example: &Example) -> f64 {
    match &example.body {
        Body::Preference { chosen_probability, .. } => probability(*chosen_probability),
        _ => 1.0,
    }
}

fn margin(example: &Example) -> Option<f32> {
    match &example.body {
        Body::Preference { margin, .. } => *margin,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rein_data::example::Content;
    use serde_json::{Map, Value};

    use super::*;
    use crate::cleaning::Cleaning;

    fn pair(chosen: &str, rejected: &str, probability: Option<f32>, extra: Value) -> Example {
        let text = |text: &str| Content::Text(text.into());
        Example {
            body: Body::Preference {
                prompt: text("p"),
                chosen: text(chosen),
                rejected: text(rejected),
                margin: Some(2.0),
                chosen_probability: probability,
            },
            tools: None,
            template_arguments: Map::new(),
            extra: serde_json::from_value(extra).expect("an object"),
        }
    }

    fn merged(rows: &[Example]) -> Vec<Example> {
        Cleaning::default().run(rows).merged(rows)
    }

    /// What is chosen, with which probability, margin and columns.
    fn told(example: &Example) -> (String, Option<f32>, Option<f32>, Value) {
        let Body::Preference { chosen, chosen_probability, margin, .. } = &example.body else {
            panic!("{example:?}")
        };
        (chosen.to_text(), *chosen_probability, *margin, Value::Object(example.extra.clone()))
    }

    fn by(name: &str) -> Value {
        json!({ "annotator": name, "source": "s" })
    }

    #[test]
    fn votes_for_one_pair_become_a_share() {
        let alone = pair("c", "d", None, by("x"));
        let rows = [
            pair("a", "b", None, by("x")),
            alone.clone(),
            pair("b", "a", None, by("y")),
            pair("b ", "a", None, by("z")),
            pair("b", "a", Some(0.5), by("w")),
        ];
        let merged = merged(&rows);
        assert_eq!((merged.len(), &merged[1]), (2, &alone));
        // (0 + 1 + 1 + 0.5) / 4 for b.
        assert_eq!(told(&merged[0]), ("b".into(), Some(0.625), None, json!({ "source": "s" })));
    }

    #[test]
    fn those_who_agree_make_a_hard_label_with_their_margin() {
        let rows = [pair("a", "b", None, by("x")), pair("b", "a", Some(0.0), by("y"))];
        let [one] = &merged(&rows)[..] else { panic!("one pair") };
        assert_eq!(told(one), ("a".into(), None, Some(2.0), json!({ "source": "s" })));
    }

    #[test]
    fn weights_count_and_what_was_cut_stays_with_its_side() {
        let weighted = |weight: f64| json!({ "weight": weight, "rejected_finished": false });
        let rows = [
            pair("a", "b", None, weighted(1.0)),
            pair("b", "a", None, json!({ "weight": 3.0 })),
            pair("b", "a", Some(0.9), json!({ "weight": -5.0 })),
        ];
        let [one] = &merged(&rows)[..] else { panic!("one pair") };
        let extra = json!({ "chosen_finished": false, "weight": 4.0 / 3.0 });
        assert_eq!(told(one), ("b".into(), Some(0.75), None, extra));
        let rows = [pair("a", "b", Some(0.55), by("x")), pair("b", "a", Some(0.65), by("y"))];
        let [one] = &merged(&rows)[..] else { panic!("one pair") };
        // 1 − (0.55 + 0.35) / 2 for b.
        let (chosen, probability, ..) = told(one);
        assert_eq!(chosen, "b");
        assert!((probability.expect("is soft") - 0.55).abs() < 1e-6, "{probability:?}");
        let nothing = |chosen, rejected| pair(chosen, rejected, None, json!({ "weight": 0.0 }));
        let [one] = &merged(&[nothing("a", "b"), nothing("b", "a")])[..] else { panic!("one") };
        assert_eq!(told(one), ("a".into(), Some(0.5), None, json!({ "weight": 0.0 })));
    }
}
