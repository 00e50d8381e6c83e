//! What was said of the model's answers, and that the model knows it.
//!
//! Lessons lie in the store and nowhere else: whenever one comes or goes, and when the server starts, the model is given all
//! that count. So an answer that is taken back or changed isn't a lesson any more, and a server that was stopped goes on
//! with what it was taught.

use std::sync::{Arc, PoisonError};

use super::State;
use super::live::{OURS, Talk};
use crate::error::FeedbackError;
use crate::store::{Change, Lesson, Store};

/// Judgements that are lessons; older ones are left to reward models that are trained on all of them. What a model makes of
/// them is found anew with each judgement: with 768 to 2,048 features that takes a second for so many, and ten for twice as
/// many.
const MOST: usize = 500;

/// What a model shall know that answers in this project. Other tasks than its own may be kept to measure with.
pub(super) fn in_force(store: &Store, project: &str) -> Result<Vec<Lesson>, FeedbackError> {
    store.lessons(project, OURS, MOST)
}

/// Whether what is said of a task changes what the model shall know.
pub(super) fn change_by(
    talk: Option<&Talk>,
    change: &Change<'_>,
    task: i64,
) -> Result<bool, FeedbackError> {
    let Some(Talk { project, .. }) = talk.filter(|it| it.is_taught()) else { return Ok(false) };
    Ok(change.project_of(task)?.name == *project
        && change.task(task)?.external_id.starts_with(OURS))
}

/// Lets the model know what counts now; questions wait until it does.
pub(super) fn teach(state: &Arc<State>) {
    if !state.talk.as_ref().is_some_and(Talk::is_taught) {
        return;
    }
    let pending = Pending::new(state.clone());
    // What a model says of itself is told with its next answer; what is wrong with the store, to all who read it.
    drop(tokio::task::spawn_blocking(move || pending.teach()));
}

/// That the model doesn't know yet what counts.
struct Pending(Arc<State>);

impl Pending {
    fn new(state: Arc<State>) -> Self {
        state.lessons.send_modify(|n_pending| *n_pending += 1);
        Self(state)
    }

    /// Teaches, in turn. Those who wait would read what came before them, too: the last of them teaches it all.
    fn teach(self) -> Result<(), String> {
        let state = self.0.clone();
        let Some(talk) = &state.talk else { return Ok(()) };
        let _turn = state.teaching.lock().unwrap_or_else(PoisonError::into_inner);
        // Dropped before the turn ends, so that whoever is next counts only those who come later.
        let _this = self;
        if *state.lessons.borrow() > 1 {
            return Ok(());
        }
        let read = state.readers.with(|store| in_force(store, &talk.project));
        talk.model.learn(&read.map_err(|error| error.to_string())?)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.lessons.send_modify(|n_pending| *n_pending -= 1);
    }
}
