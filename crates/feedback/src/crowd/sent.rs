//! A task as it is sent elsewhere.

use rein_data::seed::{Seed, shuffle};

use crate::records::{Settings, Shown, Task};
use crate::store::sha256;

/// Where the orders of a project's tasks are drawn from.
pub(super) fn seed(settings: &Settings, platform: &str) -> Seed {
    Seed::new(settings.seed).child(platform)
}

/// What is sent of a task, by column: who it is, and what is shown in which order.
pub(super) fn columns(task: &Task, seed: Seed) -> Vec<(String, String)> {
    let Shown(order) = order(task, seed);
    let places: Vec<String> = order.iter().map(|place| (place + 1).to_string()).collect();
    let known = [
        (TASK, task.external_id.clone()),
        (CHECK, check(task)),
        (ORDER, places.join(" ")),
        (PROMPT, task.prompt.transcript()),
    ];
    let known = known.map(|(name, value)| (name.to_owned(), value));
    let texts = order.iter().map(|place| task.responses[*place].text.clone());
    let responses = texts.enumerate().map(|(place, text)| (response(place + 1), text));
    known.into_iter().chain(responses).collect()
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

fn order(task: &Task, seed: Seed) -> Shown {
    let mut places: Vec<usize> = (0..task.responses.len()).collect();
    shuffle(&mut places, &mut seed.child(&task.external_id).rng());
    Shown(places)
}
