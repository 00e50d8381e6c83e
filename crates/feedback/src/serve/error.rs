//! What a request is told that can't be answered.

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::error::{FeedbackError, Refusal};

/// An error as JSON: `{"error": {"code", "message"}}`.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    /// Seconds after which it may be tried again.
    retry_after: Option<u64>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retry_after: None }
    }

    pub(super) fn too_many(seconds: u64) -> Self {
        let message = "too many requests; the page tries again by itself";
        let error = Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many", message);
        Self { retry_after: Some(seconds), ..error }
    }

    pub(super) fn unauthorized() -> Self {
        let message = "log in with the link that `rein feedback serve` or an admin gave you";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
    }

    pub(super) fn forbidden(code: &'static str, message: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, message)
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    pub(super) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "there is nothing at this address")
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Self { status, code, message, retry_after } = self;
        let body = Json(json!({ "error": { "code": code, "message": message } }));
        let mut response = (status, body).into_response();
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl From<FeedbackError> for ApiError {
    fn from(error: FeedbackError) -> Self {
        let message = error.to_string();
        match &error {
            FeedbackError::Refused(refusal) => Self::new(status(refusal), refusal.code(), message),
            _ if error.is_disk_full() => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "disk_full", message)
            }
            _ => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "store", message),
        }
    }
}

fn status(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::NoProject(_) | Refusal::NoTask(_) | Refusal::NoAnnotator(_) => {
            StatusCode::NOT_FOUND
        }
        Refusal::Suspended(_) => StatusCode::FORBIDDEN,
        Refusal::NotAsked(_)
        | Refusal::Full(_)
        | Refusal::KeyTaken(_)
        | Refusal::NothingToUndo(_) => StatusCode::CONFLICT,
        Refusal::BadAnswer(_) | Refusal::BadProject(..) | Refusal::BadTask(..) => {
            StatusCode::BAD_REQUEST
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_a_broken_store() {
        let failed = |code: i32| {
            let source = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
            let ApiError { status, code, .. } = FeedbackError::from(source).into();
            (status.as_u16(), code)
        };
        assert_eq!(failed(rusqlite::ffi::SQLITE_FULL), (507, "disk_full"));
        assert_eq!(failed(rusqlite::ffi::SQLITE_CORRUPT), (500, "store"));
    }
}
