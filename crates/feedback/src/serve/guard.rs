//! What every request must pass, and what every response says.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::to_bytes;
use axum::extract::{Request, State as Shared};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use super::State;
use super::error::ApiError;
use crate::store::{Annotator, sha256};

/// The cookie that holds a browser's token.
pub(super) const COOKIE: &str = "rein_session";
/// The header by which pages show that they are ours.
const CSRF: HeaderName = HeaderName::from_static("x-rein-csrf");

/// The largest request, in bytes.
pub(super) const MAX_BODY: usize = 1 << 20;

/// Pages take scripts and styles from us alone, and nobody may frame them.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'";

/// Who sends a request.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) annotator: Annotator,
    /// What a page shows to prove that it is ours.
    pub(super) csrf: String,
}

/// Refuses other hosts and other sites' pages, whatever they ask for.
pub(super) async fn doors(
    Shared(state): Shared<Arc<State>>,
    request: Request,
    next: Next,
) -> Response {
    let refusal = foreign(&state, request.method(), request.headers());
    let mut response = match refusal {
        Some(error) => error.into_response(),
        None => next.run(request).await,
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Refuses what is too large by its own account. Some of it is read first: whoever still sends doesn't read the answer.
pub(super) async fn size(request: Request, next: Next) -> Response {
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|it| it.to_str().ok()).and_then(|it| it.parse::<u64>().ok());
    if length.is_none_or(|it| it <= MAX_BODY as u64) {
        return next.run(request).await;
    }
    let rest = to_bytes(request.into_body(), 4 * MAX_BODY);
    drop(tokio::time::timeout(Duration::from_secs(2), rest).await);
    let message = format!("a request has at most {MAX_BODY} bytes");
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message).into_response()
}

/// Finds out who asks, and whether they ask too often.
pub(super) async fn authenticate(
    Shared(state): Shared<Arc<State>>,
    mut request: Request,
    next: Next,
) -> Response {
    let (method, headers) = (request.method().clone(), request.headers().clone());
    match caller(&state, &method, &headers).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(error) => error.into_response(),
    }
}

async fn caller(
    state: &Arc<State>,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Caller, ApiError> {
    let bearer = bearer(headers);
    let Some(token) = bearer.clone().or_else(|| cookie(headers)) else {
        return Err(ApiError::unauthorized());
    };
    let found = who(state, token.clone()).await?;
    let Some(annotator) = found else { return Err(ApiError::unauthorized()) };
    limit(state, &annotator.name)?;
    let csrf = csrf_of(&token);
    let is_read = matches!(*method, Method::GET | Method::HEAD);
    if bearer.is_none() && !is_read {
        let shown = headers.get(&CSRF).map(HeaderValue::as_bytes).unwrap_or_default();
        if !bool::from(shown.ct_eq(csrf.as_bytes())) {
            let message = "the page is out of date; load it again";
            return Err(ApiError::forbidden("bad_csrf", message));
        }
    }
    Ok(Caller { annotator, csrf })
}

/// Whose token this is.
pub(super) async fn who(state: &Arc<State>, token: String) -> Result<Option<Annotator>, ApiError> {
    Ok(state.readers.read(move |store| store.by_token(&token)).await?)
}

/// What a page that was given this token shows.
pub(super) fn csrf_of(token: &str) -> String {
    sha256(&format!("csrf {token}"))
}

/// Says no to whoever asks too often.
pub(super) fn limit(state: &State, whose: &str) -> Result<(), ApiError> {
    let wait = |wait: Duration| ApiError::too_many(wait.as_secs_f64().ceil().max(1.0) as u64);
    state.rate.take(whose, Instant::now()).map_err(wait)
}

/// Why a request isn't meant for us, if it isn't.
fn foreign(state: &State, method: &Method, headers: &HeaderMap) -> Option<ApiError> {
    let host = headers.get(header::HOST).and_then(|it| it.to_str().ok());
    if !host.is_some_and(|host| is_known(state, host)) {
        let message = "the server isn't known by this name; name it by --host";
        return Some(ApiError::forbidden("bad_host", message));
    }
    if matches!(*method, Method::GET | Method::HEAD) {
        return None;
    }
    let from_elsewhere = match headers.get(header::ORIGIN) {
        Some(origin) => {
            let origin = origin.to_str().unwrap_or_default();
            let rest = origin.split_once("://").map(|(_, rest)| rest);
            rest.is_none_or(|origin| Some(origin) != host)
        }
        None => false,
    };
    let site = headers.get("sec-fetch-site").and_then(|it| it.to_str().ok());
    if from_elsewhere || site.is_some_and(|site| !matches!(site, "same-origin" | "none")) {
        let message = "changes are taken from the server's own pages only";
        return Some(ApiError::forbidden("bad_origin", message));
    }
    None
}

fn is_known(state: &State, host: &str) -> bool {
    let has_port = |port: &str| !port.is_empty() && port.bytes().all(|it| it.is_ascii_digit());
    let name = match host.rsplit_once(':') {
        Some((name, port)) if has_port(port) && (!name.contains(':') || name.ends_with(']')) => {
            name
        }
        _ => host,
    };
    state.hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
}

fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    value.strip_prefix("Bearer ").map(str::to_owned)
}

fn cookie(headers: &HeaderMap) -> Option<String> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|it| it.to_str().ok());
    all.flat_map(|it| it.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE)
        .map(|(_, value)| value.to_owned())
}
