//! How often one model beat another.

use minijinja::{Value, context};

use super::{interval, percent};
use crate::pipeline::Versus;

/// A row of the table.
pub(super) fn row(it: &Versus) -> Value {
    let [least, most] = it.difference_interval;
    context! {
        model => it.model,
        against => it.against,
        by => it.by,
        wins => it.wins,
        ties => it.ties,
        losses => it.losses,
        rate => percent(it.rate),
        interval => interval(it.wilson),
        at_equal_length => it.at_equal_length.map_or_else(|| "–".to_owned(), percent),
        difference => format!("{:+.2} ({least:+.2} to {most:+.2})", it.difference),
    }
}
