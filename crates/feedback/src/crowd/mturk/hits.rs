//! Tasks as rows, one HIT each.

use std::collections::BTreeMap;

use csv::QuoteStyle;
use rein_data::seed::{Seed, shuffle};

use super::{cells, layout};
use crate::records::{Settings, Shown, Task};
use crate::store::sha256;

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
    let seed = Seed::new(settings.seed).child("mturk");
    let batch = |(n_responses, tasks): (usize, Vec<&Task>)| Batch {
        n_responses,
        n_hits: tasks.len(),
        input: table(n_responses, &tasks, seed),
        layout: layout::page(settings, n_responses),
    };
    by_size.into_iter().map(batch).collect()
}

/// Input columns: the task's name, …
pub(super) const TASK: &str = "task";
/// … by which to see that its texts are the same still, …
pub(super) const CHECK: &str = "check";
/// … the responses' places in the task, in the order of the page, …
pub(super) const ORDER: &str = "order";
/// … and what is shown.
pub(super) const PROMPT: &str = "prompt";

/// The column of a response by its place on the page, from 1.
pub(super) fn response(place: usize) -> String {
    format!("response_{place}")
}

/// Follows from a task's texts alone.
pub(super) fn check(task: &Task) -> String {
    let texts: Vec<&str> = task.responses.iter().map(|it| it.text.as_str()).collect();
    let whole = serde_json::to_string(&(&task.prompt, texts)).expect("plain JSON");
    // Spreadsheets would round a number.
    format!("x{}", &sha256(&whole)[..16])
}

fn table(n_responses: usize, tasks: &[&Task], seed: Seed) -> String {
    let mut writer =
        csv::WriterBuilder::new().quote_style(QuoteStyle::Always).from_writer(Vec::new());
    let header = [TASK, CHECK, ORDER, PROMPT].map(str::to_owned);
    let mut write = |row: Vec<String>| writer.write_record(row).expect("memory takes every row");
    write(header.into_iter().chain((1..=n_responses).map(response)).collect());
    for task in tasks {
        let Shown(order) = order(task, seed);
        let places: Vec<String> = order.iter().map(|place| (place + 1).to_string()).collect();
        let [name, prompt] = [&task.external_id, &task.prompt].map(|it| cells::encode(it));
        let known = [name, check(task), places.join(" "), prompt];
        let responses = order.iter().map(|place| cells::encode(&task.responses[*place].text));
        write(known.into_iter().chain(responses).collect());
    }
    let bytes = writer.into_inner().expect("memory takes every row");
    String::from_utf8(bytes).expect("texts make text")
}

fn order(task: &Task, seed: Seed) -> Shown {
    let mut places: Vec<usize> = (0..task.responses.len()).collect();
    shuffle(&mut places, &mut seed.child(&task.external_id).rng());
    Shown(places)
}
