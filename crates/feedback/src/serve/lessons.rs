//! What was said of the model's answers, and that the model knows it.
//!
//! Lessons lie in the store and nowhere else: whenever one came or went, the model is given all that count. So an answer that
//! is taken back, changed or thrown out isn't a lesson any more, and a server that was stopped goes on with what it was taught.

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

/// Lets the model know what counts now, meanwhile.
pub(super) fn teach(state: &Arc<State>) {
    let state = state.clone();
    // What a model says of itself is told with its next answer; what is wrong with the store, to all who read it.
    drop(tokio::task::spawn_blocking(move || refresh(&state)));
}

/// Lets the model know what counts now, if it doesn't yet. Called before each answer, too: what was said before it counts, and
/// so does what another program did to the store.
pub(super) fn refresh(state: &State) -> Result<(), String> {
    let Some(talk) = state.talk.as_ref().filter(|it| it.is_taught()) else { return Ok(()) };
    // Whoever waits here finds the model taught what they came for.
    let mut known = state.lessons.lock().unwrap_or_else(PoisonError::into_inner);
    let read = state.readers.with(|store| in_force(store, &talk.project));
    let read = read.map_err(|error| error.to_string())?;
    if *known != read {
        talk.model.learn(&read)?;
        *known = read;
    }
    Ok(())
}
