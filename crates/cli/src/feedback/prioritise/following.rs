//! What is asked first follows the answers, while a server runs.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use rein_feedback::Store;

use super::{BATCH, readable};
use crate::speech::note;

/// How often answers are counted.
const PAUSE: Duration = Duration::from_secs(1);

/// Looks at a project's answers on a thread of its own as long as the program runs, and after every so many lets those pairs be
/// asked first whose answers tell most. Should that fail, it says so and stops: people go on answering.
pub(crate) fn follow(store: &Path, project: &str, every: usize) {
    let mut follower =
        Follower { store: store.to_owned(), project: project.to_owned(), every, n_seen: None };
    thread::spawn(move || {
        loop {
            if let Err(error) = follower.look() {
                note(&format!("pairs are asked in the order they have from now on: {error:#}"));
                return;
            }
            thread::sleep(PAUSE);
        }
    });
}

struct Follower {
    store: PathBuf,
    project: String,
    every: usize,
    /// Answers that the order knows of.
    n_seen: Option<usize>,
}

impl Follower {
    /// Counts the answers, and orders the pairs if there are enough new ones; tells whether it did.
    fn look(&mut self) -> Result<bool> {
        let n_answers = Store::read(&self.store)?.progress(&self.project)?.n_answers as usize;
        let is_due = match self.n_seen {
            None => n_answers > 0,
            Some(n_seen) => n_answers >= n_seen + self.every,
        };
        if !is_due {
            self.n_seen.get_or_insert(n_answers);
            return Ok(false);
        }
        let told = readable::information(&self.store, &self.project, BATCH.max(self.every))?;
        Store::open(&self.store)?.change(|change| change.set_information(&told))?;
        self.n_seen = Some(n_answers);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use rein_feedback::{Annotation, Choice, Judgement, NewTask, Response, Role, Shown, Split};

    use super::*;

    fn task(number: usize, words: [&str; 2]) -> NewTask {
        let response =
            |text: &str| Response { text: text.into(), finished: true, source: String::new() };
        NewTask {
            external_id: number.to_string(),
            prompt: "What now?".into(),
            split: Split::Train,
            responses: words.map(response).into(),
            overlap: 1,
            priority: 0.0,
            gold: None,
        }
    }

    #[test]
    fn what_nothing_is_known_of_is_asked_once_answers_came() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s.sqlite");
        let mut store = Store::open(&path).expect("opens");
        // Many pairs of one kind first, then some of another.
        let alike = (0..20).map(|it| task(it, ["kind words", "rude words"]));
        let other = (20..30).map(|it| task(it, ["one two three four", "seven"]));
        store.add_tasks("people", &alike.chain(other).collect::<Vec<_>>()).expect("adds");
        store.add_annotator("ann", Role::Person).expect("makes known");
        let mut follower =
            Follower { store: path.clone(), project: "people".into(), every: 4, n_seen: None };
        assert!(!follower.look().expect("looks"), "nobody said anything");
        for (number, task) in
            store.tasks("people", Split::Train).expect("reads")[..4].iter().enumerate()
        {
            assert!(!follower.look().expect("looks"));
            let said = Annotation {
                task: task.id,
                annotator: "ann".into(),
                answer: Judgement::preferred(Choice::First).into(),
                shown: Shown(vec![0, 1]),
                idem_key: number.to_string(),
                active_ms: None,
            };
            store.annotate(&[said]).expect("stores");
        }
        assert!(follower.look().expect("looks"));
        assert!(!follower.look().expect("looks"), "nothing new");
        let next = store.change(|it| it.next("people", "ann")).expect("asks").expect("a task");
        let number: usize = next.task.external_id.parse().expect("a number");
        assert!(number >= 20, "{number} is of the kind that is known");
    }
}
