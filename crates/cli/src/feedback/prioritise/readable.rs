//! What to ask next by what the answers so far say of words.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use anyhow::Result;
use rein_data::example::Completion;
use rein_data::seed::Seed;
use rein_feedback::{Store, Task};
use rein_reward::inverse::comparisons::{Posterior, RIDGE, ReadablePairs, Said};
use rein_reward::inverse::features::FeaturesConfig;

use super::pairs;
use crate::speech::note;

/// Answers after which it takes longer than a moment.
const MANY: usize = 1000;

/// Tasks and what an answer to each would tell; the first of them, which are chosen together, stand above all others.
pub(super) fn information(store: &Path, project: &str, batch: usize) -> Result<Vec<(i64, f64)>> {
    let store = Store::read(store)?;
    let tasks = pairs(&store, project)?;
    let replies: Vec<[Completion; 2]> =
        tasks.iter().map(|task| [0, 1].map(|place| completion(task, place))).collect();
    let readable = ReadablePairs::of(&replies, &FeaturesConfig::default());
    let said = said(&store, project, &tasks)?;
    if said.len() > MANY {
        note(&format!(
            "{} answers and {} pairs; this takes about a minute",
            said.len(),
            tasks.len()
        ));
    }
    let known = Posterior::of(&readable, &said, RIDGE);
    let mut values: Vec<f64> = (0..tasks.len()).map(|pair| known.information(pair)).collect();
    let answered: HashSet<usize> = said.iter().map(|it| it.pair).collect();
    let open: Vec<usize> = (0..tasks.len()).filter(|pair| !answered.contains(pair)).collect();
    let highest = values.iter().copied().fold(0.0, f64::max);
    let chosen = known.ask_focused(&open, batch, 0.0, Seed::new(0));
    // In their order, by steps too small to be read as information.
    for (place, pair) in chosen.iter().rev().enumerate() {
        values[*pair] = highest * (1.0 + 1e-6 * (place + 1) as f64);
    }
    Ok(tasks.iter().map(|task| task.id).zip(values).collect())
}

/// The share of votes for the first of each pair that was judged.
fn said(store: &Store, project: &str, tasks: &[Task]) -> Result<Vec<Said>> {
    let places: HashMap<i64, usize> =
        tasks.iter().enumerate().map(|(place, task)| (task.id, place)).collect();
    // Votes for the first, and all votes.
    let mut votes: BTreeMap<usize, (f64, f64)> = BTreeMap::new();
    for stored in store.answers(project)? {
        let vote = stored.answer.judgement.for_first();
        let Some((place, vote)) = places.get(&stored.task).zip(vote) else { continue };
        let (for_first, all) = votes.entry(*place).or_default();
        *for_first += stored.answer.weight * vote;
        *all += stored.answer.weight;
    }
    let share = |(pair, (for_first, all))| Said { pair, first: for_first / all };
    Ok(votes.into_iter().map(share).collect())
}

/// A response as rewards read it.
pub(crate) fn completion(task: &Task, place: usize) -> Completion {
    let response = &task.responses[place];
    Completion {
        prompt: task.prompt.to_text(),
        text: response.text.clone(),
        finished: response.finished,
        ..Completion::default()
    }
}
