//! `/v1/chat/completions` and `/v1/models`: the model behind the interface that chat programs know.
//!
//! After OpenAI's API reference: `messages`, `n`, `temperature`, `top_p`, `max_tokens` or `max_completion_tokens`, `stop`,
//! `seed`, `stream` and `stream_options.include_usage` do what they say there, other parameters are passed over. With
//! `"store": true` whoever asks agrees that the conversation is kept; without it, nothing of it is.

use std::ops::ControlFlow;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, State as Shared};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc::{Sender, channel};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use super::error::ApiError;
use super::guard::Caller;
use super::live::Talk;
use super::model::{Answers, Ask, Message, Wishes};
use super::{State, api, lessons};
use crate::store::{now, random_token};

/// Answers to one question at most.
const MAX_N: usize = 8;
/// Messages of a conversation at most.
const MAX_MESSAGES: usize = 1024;
/// Pieces that wait for a slow client before the model waits, too.
const PIECES: usize = 256;

#[derive(Debug, Deserialize)]
pub(super) struct SentChat {
    messages: Vec<SentMessage>,
    /// Passed over, as long as it is a name.
    #[serde(default, rename = "model")]
    _model: Option<String>,
    #[serde(default)]
    n: Option<usize>,
    #[serde(default)]
    temperature: Option<f64>,
    #[serde(default)]
    top_p: Option<f64>,
    #[serde(default)]
    max_tokens: Option<usize>,
    #[serde(default)]
    max_completion_tokens: Option<usize>,
    #[serde(default)]
    stop: Option<Stop>,
    #[serde(default)]
    seed: Option<i64>,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    stream_options: Option<StreamOptions>,
    #[serde(default)]
    store: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct SentMessage {
    role: String,
    content: Content,
}

/// A text, or parts of which those that are texts count.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Deserialize)]
struct Part {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    text: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Stop {
    One(String),
    Some(Vec<String>),
}

#[derive(Debug, Default, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

/// What both ways of answering need.
struct Chat {
    id: String,
    created: i64,
    model: String,
    ask: Ask,
    include_usage: bool,
}

/// Tells which model there is.
pub(super) async fn models(Shared(state): Shared<Arc<State>>) -> Result<Response, ApiError> {
    let name = state.talk()?.model.name();
    let model = json!({ "id": name, "object": "model", "created": 0, "owned_by": "rein" });
    Ok(Json(json!({ "object": "list", "data": [model] })).into_response())
}

/// Answers a conversation, at once or piece by piece.
pub(super) async fn complete(
    Shared(state): Shared<Arc<State>>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<SentChat>, JsonRejection>,
) -> Result<Response, ApiError> {
    caller.must_be_active()?;
    let sent = api::json_of(body)?;
    let talk = state.talk()?.clone();
    let (is_stream, is_kept) = (sent.stream == Some(true), sent.store == Some(true));
    let chat = Chat::new(sent, talk.model.name())?;
    let permit = state.generations.clone().try_acquire_owned().map_err(|_| {
        let message = "the model answers others; try again in a moment";
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message)
    })?;
    let (sender, mut receiver) = channel::<Value>(PIECES);
    let working = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        // What is wrong with the store is told to all who read it, and an answer is given nevertheless.
        let _ = lessons::refresh(&state);
        let done = chat.work(&talk, &sender, is_stream);
        // What nobody waited for is kept by nobody's wish.
        if let (true, Ok(answers)) = (is_kept && !sender.is_closed(), &done) {
            chat.keep(&state, &talk, &caller.annotator.name, answers)?;
        }
        done.map(|answers| chat.whole(&answers))
    });
    if is_stream {
        let chunks = ReceiverStream::new(receiver)
            .map(|chunk| Event::default().data(chunk.to_string()))
            .chain(tokio_stream::once(Event::default().data("[DONE]")))
            .map(Ok::<_, std::convert::Infallible>);
        return Ok(Sse::new(chunks).keep_alive(KeepAlive::default()).into_response());
    }
    let failed =
        |message: String| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "model", message);
    let done = working.await.map_err(|_| failed("the model failed".into()))?;
    // A client that leaves before ends this function here, and with its receiver the model's work.
    receiver.close();
    Ok(Json(done.map_err(failed)?).into_response())
}

impl Chat {
    fn new(sent: SentChat, model: String) -> Result<Self, ApiError> {
        let n = sent.n.unwrap_or(1);
        if !(1..=MAX_N).contains(&n) {
            return Err(ApiError::bad_request(format!("`n` is 1 to {MAX_N}")));
        }
        if sent.messages.is_empty() || sent.messages.len() > MAX_MESSAGES {
            return Err(ApiError::bad_request(format!("there are 1 to {MAX_MESSAGES} messages")));
        }
        let in_range =
            |value: Option<f64>, most: f64| value.is_none_or(|it| (0.0..=most).contains(&it));
        if !in_range(sent.temperature, 2.0) || !in_range(sent.top_p, 1.0) {
            return Err(ApiError::bad_request("`temperature` is 0 to 2 and `top_p` 0 to 1"));
        }
        let max_tokens = sent.max_completion_tokens.or(sent.max_tokens);
        if max_tokens == Some(0) {
            return Err(ApiError::bad_request("`max_tokens` is at least 1"));
        }
        let stop = match sent.stop {
            None => Vec::new(),
            Some(Stop::One(text)) => vec![text],
            Some(Stop::Some(texts)) => texts,
        };
        if stop.len() > 16 || stop.iter().any(String::is_empty) {
            return Err(ApiError::bad_request("`stop` is up to 16 texts that aren't empty"));
        }
        let messages =
            sent.messages.into_iter().map(SentMessage::plain).collect::<Result<_, _>>()?;
        let wishes = Wishes {
            temperature: sent.temperature,
            top_p: sent.top_p,
            max_tokens,
            stop,
            seed: sent.seed.map(i64::cast_unsigned),
        };
        Ok(Self {
            id: format!("chatcmpl-{}", &random_token()?[..24]),
            created: now() / 1000,
            model,
            ask: Ask { messages, n, wishes },
            include_usage: sent.stream_options.unwrap_or_default().include_usage,
        })
    }

