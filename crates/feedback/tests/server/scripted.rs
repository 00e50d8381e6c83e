//! A model whose answers are written down. It alone is a double: the server, the store and HTTP are real.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use rein_feedback::serve::{Answers, Ask, Lesson, Model, Sampled};

/// Says its texts word by word, and scores them by what it was taught.
#[derive(Debug, Default)]
pub(crate) struct Scripted {
    /// The answers, in turn.
    pub(crate) texts: Vec<&'static str>,
    pub(crate) reads_messages: bool,
    pub(crate) disagreement: Option<f64>,
    pub(crate) entropy: Option<f64>,
    /// What it fails with.
    pub(crate) failure: Option<&'static str>,
    /// Each word takes one of these, if there is a gate.
    pub(crate) gate: Option<Mutex<Receiver<()>>>,
    pub(crate) scores: Mutex<BTreeMap<String, f64>>,
    /// What it was taught last.
    pub(crate) lessons: Mutex<Vec<Lesson>>,
    pub(crate) n_taught: AtomicUsize,
    pub(crate) asked: Mutex<Vec<Ask>>,
    /// The words that it made so far.
    pub(crate) made: Mutex<Vec<String>>,
    /// How many answers ended because nobody listened.
    pub(crate) n_broken: Mutex<usize>,
}

impl Scripted {
    pub(crate) fn of(texts: &[&'static str]) -> Self {
        Self { texts: texts.to_vec(), ..Self::default() }
    }

    /// The same, but each word waits until it may be made.
    pub(crate) fn gated(texts: &[&'static str]) -> (Self, Sender<()>) {
        let (sender, receiver) = channel();
        (Self { gate: Some(Mutex::new(receiver)), ..Self::of(texts) }, sender)
    }

    fn text(&self, place: usize) -> &'static str {
        self.texts[place % self.texts.len()]
    }

    fn wait(&self) -> Result<(), String> {
        let Some(gate) = &self.gate else { return Ok(()) };
        let gate = gate.lock().expect("whole");
        gate.recv_timeout(Duration::from_secs(30)).map_err(|_| "nobody opened the gate".into())
    }

    fn sampled(&self, place: usize) -> Sampled {
        let text = self.text(place).to_owned();
        let score = self.scores.lock().expect("whole").get(&text).copied();
        let n_tokens = text.split_inclusive(' ').count();
        Sampled { text, finished: place == 0, n_tokens, entropy: self.entropy, score }
    }
}

impl Model for Scripted {
    fn name(&self) -> String {
        "scripted".into()
    }

    fn reads_messages(&self) -> bool {
        self.reads_messages
    }

    fn answer(
        &self,
        ask: &Ask,
        tell: &mut dyn FnMut(usize, &str) -> ControlFlow<()>,
    ) -> Result<Answers, String> {
        self.asked.lock().expect("whole").push(ask.clone());
        let mut words: Vec<_> =
            (0..ask.n).map(|place| self.text(place).split_inclusive(' ')).collect();
        let mut is_done = false;
        while !is_done {
            is_done = true;
            for (place, words) in words.iter_mut().enumerate() {
                let Some(word) = words.next() else { continue };
                is_done = false;
                self.wait()?;
                self.made.lock().expect("whole").push(word.into());
                if tell(place, word).is_break() {
                    *self.n_broken.lock().expect("whole") += 1;
                    return Ok(self.answers(ask));
                }
            }
        }
        self.failure.map_or_else(|| Ok(self.answers(ask)), |it| Err(it.into()))
    }

    fn learn(&self, lessons: &[Lesson]) -> Result<(), String> {
        // Slow enough that a question that doesn't wait for it would come first.
        std::thread::sleep(Duration::from_millis(100));
        let mut scores = self.scores.lock().expect("whole");
        scores.clear();
        for lesson in lessons {
            *scores.entry(lesson.chosen.text.clone()).or_default() += 1.0;
            *scores.entry(lesson.rejected.text.clone()).or_default() -= 1.0;
        }
        *self.lessons.lock().expect("whole") = lessons.to_vec();
        self.n_taught.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

impl Scripted {
    fn answers(&self, ask: &Ask) -> Answers {
        Answers {
            samples: (0..ask.n).map(|place| self.sampled(place)).collect(),
            n_prompt_tokens: ask.messages.iter().map(|it| it.content.split(' ').count()).sum(),
            disagreement: self.disagreement,
        }
    }
}
