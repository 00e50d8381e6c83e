//! Who watches a run: a dashboard on a terminal, plain lines elsewhere.

mod dashboard;
mod plain;
mod stage_clock;

use std::io::{IsTerminal, stdout};

use rein_data::log::{Record, Watcher};
use rein_data::stage::Interrupt;

pub(crate) use dashboard::Dashboard;
pub(crate) use plain::PlainLines;

/// The dashboard if a person can see it, else plain lines.
pub(crate) fn watcher(wants_plain: bool, interrupt: &Interrupt) -> Box<dyn Watcher> {
    if wants_plain || !stdout().is_terminal() {
        Box::new(PlainLines::default())
    } else {
        Box::new(Dashboard::new(interrupt.clone()))
    }
}

/// What people want to see of a step, in this order, as far as the step measured it.
const SHOWN: [(&str, &str); 14] = [
    ("loss", "loss"),
    ("objective/scores", "reward"),
    ("objective/kl", "KL"),
    ("policy/entropy_avg", "entropy"),
    ("entropy", "entropy"),
    ("mean_token_accuracy", "accuracy"),
    ("accuracy", "accuracy"),
    ("margin", "margin"),
    ("rewards/accuracies", "accuracy"),
    ("rewards/margins", "margin"),
    ("completions/mean_length", "length"),
    ("completions/clipped_ratio", "unfinished"),
    ("pairs", "pairs"),
    ("lr", "rate"),
];

/// The shown values of a record, with their short names.
fn shown(record: &Record) -> impl Iterator<Item = (&'static str, f64)> {
    SHOWN.into_iter().filter_map(|(name, short)| Some((short, record.get(name)?)))
}

/// The values of a held-out evaluation.
fn evaluated(record: &Record) -> impl Iterator<Item = (&str, f64)> {
    let values = record.values.iter();
    values.filter_map(|(name, value)| Some((name.strip_prefix("eval_")?, value.as_f64()?)))
}
