//! What every operation turns away, whatever it does.

use rein_feedback::Settings;
use rusqlite::Connection;
use serde_json::Value;

use super::visit::{People, pairs, samples};
use crate::described::Described;
use crate::running::Running;

/// Requests without a token, for other hosts and of other sites' pages.
pub(super) fn strangers_are_turned_away(described: &Described) {
    let (running, people) = pairs(&[], 1, None);
    let bearer = format!("Bearer {}", people.root);
    let cookie = format!("rein_session={}", people.root);
    for (line, sample) in samples(described, &people) {
        let body = sample.as_ref().map(Value::to_string).unwrap_or_default();
        let refused = |headers: &[(&str, &str)], status: u16, code: &str| {
            let reply = running.send(&line, headers, &body);
            described.check(&line, sample.as_ref(), &reply);
            assert_eq!((reply.status, reply.code()), (status, code.into()), "{line}");
        };
        refused(&[("authorization", &bearer), ("host", "evil.example")], 403, "bad_host");
        let (is_open, is_read) = (described.operation(&line).is_open(), line.starts_with("GET "));
        if !is_open {
            refused(&[], 401, "unauthorized");
        }
        if !is_read {
            refused(&[("authorization", &bearer), ("origin", "null")], 403, "bad_origin");
        }
        if !is_read && !is_open {
            refused(&[("cookie", &cookie)], 403, "bad_csrf");
        }
    }
}

/// Bodies that are too large, of another type, or no JSON.
pub(super) fn bodies_are_turned_away(described: &Described) {
    let (running, people) = pairs(&[], 1, None);
    for (line, sample) in samples(described, &people) {
        let Some(sample) = sample else { continue };
        let send = |kind: &str, body: &str| {
            let reply = running.raw(
                format!(
                    "{line} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\nauthorization: Bearer {}\r\n\
                     content-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}",
                    running.address,
                    people.root,
                    body.len()
                )
                .as_bytes(),
            );
            described.check(&line, Some(&sample), &reply);
            (reply.status, reply.code())
        };
        let large = format!("{sample}{}", " ".repeat(1 << 20));
        assert_eq!(send("application/json", &large), (413, "too_large".into()), "{line}");
        assert_eq!(send("text/plain", &sample.to_string()), (415, "bad_request".into()), "{line}");
        assert_eq!(send("application/json", "{"), (400, "bad_request".into()), "{line}");
    }
}

pub(super) fn the_hasty_wait(described: &Described) {
    let (running, tokens) =
        Running::start(&Settings::default(), &[], &["ann"], |options| options.rate = 1);
    let ann = tokens[0].clone();
    let people = People { ann: ann.clone(), bob: ann.clone(), eve: ann.clone(), root: ann };
    for (line, sample) in samples(described, &people) {
        if line == "GET /healthz" {
            continue;
        }
        let ask = || described.ask(&running, &line, &people.ann, sample.as_ref());
        let is_told = (0..20).any(|_| ask().status == 429);
        assert!(is_told, "{line}");
    }
}

pub(super) fn the_store_breaks(described: &Described) {
    let (running, people) = pairs(&[], 1, None);
    let store = Connection::open(&running.store).expect("opens");
    store.execute("ALTER TABLE annotator RENAME TO gone", []).expect("breaks");
    for (line, sample) in samples(described, &people) {
        let reply = described.ask(&running, &line, &people.root, sample.as_ref());
        let expected = if line == "GET /healthz" { 200 } else { 500 };
        assert_eq!(reply.status, expected, "{line}: {reply:?}");
    }
}
