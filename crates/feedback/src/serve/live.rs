//! Live mode: the model answers what somebody types, twice, and they say which answer is better.
//!
//! What was said is stored as a task of its own with its answer, and takes effect at once: the model learns it before the
//! next question. Where neither the reward's models disagree nor the answers are uncertain, nobody is bothered: the best
//! answer alone is shown, and what becomes of it arrives as events.

use std::ops::ControlFlow;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, State as Shared};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response as Reply};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use super::error::ApiError;
use super::guard::Caller;
use super::model::{Answers, Ask, AskWhen, Lesson, Message, Model, Wishes};
use super::{State, api, wire};
use crate::error::FeedbackError;
use crate::records::{Choice, Judgement, Kind, NewTask, Response, Split};
use crate::store::{Change, now, sha256};

/// Pieces that wait for a slow browser before the model waits, too.
const PIECES: usize = 256;
/// What the names of the model's own tasks begin with.
const OURS: &str = "live/";
/// The longest question, in bytes.
const MAX_PROMPT: usize = 64 << 10;

/// A model, where its answers are kept, and when it asks.
#[derive(Clone, Debug)]
pub struct Live {
    /// It.
    pub model: Arc<dyn Model>,
    /// The project that keeps its answers; one of pairs.
    pub project: String,
    /// When somebody is asked which answer is better.
    pub ask: AskWhen,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SentQuestion {
    project: String,
    prompt: String,
    idem_key: String,
}

/// Answers a question, piece by piece.
pub(super) async fn ask(
    Shared(state): Shared<Arc<State>>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<SentQuestion>, JsonRejection>,
) -> Result<Reply, ApiError> {
    caller.must_be_active()?;
    let question = api::json_of(body)?;
    let live = state.live()?.clone();
    if question.project != live.project {
        let message = format!("the model answers in the project `{}`", live.project);
        return Err(ApiError::bad_request(message));
    }
    if question.prompt.trim().is_empty() || question.prompt.len() > MAX_PROMPT {
        let message = format!("a question has 1 to {MAX_PROMPT} bytes");
        return Err(ApiError::bad_request(message));
    }
    let key = question.idem_key.as_str();
    if key.is_empty() || key.len() > 128 {
        return Err(ApiError::bad_request("`idem_key` has 1 to 128 bytes"));
    }
    let permit = state.generations.clone().try_acquire_owned().map_err(|_| {
        let message = "the model answers others; try again in a moment";
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message)
    })?;
    // What was said before the question counts for its answer.
    let _ = state.lessons.subscribe().wait_for(|n_pending| *n_pending == 0).await;
    let (sender, receiver) = channel(PIECES);
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        answer(&state, &live, &caller.annotator.name, &question, &sender);
    });
    Ok(stream(receiver).into_response())
}

