//! A reward model, and the lessons that it was taught.

use std::collections::{HashMap, HashSet};

use burn::prelude::Backend;
use rein_feedback::serve::{Lesson, Message};
use rein_model::backend::LmBackend;
use rein_reward::OnlineReward;
use rein_reward::meta::Difference;

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
        let message = Message { role: "user".into(), content: lesson.prompt.clone() };
        let prompt = speaker.prompt(&[message], 0).ok()?;
        let rows = [&lesson.chosen, &lesson.rejected]
            .map(|text| row(speaker, &prompt, &speaker.tokenizer().encode_completion(text), true));
        rows.iter().all(|it| self.reward.fits(it)).then_some(rows)
    }
}

/// What a reward model reads: an answer that ended, ended with the end of sequence where it learned.
pub(super) fn row(speaker: &Speaker, prompt: &[u32], tokens: &[u32], finished: bool) -> Vec<u32> {
    let eos = speaker.tokenizer().special().eos;
    let mut row = [prompt, tokens].concat();
    if finished && row.last() != Some(&eos) {
        row.push(eos);
    }
    row
}
