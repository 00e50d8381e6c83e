//! The addresses.

use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Extension, Query, Request, State as Shared};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderValue, SET_COOKIE};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use rein_data::jsonl;
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::ApiError;
use super::guard::{self, COOKIE, Caller, MAX_BODY, csrf_of};
use super::lessons;
use super::live::{self, Talk};
use super::wire::{self, SentAnnotation, SentTask, WireProgress};
use super::{State, assets, completions};
use crate::error::{FeedbackError, Refusal};
use crate::store::{Annotator, Change, Role, now, stopped};

type Reply = Result<Response, ApiError>;

/// All that the server answers.
pub(super) fn router(state: Arc<State>) -> Router {
    let known = Router::new()
        .route("/api/session", get(session).delete(log_out))
        .route("/api/projects", get(projects))
        .route("/api/next", get(next))
        .route("/api/annotations", post(annotate))
        .route("/api/undo", post(undo))
        .route("/api/events", post(event))
        .route("/api/progress", get(progress))
        .route("/api/tasks", post(add_tasks))
        .route("/api/export", get(export))
        .route("/api/live", post(live::ask))
        .route("/v1/models", get(completions::models))
        .route("/v1/chat/completions", post(completions::complete))
        .route_layer(from_fn_with_state(state.clone(), guard::authenticate));
    Router::new()
        .route("/api/session", post(log_in))
        .route("/healthz", get(async || Json(json!({ "ok": true }))))
        .merge(known)
        .fallback(async |request: Request| match request.method().as_str() {
            "GET" | "HEAD" => assets::get(request.uri().path()),
            _ => ApiError::not_found().into_response(),
        })
        .method_not_allowed_fallback(async || {
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "bad_method", "not by this method")
        })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn(guard::size))
        .layer(from_fn_with_state(state.clone(), guard::doors))
        .with_state(state)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogIn {
    token: String,
}

/// Gives a browser its cookie.
async fn log_in(
    Shared(state): Shared<Arc<State>>,
    body: Result<Json<LogIn>, JsonRejection>,
) -> Reply {
    let LogIn { token } = json_of(body)?;
    // All attempts share a bucket, so that nobody can try many tokens.
    guard::limit(&state, "")?;
    let found = guard::who(&state, token.clone()).await?;
    let annotator = found.ok_or_else(ApiError::unauthorized)?;
    let cookie = format!("{COOKIE}={token}; HttpOnly; SameSite=Strict; Path=/; Max-Age=2592000");
    let mut response = Json(who_am_i(&annotator, &csrf_of(&token))).into_response();
    let value = HeaderValue::from_str(&cookie)
        .map_err(|_| ApiError::bad_request("a token has hexadecimal digits"))?;
    response.headers_mut().insert(SET_COOKIE, value);
    Ok(response)
}

async fn session(Extension(caller): Extension<Caller>) -> Response {
    Json(who_am_i(&caller.annotator, &caller.csrf)).into_response()
}

async fn log_out() -> Response {
    let gone = format!("{COOKIE}=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0");
    let mut response = StatusCode::NO_CONTENT.into_response();
    let value = HeaderValue::from_str(&gone).expect("plain text");
    response.headers_mut().insert(SET_COOKIE, value);
    response
}

fn who_am_i(annotator: &Annotator, csrf: &str) -> Value {
    let role = if annotator.role == Role::Admin { "admin" } else { "person" };
    json!({ "annotator": annotator.name, "role": role, "csrf": csrf })
}

async fn projects(
    Shared(state): Shared<Arc<State>>,
    Extension(caller): Extension<Caller>,
) -> Reply {
    let mut projects = Vec::new();
    for project in state.readers.read(|store| store.projects()).await? {
        let (progress, _) = state.readers.progress(project.name.clone()).await?;
        projects.push(json!({
            "name": project.name,
            "kind": project.settings.kind.name(),
            "settings": project.settings,
            "progress": seen_by(&caller, &progress),
        }));
    }
    let live = state.talk.as_ref();
    let live = live.map(|it| json!({ "model": it.model.name(), "project": it.project }));
    Ok(Json(json!({ "projects": projects, "live": live })).into_response())
}

#[derive(Debug, Deserialize)]
struct OfProject {
    project: String,
}

async fn next(
    Shared(state): Shared<Arc<State>>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<OfProject>, QueryRejection>,
) -> Reply {
    let OfProject { project } = query_of(query)?;
    let (name, who) = (project.clone(), caller.annotator.name.clone());
    let asked = state.change(move |change| change.next(&name, &who)).await?;
    let task = asked.map(|asked| wire::asked(&asked, now()));
    let (progress, agreement) = state.readers.progress(project).await?;
    let progress = seen_by(&caller, &progress);
    Ok(Json(json!({ "task": task, "progress": progress, "agreement": agreement })).into_response())
}

