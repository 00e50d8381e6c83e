use std::fmt::Write;

use crate::pipeline::{Agreement, OWN, People, Versus};

/// People with rewards of their own, and how often policies beat the fine-tuned model for them; nothing without people.
pub(crate) fn personal(all: &People) -> String {
    let mut text = String::new();
    let people = &all.people;
    let Some(width) = people.iter().map(|it| it.name.chars().count()).max() else { return text };
    let width = width.max("person".len());
    let _ = writeln!(
        text,
        "\n{:<width$} {:>7} {:>11} {:>11}   {:<26} {OWN}",
        "person", "answers", "told right", "before", "SFT beaten by run's policy"
    );
    for it in people {
        let (right, before) = (share(it.told_right.as_ref()), share(it.told_right_before.as_ref()));
        let (pooled, own) = (wins(it.pooled()), wins(it.own()));
        let name: String = it.name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let answers = it.answers;
        let _ = writeln!(
            text,
            "{name:<width$} {answers:>7} {right:>11} {before:>11}   {pooled:<26} {own}"
        );
    }
    if let [Some(pooled), Some(own)] = all.mean_wins() {
        let [pooled, own] = [pooled, own].map(|it| format!("{:.1} %", 100.0 * it));
        let empty = "";
        let _ = writeln!(
            text,
            "{:<width$} {empty:>7} {empty:>11} {empty:>11}   {pooled:<26} {own}",
            "mean"
        );
    }
    let _ = writeln!(text);
    text
}

fn share(of: Option<&Agreement>) -> String {
    of.map_or("-".into(), |it| format!("{:.1} %", 100.0 * it.accuracy))
}

fn wins(of: Option<&Versus>) -> String {
    of.map_or("-".into(), |it| {
        let [low, high] = it.wilson.map(|it| 100.0 * it);
        format!("{:.1} % ({low:.1} to {high:.1} %)", 100.0 * it.rate)
    })
}