    /// Samples the answers as long as somebody listens; tells their pieces, if they are wanted.
    fn work(
        &self,
        talk: &Talk,
        pieces: &Sender<Value>,
        is_stream: bool,
    ) -> Result<Answers, String> {
        let mut has_begun = vec![false; self.ask.n];
        let mut tell = |place: usize, text: &str| {
            if pieces.is_closed() {
                return ControlFlow::Break(());
            }
            if !is_stream {
                return ControlFlow::Continue(());
            }
            let mut delta = json!({ "content": text });
            if !std::mem::replace(&mut has_begun[place], true) {
                delta["role"] = json!("assistant");
            }
            match pieces.blocking_send(self.chunk(place, &delta, Value::Null)) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        };
        let done = talk.model.answer(&self.ask, &mut tell);
        if is_stream {
            self.end(&done, pieces);
        }
        done
    }

    /// The last chunks: why each answer ended, and what it cost.
    fn end(&self, done: &Result<Answers, String>, pieces: &Sender<Value>) {
        let send = |chunk| drop(pieces.blocking_send(chunk));
        match done {
            Err(message) => send(json!({ "error": { "code": "model", "message": message } })),
            Ok(answers) => {
                for (place, sample) in answers.samples.iter().enumerate() {
                    send(self.chunk(place, &json!({}), json!(reason(sample.finished))));
                }
                if self.include_usage {
                    let mut last = self.chunk(0, &json!({}), Value::Null);
                    last["choices"] = json!([]);
                    last["usage"] = usage(answers);
                    send(last);
                }
            }
        }
    }

    fn chunk(&self, place: usize, delta: &Value, finish: Value) -> Value {
        json!({
            "id": self.id, "object": "chat.completion.chunk", "created": self.created,
            "model": self.model,
            "choices": [{ "index": place, "delta": delta, "finish_reason": finish }],
        })
    }

    fn whole(&self, answers: &Answers) -> Value {
        let choice = |(place, sample): (usize, &super::model::Sampled)| {
            json!({
                "index": place, "finish_reason": reason(sample.finished),
                "message": { "role": "assistant", "content": sample.text },
            })
        };
        let choices: Vec<Value> = answers.samples.iter().enumerate().map(choice).collect();
        json!({
            "id": self.id, "object": "chat.completion", "created": self.created,
            "model": self.model, "choices": choices, "usage": usage(answers),
        })
    }

    /// Keeps the conversation, as its owner agreed.
    fn keep(
        &self,
        state: &Arc<State>,
        talk: &Talk,
        annotator: &str,
        answers: &Answers,
    ) -> Result<(), String> {
        let event = json!({
            "v": 1, "type": "chat", "ts_ms": now(), "request_id": self.id, "model": self.model,
            "messages": self.ask.messages,
            "items": answers.samples.iter().map(|it| &it.text).collect::<Vec<_>>(),
        });
        let (project, name, key) = (talk.project.clone(), annotator.to_owned(), self.id.clone());
        let kept = state
            .writer
            .change(move |change| change.add_event(&project, Some(&name), Some(&key), &event));
        kept.map(drop).map_err(|error| error.to_string())
    }
}

impl SentMessage {
    fn plain(self) -> Result<Message, ApiError> {
        let content = match self.content {
            Content::Text(text) => text,
            Content::Parts(parts) => {
                if let Some(part) = parts.iter().find(|it| it.kind != "text") {
                    let message =
                        format!("the model reads texts, not parts of type `{}`", part.kind);
                    return Err(ApiError::bad_request(message));
                }
                let texts: Option<String> = parts.into_iter().map(|it| it.text).collect();
                texts.ok_or_else(|| ApiError::bad_request("a part of type `text` has a `text`"))?
            }
        };
        if !matches!(self.role.as_str(), "system" | "developer" | "user" | "assistant") {
            let message = format!("`{}` is no role that the model knows", self.role);
            return Err(ApiError::bad_request(message));
        }
        let role = if self.role == "developer" { "system".into() } else { self.role };
        Ok(Message { role, content })
    }
}

fn reason(finished: bool) -> &'static str {
    if finished { "stop" } else { "length" }
}

fn usage(answers: &Answers) -> Value {
    let n_completion: usize = answers.samples.iter().map(|it| it.n_tokens).sum();
    json!({
        "prompt_tokens": answers.n_prompt_tokens, "completion_tokens": n_completion,
        "total_tokens": answers.n_prompt_tokens + n_completion,
    })
}
