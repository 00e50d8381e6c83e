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
const SVG: &str = "image/svg+xml";
const JSON: &str = "application/json";

const ASSETS: &[Asset] = &[
    asset("/openapi.json", JSON, include_str!("openapi.json")),
    asset("/index.html", HTML, include_str!("assets/index.html")),
    asset("/style.css", CSS, include_str!("assets/style.css")),
    asset("/icon.svg", SVG, include_str!("assets/icon.svg")),
    asset("/theme.js", JS, include_str!("assets/theme.js")),
    asset("/app.js", JS, include_str!("assets/app.js")),
    asset("/beside.js", JS, include_str!("assets/beside.js")),
    asset("/cards.js", JS, include_str!("assets/cards.js")),
    asset("/choices.js", JS, include_str!("assets/choices.js")),
    asset("/clock.js", JS, include_str!("assets/clock.js")),
    asset("/desk.js", JS, include_str!("assets/desk.js")),
    asset("/dialogs.js", JS, include_str!("assets/dialogs.js")),
    asset("/dom.js", JS, include_str!("assets/dom.js")),
    asset("/drag.js", JS, include_str!("assets/drag.js")),
    asset("/forms.js", JS, include_str!("assets/forms.js")),
    asset("/i18n.js", JS, include_str!("assets/i18n.js")),
    asset("/keyboard.js", JS, include_str!("assets/keyboard.js")),
    asset("/lease.js", JS, include_str!("assets/lease.js")),
    asset("/live.js", JS, include_str!("assets/live.js")),
    asset("/markdown.js", JS, include_str!("assets/markdown.js")),
    asset("/nothing.js", JS, include_str!("assets/nothing.js")),
    asset("/notices.js", JS, include_str!("assets/notices.js")),
    asset("/outbox.js", JS, include_str!("assets/outbox.js")),
    asset("/places.js", JS, include_str!("assets/places.js")),
    asset("/ranks.js", JS, include_str!("assets/ranks.js")),
    asset("/session.js", JS, include_str!("assets/session.js")),
    asset("/sheet.js", JS, include_str!("assets/sheet.js")),
    asset("/signals.js", JS, include_str!("assets/signals.js")),
    asset("/stream.js", JS, include_str!("assets/stream.js")),
    asset("/text.js", JS, include_str!("assets/text.js")),
    asset("/ticks.js", JS, include_str!("assets/ticks.js")),
    asset("/top.js", JS, include_str!("assets/top.js")),
    asset("/turns.js", JS, include_str!("assets/turns.js")),
    asset("/words.js", JS, include_str!("assets/words.js")),
    asset("/modes/edit.js", JS, include_str!("assets/modes/edit.js")),
    asset("/modes/pair.js", JS, include_str!("assets/modes/pair.js")),
    asset("/modes/ranking.js", JS, include_str!("assets/modes/ranking.js")),
    asset("/modes/red_team.js", JS, include_str!("assets/modes/red_team.js")),
    asset("/modes/score.js", JS, include_str!("assets/modes/score.js")),
    asset("/modes/thumbs.js", JS, include_str!("assets/modes/thumbs.js")),
];

const fn asset(path: &'static str, kind: &'static str, text: &'static str) -> Asset {
    Asset { path, kind, text }
}

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
