//! A reward model, and the lessons that it was taught.

use std::collections::{HashMap, HashSet};

use burn::prelude::Backend;
use rein_data::example::Content;
use rein_feedback::serve::{Lesson, Message};
use rein_model::backend::LmBackend;
use rein_reward::OnlineReward;
use rein_reward::meta::Difference;
use serde_json::Value;

use crate::inference::Speaker;
use crate::speech::note;

/// A reward model that people teach.
pub(super) struct Taught<B: Backend> {
    pub(super) reward: OnlineReward<B>,
    /// What the model reads in the lessons that it was given last, so that it reads each once; nothing in what is too long
    /// for it.
    known: HashMap<Lesson, Option<Difference>>,
}

impl<B: LmBackend> Taught<B> {
    pub(super) fn new(reward: OnlineReward<B>) -> Self {
        Self { reward, known: HashMap::new() }
    }

    /// Learns these lessons and no others.
    pub(super) fn learn(&mut self, lessons: &[Lesson], speaker: &Speaker) {
        let all: HashSet<&Lesson> = lessons.iter().collect();
        self.known.retain(|lesson, _| all.contains(lesson));
        let mut seen = HashSet::new();
        let new = lessons.iter().filter(|it| !self.known.contains_key(*it) && seen.insert(*it));
        self.read(&new.collect::<Vec<_>>(), speaker);
        let taught: Vec<_> = lessons.iter().filter_map(|it| self.known[it].clone()).collect();
        self.reward.teach(&taught);
    }

    fn read(&mut self, lessons: &[&Lesson], speaker: &Speaker) {
        let rows: Vec<_> = lessons.iter().map(|it| self.rows(it, speaker)).collect();
        let fitting: Vec<_> = rows.iter().flatten().cloned().collect();
        let n_left_out = rows.len() - fitting.len();
        if n_left_out > 0 {
            note(&format!(
                "{n_left_out} judgements are of texts too long for the reward model, which doesn't learn them"
            ));
        }
        let mut read = self.reward.read(&fitting).into_iter();
        for (lesson, rows) in lessons.iter().zip(rows) {
            self.known.insert((*lesson).clone(), rows.and_then(|_| read.next()));
        }
    }

    /// What was preferred and what it was preferred to, where the model has room for both.
    fn rows(&self, lesson: &Lesson, speaker: &Speaker) -> Option<[Vec<u32>; 2]> {
        let prompt = speaker.prompt(&messages(&lesson.prompt), 0).ok()?;
        let rows = [&lesson.chosen, &lesson.rejected]
            .map(|it| row(speaker, &prompt, &it.text, it.finished));
        rows.iter().all(|it| self.reward.fits(it)).then_some(rows)
    }
}

/// What both answer, as it is said to a model.
fn messages(prompt: &Content) -> Vec<Message> {
    let message =
        |role: &str, content: &str| Message { role: role.into(), content: content.into() };
    match prompt {
        Content::Text(text) => vec![message("user", text)],
        Content::Messages(all) => {
            let part = |it: &Value, name: &str| it[name].as_str().unwrap_or_default().to_owned();
            all.iter().map(|it| message(&part(it, "role"), &part(it, "content"))).collect()
        }
    }
}

/// What a reward model reads of an answer, as where it learned: its text, and what stands behind one that ended.
pub(super) fn row(speaker: &Speaker, prompt: &[u32], text: &str, finished: bool) -> Vec<u32> {
    let end = if finished { speaker.end_of_reply() } else { Vec::new() };
    [prompt, &speaker.tokenizer().encode(text), &end].concat()
}
