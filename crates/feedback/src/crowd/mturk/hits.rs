//! Tasks as rows, one HIT each.

use std::collections::BTreeMap;

use csv::QuoteStyle;
use rein_data::seed::Seed;

use super::{cells, layout};
use crate::crowd::sent::{CHECK, ORDER, PROMPT, TASK, columns, response, seed};
use crate::records::{Settings, Task};

/// Tasks with equally many responses: a table to publish and the page to answer on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Responses that each task shows.
    pub n_responses: usize,
    /// Rows of the table.
    pub n_hits: usize,
    /// The table (CSV, UTF-8) that a batch is published with.
    pub input: String,
    /// The page (HTML), for the project's "Design Layout".
    pub layout: String,
}

/// The tasks as batches, one for each number of responses, the smallest first.
///
/// Everybody sees a task's responses in the same order, which is drawn from the project's seed and the task's name: MTurk
/// shows a row to all of its workers alike.
pub fn batches(settings: &Settings, tasks: &[Task]) -> Vec<Batch> {
    let mut by_size: BTreeMap<usize, Vec<&Task>> = BTreeMap::new();
    for task in tasks {
        by_size.entry(task.responses.len()).or_default().push(task);
    }
    let seed = seed(settings, "mturk");
    let batch = |(n_responses, tasks): (usize, Vec<&Task>)| Batch {
        n_responses,
        n_hits: tasks.len(),
        input: table(n_responses, &tasks, seed),
        layout: layout::page(settings, n_responses),
    };
    by_size.into_iter().map(batch).collect()
}

fn table(n_responses: usize, tasks: &[&Task], seed: Seed) -> String {
    let mut writer =
        csv::WriterBuilder::new().quote_style(QuoteStyle::Always).from_writer(Vec::new());
    let mut write = |row: Vec<String>| writer.write_record(row).expect("memory takes every row");
    let header = [TASK, CHECK, ORDER, PROMPT].map(str::to_owned);
    write(header.into_iter().chain((1..=n_responses).map(response)).collect());
    for task in tasks {
        write(columns(task, seed).iter().map(|(_, text)| cells::encode(text)).collect());
    }
    let bytes = writer.into_inner().expect("memory takes every row");
    String::from_utf8(bytes).expect("texts make text")
}
