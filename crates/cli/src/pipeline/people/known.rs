//! Who gets something of their own, and what they said.

use anyhow::{Result, bail};
use rein_data::batches::permutation;
use rein_data::example::Preference;
use rein_data::helpdesk::gold;
use rein_data::helpdesk::tastes::{Population, Taste};
use rein_data::seed::Seed;
use rein_feedback::Answered;
use rein_feedback::simulate::judge;
use rein_feedback::{Choice, Judgement, NewTask, Split, Store, Task, preferences};
use rein_model::backend::LmAutodiffBackend;
use rein_reward::encoding::{Pair, encode_preferences};

use super::super::feedback::PROJECT;
use super::Session;
use crate::config::{PeopleConfig, Stage};

/// The project of a run's store in which simulated newcomers answer.
const NEWCOMERS: &str = "newcomers";
/// Held-out pairs that a simulated newcomer is told right on or not, at most.
const N_HELDOUT: usize = 256;

/// A person and what is known of them.
pub(super) struct Known {
    pub(super) name: String,
    /// What a simulated person truly likes.
    pub(super) taste: Option<Taste>,
    /// What they said of pairs of training prompts, …
    pub(super) said: Vec<Pair>,
    /// … and of held-out ones; of a simulated person, the truth.
    pub(super) heldout: Vec<Pair>,
}

impl<B: LmAutodiffBackend> Session<B> {
    /// Simulated newcomers where the world has different people, else who is named, or everybody who answered.
    pub(super) fn clients(&self, config: &PeopleConfig) -> Result<Vec<Known>> {
        match self.setup.config.data.population().filter(|_| config.annotators.is_empty()) {
            Some(population) => self.newcomers(population, config),
            None => self.annotators(config),
        }
    }

    fn annotators(&self, config: &PeopleConfig) -> Result<Vec<Known>> {
        let [train, heldout] = [Split::Train, Split::Heldout].map(|it| self.said_by_each(it));
        let (train, heldout) = (train?, heldout?);
        let mut names = config.annotators.clone();
        if names.is_empty() {
            names = train.iter().map(|(name, _)| name.clone()).collect();
            names.sort();
            names.dedup();
        }
        let known = |name: String| -> Result<Known> {
            let said = of(&train, &name);
            if said.is_empty() {
                let path = self.store()?.path().display().to_string();
                bail!(
                    "{path}: {name:?} has compared no pair of training prompts; `rein feedback serve` asks"
                );
            }
            Ok(Known { said, heldout: of(&heldout, &name), taste: None, name })
        };
        names.into_iter().map(known).collect()
    }

    /// People whom the reward model doesn't know, and what they say of pairs that others were asked about.
    fn newcomers(&self, population: Population, config: &PeopleConfig) -> Result<Vec<Known>> {
        let mut store = self.store()?;
        let [train, heldout] = [Split::Train, Split::Heldout].map(|it| store.tasks(PROJECT, it));
        let (train, heldout) = (train?, heldout?);
        if train.is_empty() {
            return Err(self.missing(Stage::Feedback, "pairs to ask about"));
        }
        let seed = Seed::new(self.setup.config.seed).child("newcomers");
        let people = Taste::crowd(population, config.newcomers, seed.child("people")).into_iter();
        let mut known = Vec::new();
        for (number, taste) in people.enumerate() {
            let name = format!("newcomer-{number:02}");
            let taste = Taste { name: name.clone(), ..taste };
            let seed = seed.child(&name);
            let said = ask(&mut store, &taste, &asked(&train, &name, config.answers, seed), seed)?;
            let truth: Vec<Preference> =
                heldout.iter().take(N_HELDOUT).filter_map(|it| truth(&taste, it)).collect();
            let (said, heldout) = (self.pairs(&said), self.pairs(&truth));
            known.push(Known { name, taste: Some(taste), said, heldout });
        }
        Ok(known)
    }

    fn pairs(&self, rows: &[Preference]) -> Vec<Pair> {
        let max_tokens = self.setup.config.reward.max_tokens;
        let encoded = encode_preferences(rows, &self.setup.tokenizer, max_tokens);
        encoded.judgements.into_pairs().expect("pairs were encoded")
    }
}

/// What one person said.
fn of(answers: &[(String, Pair)], name: &str) -> Vec<Pair> {
    answers.iter().filter(|(by, _)| by == name).map(|(_, pair)| pair.clone()).collect()
}

/// Some of these tasks, for one person alone.
fn asked(tasks: &[Task], name: &str, count: usize, seed: Seed) -> Vec<NewTask> {
    let places = permutation(tasks.len(), seed.child("asked")).into_iter().take(count);
    let task = |place: usize| {
        let Task { external_id, prompt, responses, .. } = tasks[place].clone();
        NewTask {
            external_id: format!("{name}/{external_id}"),
            prompt,
            responses,
            split: Split::Train,
            overlap: 1,
            priority: 0.0,
            gold: None,
        }
    };
    places.map(task).collect()
}

/// What a person says of these. What was said already stays.
fn ask(
    store: &mut Store,
    person: &Taste,
    tasks: &[NewTask],
    seed: Seed,
) -> Result<Vec<Preference>> {
    store.add_tasks(NEWCOMERS, tasks)?;
    let is_asked = |id: &str| tasks.iter().any(|it| it.external_id == id);
    let mut open = store.tasks(NEWCOMERS, Split::Train)?;
    open.retain(|it| is_asked(&it.external_id));
    judge(store, &open, std::slice::from_ref(person), seed.child("says"))?;
    let said = preferences(store, NEWCOMERS, Split::Train)?.into_iter();
    let own = said.filter(|it| it.annotator == person.name && is_asked(&it.task.external_id));
    Ok(own.filter_map(|it| it.preference()).collect())
}

/// What a person truly prefers; none of two that are worth the same to them.
fn truth(taste: &Taste, task: &Task) -> Option<Preference> {
    let worth = |place: usize| {
        let response = &task.responses[place];
        taste.utility(&gold::judge(&task.prompt.to_text(), &response.text, response.finished))
    };
    let difference = worth(0) - worth(1);
    let choice = if difference > 0.0 { Choice::First } else { Choice::Second };
    let (annotator, judgement) = (taste.name.clone(), Judgement::preferred(choice));
    let answered = || Answered { task: task.clone(), annotator, judgement };
    (difference.abs() > 1e-6).then(answered)?.preference()
}
