//! The page. Its files lie in the program; no path of a request is ever joined to one of the disk.

use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::error::ApiError;

struct Asset {
    path: &'static str,
    kind: &'static str,
    text: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const JSON: &str = "application/json";

const ASSETS: [Asset; 1] =
    [Asset { path: "/openapi.json", kind: JSON, text: include_str!("openapi.json") }];

/// The file at an address.
pub(super) fn get(path: &str) -> Response {
    let path = if path == "/" { "/index.html" } else { path };
    match ASSETS.iter().find(|asset| asset.path == path) {
        Some(Asset { kind, text, .. }) => {
            // A page of another version is never mixed with this one.
            ([(header::CONTENT_TYPE, *kind), (header::CACHE_CONTROL, "no-cache")], *text)
                .into_response()
        }
        None => ApiError::not_found().into_response(),
    }
}