fn stream(receiver: Receiver<(&'static str, Value)>) -> impl IntoResponse {
    let events = ReceiverStream::new(receiver).map(|(name, data)| {
        Ok::<_, std::convert::Infallible>(Event::default().event(name).data(data.to_string()))
    });
    Sse::new(events).keep_alive(KeepAlive::default())
}

fn answer(
    state: &Arc<State>,
    live: &Live,
    annotator: &str,
    question: &SentQuestion,
    to: &Sender<(&'static str, Value)>,
) {
    let told = |name, data| match to.blocking_send((name, data)) {
        Ok(()) => ControlFlow::Continue(()),
        // Nobody listens any more.
        Err(_) => ControlFlow::Break(()),
    };
    let id = request_id(annotator, &question.idem_key);
    if told("start", json!({ "request": id })).is_break() {
        return;
    }
    let content = question.prompt.clone();
    let ask = Ask {
        messages: vec![Message { role: "user".into(), content }],
        n: 2,
        wishes: Wishes::default(),
    };
    let mut is_heard = true;
    let mut tell = |item, text: &str| {
        let told = told("token", json!({ "item": item, "text": text }));
        is_heard = told.is_continue();
        told
    };
    let done = live.model.answer(&ask, &mut tell);
    if !is_heard {
        // Half an answer is nothing to judge.
        return;
    }
    let done = done.and_then(|answers| keep(state, live, annotator, question, &id, &answers));
    let _ = match done {
        Ok(done) => told("done", done),
        Err(message) => told("error", json!({ "code": "model", "message": message })),
    };
}

/// Stores the answers, as a task to judge or as what was shown, and says what the page shall do.
fn keep(
    state: &Arc<State>,
    live: &Live,
    annotator: &str,
    question: &SentQuestion,
    id: &str,
    answers: &Answers,
) -> Result<Value, String> {
    let asks = live.ask.asks(answers);
    let (project, name, best) = (live.project.clone(), annotator.to_owned(), answers.best());
    let why = json!({
        "disagreement": answers.disagreement,
        "entropy": answers.entropy(),
        "thresholds": { "disagreement": live.ask.disagreement, "entropy": live.ask.entropy },
    });
    let event = json!({
        "v": 1, "type": "live", "ts_ms": now(), "request_id": id, "prompt": question.prompt,
        "items": answers.samples.iter().map(|it| &it.text).collect::<Vec<_>>(),
        "scores": answers.samples.iter().map(|it| it.score).collect::<Vec<_>>(),
        "best": best, "asked": asks, "why": why,
    });
    let task = new_task(live, question, id, answers);
    let kept = state.writer.change(move |change| {
        change.add_event(&project, Some(&name), Some(&task.external_id), &event)?;
        asks.then(|| change.ask_now(&project, &name, &task)).transpose()
    });
    let asked = kept.map_err(|error| error.to_string())?;
    let task = asked.map(|asked| wire::asked(&asked, now()));
    Ok(json!({ "ask": asks, "why": why, "task": task, "best": best }))
}

fn new_task(live: &Live, question: &SentQuestion, id: &str, answers: &Answers) -> NewTask {
    let response = |sample: &super::model::Sampled| Response {
        text: sample.text.clone(),
        finished: sample.finished,
        source: live.model.name(),
    };
    NewTask {
        external_id: format!("{OURS}{id}"),
        prompt: question.prompt.as_str().into(),
        split: Split::Train,
        responses: answers.samples.iter().map(response).collect(),
        overlap: 1,
        priority: 0.0,
        gold: None,
    }
}

/// What a judgement teaches, if it is one of the model's own answers. Other tasks may be kept to measure with.
pub(super) fn lesson(
    live: &Live,
    change: &Change<'_>,
    task: i64,
    judgement: &Judgement,
) -> Result<Option<Lesson>, FeedbackError> {
    let Judgement::Preferred { choice, .. } = judgement else { return Ok(None) };
    let is_ours = change.project_of(task)?.name == live.project;
    let task = change.task(task)?;
    if !is_ours || !task.external_id.starts_with(OURS) {
        return Ok(None);
    }
    let text = |choice: Choice| task.responses.get(choice.index()).map(|it| it.text.clone());
    let texts = text(*choice).zip(text(choice.other()));
    Ok(texts.map(|(chosen, rejected)| Lesson { prompt: task.prompt.to_text(), chosen, rejected }))
}

/// Lets the model learn; questions wait until it has.
pub(super) fn learn(state: &Arc<State>, lesson: Lesson) {
    let Some(live) = &state.live else { return };
    let (model, pending) = (live.model.clone(), Pending::new(state.clone()));
    // What it says of itself is told with its next answer.
    drop(tokio::task::spawn_blocking(move || {
        let _pending = pending;
        model.learn(&lesson)
    }));
}

/// A lesson that isn't learnt yet.
struct Pending(Arc<State>);

impl Pending {
    fn new(state: Arc<State>) -> Self {
        state.lessons.send_modify(|n_pending| *n_pending += 1);
        Self(state)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.lessons.send_modify(|n_pending| *n_pending -= 1);
    }
}

/// A name for a question that other people's keys can't take.
fn request_id(annotator: &str, key: &str) -> String {
    sha256(&format!("{annotator}\u{1f}{key}"))[..32].to_owned()
}

impl Live {
    /// Whether such a project can keep the answers.
    pub(super) fn fits(kind: &Kind) -> bool {
        matches!(kind, Kind::Pair { .. })
    }
}
