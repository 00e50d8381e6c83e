//! What people say of two policies' replies, side by side and without names.

use anyhow::Result;
use rein_data::example::Completion;
use rein_feedback::{Answered, Judgement, NewTask, Response, Split, Store, Task, preferences};
use rein_model::backend::LmAutodiffBackend;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Session;
use super::judges::Scores;
use crate::config::Stage;
use crate::feedback::STORE;
use crate::pipeline::compare::{Replies, Versus};

/// The project of a run's store in which people compare policies.
pub(crate) const COMPARISONS: &str = "evaluation";

/// How far people are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PeopleReport {
    /// Pairs that people are asked about.
    pub(crate) n_asked: usize,
    /// Those of them that somebody has judged.
    pub(crate) n_judged: usize,
    /// What they say; nothing as long as nobody has judged any.
    #[serde(skip)]
    pub(super) versus: Option<Versus>,
}

impl<B: LmAutodiffBackend> Session<B> {
    /// Asks people about the first `evaluate.people` prompts to which two policies reply differently, and tells what they
    /// have said so far.
    pub(super) fn people(&self, [ours, theirs]: [&Replies; 2]) -> Result<Option<PeopleReport>> {
        let n_asked = self.setup.config.evaluate.people;
        let path = self.root().join(STORE);
        if n_asked == 0 && !path.is_file() {
            return Ok(None);
        }
        let pairs = ours.said.iter().zip(&theirs.said).map(|(one, other)| [one, other]);
        let pairs: Vec<[&Completion; 2]> = pairs.collect();
        let said = self.workers.from_first(|| -> Result<Vec<(usize, Option<f64>)>> {
            if n_asked == 0 {
                return said(&Store::read(&path)?, &pairs);
            }
            let differ = |row: &usize| pairs[*row][0].text != pairs[*row][1].text;
            let rows = (0..pairs.len()).filter(differ).take(n_asked);
            let names = [&*ours.name, &*theirs.name];
            let read = |row: usize| self.setup.world.transcript(&pairs[row][0].prompt);
            let tasks: Vec<NewTask> = rows.map(|row| task(read(row), pairs[row], names)).collect();
            let mut store = Store::open(&path)?;
            store.add_tasks(COMPARISONS, &tasks)?;
            said(&store, &pairs)
        })?;
        if said.is_empty() {
            return Ok(None);
        }
        let judged = said.iter().filter_map(|(row, share)| Some((*row, (*share)?)));
        let (rows, shares): (Vec<usize>, Vec<f64>) = judged.unzip();
        let scored = |side: &Replies, of: Vec<f64>| Replies {
            scores: vec![Scores { by: "people".into(), of, n_failed: 0 }],
            ..side.of(&rows)
        };
        let seed = self.seed(Stage::Evaluate).child("versus");
        let losses = shares.iter().map(|share| 1.0 - share).collect();
        let versus = scored(ours, shares).against(&scored(theirs, losses), seed).pop();
        Ok(Some(PeopleReport { n_asked: said.len(), n_judged: rows.len(), versus }))
    }
}

/// A pair to compare: which of the two is shown first is drawn for each person.
fn task(prompt: String, pair: [&Completion; 2], names: [&str; 2]) -> NewTask {
    let response = |(it, name): (&Completion, &str)| Response {
        text: it.text.clone(),
        finished: it.finished,
        source: name.to_owned(),
    };
    NewTask {
        external_id: external_id(pair),
        prompt: prompt.into(),
        split: Split::Heldout,
        responses: pair.into_iter().zip(names).map(response).collect(),
        overlap: 1,
        priority: 0.0,
        gold: None,
    }
}

/// What a pair is called follows from what stands in it, so that measuring again asks about it once.
fn external_id([ours, theirs]: [&Completion; 2]) -> String {
    let mut hash = Sha256::new();
    for text in [&ours.prompt, &ours.text, &theirs.text] {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The pairs that people are asked about, by their row, with the share of answers that prefer our side, ties as half; no
/// share where nobody has answered.
fn said(store: &Store, pairs: &[[&Completion; 2]]) -> Result<Vec<(usize, Option<f64>)>> {
    if !store.projects()?.iter().any(|it| it.name == COMPARISONS) {
        return Ok(Vec::new());
    }
    let tasks = store.tasks(COMPARISONS, Split::Heldout)?;
    let answers = preferences(store, COMPARISONS, Split::Heldout)?;
    let share = |task: &Task| {
        let ours: Vec<f64> =
            answers.iter().filter(|it| it.task.id == task.id).filter_map(preference).collect();
        (!ours.is_empty()).then(|| ours.iter().sum::<f64>() / ours.len() as f64)
    };
    let row = |(row, pair): (usize, &[&Completion; 2])| {
        let name = external_id(*pair);
        let task = tasks.iter().find(|it| it.external_id == name)?;
        Some((row, share(task)))
    };
    Ok(pairs.iter().enumerate().filter_map(row).collect())
}

/// How much an answer prefers the first of a pair, from 0 to 1.
fn preference(answer: &Answered) -> Option<f64> {
    match &answer.judgement {
        Judgement::Preferred { choice, .. } => Some(if choice.index() == 0 { 1.0 } else { 0.0 }),
        Judgement::Leaning { first } => Some(*first),
        Judgement::Tie | Judgement::BothBad => Some(0.5),
        _ => None,
    }
}