async fn annotate(
    Shared(state): Shared<Arc<State>>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<SentAnnotation>, JsonRejection>,
) -> Reply {
    let sent = json_of(body)?;
    let who = caller.annotator.name;
    let talk = state.talk.clone();
    let stored = state.change(move |change| {
        let shown = change.shown_to(&who, sent.task)?;
        let sent = sent.in_task_order(&shown).map_err(Refusal::BadAnswer)?;
        let receipt = change.submit(&who, &sent)?;
        let is_lesson = lessons::change_by(talk.as_ref(), change, sent.task)?;
        Ok((receipt, is_lesson && !receipt.is_replay))
    });
    let (receipt, is_lesson) = stored.await?;
    if is_lesson {
        lessons::teach(&state);
    }
    Ok(Json(json!({ "id": receipt.annotation, "replay": receipt.is_replay })).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SentUndo {
    project: String,
    idem_key: String,
}

async fn undo(
    Shared(state): Shared<Arc<State>>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<SentUndo>, JsonRejection>,
) -> Reply {
    let SentUndo { project, idem_key } = json_of(body)?;
    let who = caller.annotator.name;
    let talk = state.talk.clone();
    let undone = state.change(move |change| {
        let asked = change.undo(&project, &who, &idem_key)?;
        let was_lesson = lessons::change_by(talk.as_ref(), change, asked.task.id)?;
        Ok((asked, was_lesson))
    });
    let (asked, was_lesson) = undone.await?;
    if was_lesson {
        lessons::teach(&state);
    }
    Ok(Json(json!({ "task": wire::asked(&asked, now()) })).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SentEvent {
    project: String,
    idem_key: String,
    event: Value,
}

async fn event(
    Shared(state): Shared<Arc<State>>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<SentEvent>, JsonRejection>,
) -> Reply {
    let SentEvent { project, idem_key, event } = json_of(body)?;
    let who = caller.annotator.name;
    let stored =
        state.change(move |change| change.add_event(&project, Some(&who), Some(&idem_key), &event));
    Ok(Json(json!({ "new": stored.await? })).into_response())
}

async fn progress(
    Shared(state): Shared<Arc<State>>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<OfProject>, QueryRejection>,
) -> Reply {
    let OfProject { project } = query_of(query)?;
    let name = project.clone();
    state.change(move |change| change.project(&name)).await?;
    let (progress, agreement) = state.readers.progress(project).await?;
    let progress = seen_by(&caller, &progress);
    Ok(Json(json!({ "progress": progress, "agreement": agreement })).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SentTasks {
    project: String,
    tasks: Vec<SentTask>,
}

/// Takes tasks of other programs.
async fn add_tasks(
    Shared(state): Shared<Arc<State>>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<SentTasks>, JsonRejection>,
) -> Reply {
    caller.must_be_admin()?;
    let SentTasks { project, tasks } = json_of(body)?;
    let tasks: Vec<_> = tasks.into_iter().map(SentTask::task).collect();
    let added = state.change(move |change| {
        change.project(&project)?;
        change.add_tasks(&project, &tasks)
    });
    Ok(Json(json!({ "new": added.await? })).into_response())
}

/// All answers that count, a line each.
async fn export(
    Shared(state): Shared<Arc<State>>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<OfProject>, QueryRejection>,
) -> Reply {
    caller.must_be_admin()?;
    let OfProject { project } = query_of(query)?;
    let name = project.clone();
    state.change(move |change| change.project(&name)).await?;
    let answers = state.readers.read(move |store| store.answers(&project)).await?;
    let lines: String = answers.iter().map(|it| jsonl::line(&wire::stored(it))).collect();
    Ok(([(CONTENT_TYPE, "application/jsonl")], lines).into_response())
}

fn seen_by<'a>(caller: &Caller, progress: &'a crate::store::Progress) -> WireProgress<'a> {
    let Annotator { name, role, .. } = &caller.annotator;
    WireProgress::new(progress, name, *role == Role::Admin)
}

impl Caller {
    /// Refuses whoever may not ask or answer any more.
    pub(super) fn must_be_active(&self) -> Result<(), ApiError> {
        let Annotator { name, is_suspended, .. } = &self.annotator;
        if *is_suspended {
            return Err(FeedbackError::from(Refusal::Suspended(name.clone())).into());
        }
        Ok(())
    }

    fn must_be_admin(&self) -> Result<(), ApiError> {
        self.must_be_active()?;
        match self.annotator.role {
            Role::Admin => Ok(()),
            _ => Err(ApiError::forbidden("forbidden", "this takes an admin's token")),
        }
    }
}

impl State {
    /// The model that answers.
    pub(super) fn talk(&self) -> Result<&Talk, ApiError> {
        self.talk.as_ref().ok_or_else(|| {
            let message = "no model answers here: the server was started without one";
            ApiError::new(StatusCode::NOT_FOUND, "no_model", message)
        })
    }

    /// Changes the store; answers once that is on the disk.
    async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Change<'_>) -> Result<T, FeedbackError> + Send + 'static,
    ) -> Result<T, FeedbackError> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.writer.send(change, move |result| drop(sender.send(result)));
        receiver.await.unwrap_or_else(|_| Err(stopped()))
    }
}

pub(super) fn json_of<T>(body: Result<Json<T>, JsonRejection>) -> Result<T, ApiError> {
    body.map(|Json(value)| value).map_err(|rejection| {
        let code = match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => "too_large",
            _ => "bad_request",
        };
        let status = match rejection.status() {
            StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
            status => status,
        };
        ApiError::new(status, code, rejection.body_text())
    })
}

fn query_of<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, ApiError> {
    query
        .map(|Query(value)| value)
        .map_err(|rejection| ApiError::bad_request(rejection.body_text()))
}
