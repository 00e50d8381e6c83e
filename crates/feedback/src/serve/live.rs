//! Live mode: the model answers what somebody types, and they judge what it said.
//!
//! Where the project compares pairs, it answers twice, and they say which answer is better. What was said is stored as a task
//! of its own with its answer, and takes effect at once: the model learns it before the next question. Where neither the
//! reward's models disagree nor the answers are uncertain, nobody is bothered: the best answer alone is shown, and what
//! becomes of it arrives as events. Where the project judges attacks, it answers once, and how far the attack went is always
//! asked: an attack that failed says as much.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, State as Shared};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response as Reply};
use rein_data::example::Content;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use super::error::ApiError;
use super::guard::Caller;
use super::model::{Answers, Ask, AskWhen, Message, Model, Wishes};
use super::{State, api, lessons, wire};
use crate::error::{FeedbackError, Refusal};
use crate::records::{Kind, NewTask, Response, Split};
use crate::store::{Store, now, sha256};

/// Pieces that wait for a slow browser before the model waits, too.
const PIECES: usize = 256;
/// What the names of the model's own tasks begin with.
pub(super) const OURS: &str = "live/";
/// The longest question, in bytes.
const MAX_PROMPT: usize = 64 << 10;

/// A model, where its answers are kept, and when it asks.
#[derive(Clone, Debug)]
pub struct Live {
    /// It.
    pub model: Arc<dyn Model>,
    /// The project that keeps its answers; one of pairs or of attacks.
    pub project: String,
    /// When somebody is asked which of two answers is better.
    pub ask: AskWhen,
}

/// The same, once its project was found.
#[derive(Clone, Debug)]
pub(super) struct Talk {
    pub(super) model: Arc<dyn Model>,
    pub(super) project: String,
    pub(super) asking: Asking,
}

/// What is asked of the model's answers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asking {
    /// Which of two is better, where that is worth somebody's time.
    Better(AskWhen),
    /// How far an attack went.
    Attack,
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
    let talk = state.talk()?.clone();
    if question.project != talk.project {
        let message = format!("the model answers in the project `{}`", talk.project);
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
    let (sender, receiver) = channel(PIECES);
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        answer(&state, &talk, &caller.annotator.name, &question, &sender);
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
    talk: &Talk,
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
        n: talk.asking.n_answers(),
        wishes: Wishes::default(),
    };
    // What is wrong with the store is told where the answer is kept.
    let _ = lessons::refresh(state);
    let mut is_heard = true;
    let mut tell = |item, text: &str| {
        let told = told("token", json!({ "item": item, "text": text }));
        is_heard = told.is_continue();
        told
    };
    let done = talk.model.answer(&ask, &mut tell);
    if !is_heard {
        // Half an answer is nothing to judge.
        return;
    }
    let done = done.and_then(|answers| keep(state, talk, annotator, question, &id, &answers));
    let _ = match done {
        Ok(done) => told("done", done),
        Err(message) => told("error", json!({ "code": "model", "message": message })),
    };
}

/// Stores the answers, as a task to judge or as what was shown, and says what the page shall do.
fn keep(
    state: &Arc<State>,
    talk: &Talk,
    annotator: &str,
    question: &SentQuestion,
    id: &str,
    answers: &Answers,
) -> Result<Value, String> {
    let asks = talk.asking.asks(answers);
    let (project, name, best) = (talk.project.clone(), annotator.to_owned(), answers.best());
    let why = talk.asking.why(answers);
    let task = new_task(talk, question, id, answers);
    let event = json!({
        "v": 1, "type": "live", "ts_ms": now(), "request_id": id, "prompt": task.prompt,
        "items": answers.samples.iter().map(|it| &it.text).collect::<Vec<_>>(),
        "finished": answers.samples.iter().map(|it| it.finished).collect::<Vec<_>>(),
        "scores": answers.samples.iter().map(|it| it.score).collect::<Vec<_>>(),
        "best": best, "asked": asks, "why": why,
    });
    let kept = state.writer.change(move |change| {
        change.add_event(&project, Some(&name), Some(&task.external_id), &event)?;
        asks.then(|| change.ask_now(&project, &name, &task)).transpose()
    });
    let asked = kept.map_err(|error| error.to_string())?;
    let task = asked.map(|asked| wire::asked(&asked, now()));
    Ok(json!({ "ask": asks, "why": why, "task": task, "best": best }))
}

fn new_task(talk: &Talk, question: &SentQuestion, id: &str, answers: &Answers) -> NewTask {
    let response = |sample: &super::model::Sampled| Response {
        text: sample.text.clone(),
        finished: sample.finished,
        source: talk.model.name(),
    };
    NewTask {
        external_id: format!("{OURS}{id}"),
        prompt: match talk.model.reads_messages() {
            true => Content::Messages(vec![json!({ "role": "user", "content": question.prompt })]),
            false => question.prompt.as_str().into(),
        },
        split: Split::Train,
        responses: answers.samples.iter().map(response).collect(),
        overlap: 1,
        priority: 0.0,
        gold: None,
    }
}

/// A name for a question that other people's keys can't take.
fn request_id(annotator: &str, key: &str) -> String {
    sha256(&format!("{annotator}\u{1f}{key}"))[..32].to_owned()
}

impl Talk {
    /// Looks for the project, and refuses what couldn't be judged or read.
    pub(super) fn find(store: &Path, live: &Live) -> Result<Self, FeedbackError> {
        let Live { model, project, ask } = live.clone();
        let store = Store::read(store)?;
        let found = store.projects()?.into_iter().find(|it| it.name == project);
        let found = found.ok_or_else(|| Refusal::NoProject(project.clone()))?;
        let asking = Asking::of(&found.settings.kind, ask).ok_or_else(|| {
            let reason = "live mode compares pairs or judges attacks, and this project asks \
                          something else; name another project";
            Refusal::BadProject(project.clone(), reason.into())
        })?;
        lessons::in_force(&store, &project)?;
        Ok(Self { model, project, asking })
    }

    /// Whether the model learns what people say: how far an attack went prefers nothing to anything.
    pub(super) fn is_taught(&self) -> bool {
        matches!(self.asking, Asking::Better(_))
    }
}

impl Asking {
    /// What a project asks, if it can be asked of answers that have just been given.
    fn of(kind: &Kind, ask: AskWhen) -> Option<Self> {
        match kind {
            Kind::Pair { .. } => Some(Self::Better(ask)),
            Kind::RedTeam => Some(Self::Attack),
            _ => None,
        }
    }

    fn n_answers(self) -> usize {
        match self {
            Self::Better(_) => 2,
            Self::Attack => 1,
        }
    }

    fn asks(self, answers: &Answers) -> bool {
        match self {
            Self::Better(when) => when.asks(answers),
            Self::Attack => true,
        }
    }

    /// What decided about that.
    fn why(self, answers: &Answers) -> Value {
        let thresholds = match self {
            Self::Better(when) => when,
            Self::Attack => AskWhen { disagreement: None, entropy: None },
        };
        json!({
            "disagreement": answers.disagreement,
            "entropy": answers.entropy(),
            "thresholds": {
                "disagreement": thresholds.disagreement,
                "entropy": thresholds.entropy,
            },
        })
    }
}
