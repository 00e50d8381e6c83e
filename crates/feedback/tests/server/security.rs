//! Who is let in, and who isn't.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use rein_feedback::Settings;
use rein_feedback::serve::{ServeOptions, Server};
use serde_json::json;

use crate::running::{Running, task};

fn running() -> (Running, String) {
    let (running, tokens) =
        Running::start(&Settings::default(), &[task("1", 2, 1)], &["ann"], |_| {});
    (running, tokens[0].clone())
}

#[test]
fn nothing_is_told_without_a_token() {
    let (running, token) = running();
    let last = if token.ends_with('0') { '1' } else { '0' };
    let wrong = format!("{}{last}", &token[..63]);
    for line in ["GET /api/projects", "GET /api/next?project=p", "GET /api/session"] {
        assert_eq!(running.send(line, &[], "").status, 401, "{line}");
        for bad in [wrong.as_str(), "", "x", "x y"] {
            let reply = running.ask(line, bad, None);
            assert_eq!(reply.status, 401, "{line} with {bad:?}: {reply:?}");
        }
        assert_eq!(running.ask(line, &token, None).status, 200, "{line}");
    }
    let body = json!({ "task": 1, "idem_key": "k", "said": { "do": "skip" } }).to_string();
    assert_eq!(running.send("POST /api/annotations", &[], &body).status, 401);
    assert_eq!(running.send("POST /api/session", &[], r#"{"token":"guess"}"#).status, 401);
    assert_eq!(running.send("GET /healthz", &[], "").status, 200);
}

#[test]
fn a_browser_gets_a_cookie_and_must_show_that_the_page_is_ours() {
    let (running, token) = running();
    let reply = running.send("POST /api/session", &[], &json!({ "token": token }).to_string());
    assert_eq!(reply.status, 200, "{reply:?}");
    let cookie = reply.header("set-cookie").expect("a cookie").to_owned();
    for part in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let cookie = cookie.split(';').next().expect("a value");
    let csrf = reply.json()["csrf"].as_str().expect("a text").to_owned();
    let body = json!({ "project": "p", "idem_key": "k", "event": {} }).to_string();
    let post = |headers: &[(&str, &str)]| running.send("POST /api/events", headers, &body);
    assert_eq!(running.send("GET /api/session", &[("cookie", cookie)], "").status, 200);
    assert_eq!(post(&[("cookie", cookie)]).code(), "bad_csrf");
    assert_eq!(post(&[("cookie", cookie), ("x-rein-csrf", "no")]).code(), "bad_csrf");
    assert_eq!(post(&[("cookie", cookie), ("x-rein-csrf", &csrf)]).status, 200);
    let gone =
        running.send("DELETE /api/session", &[("cookie", cookie), ("x-rein-csrf", &csrf)], "");
    assert!(gone.header("set-cookie").expect("a cookie").contains("Max-Age=0"));
}

#[test]
fn other_hosts_and_other_sites_are_refused() {
    let (running, token) = running();
    let bearer = format!("Bearer {token}");
    let port = running.address.port();
    let get = |host: &str| {
        running.send("GET /api/session", &[("host", host), ("authorization", &bearer)], "")
    };
    for host in ["evil.example", "127.0.0.1.evil.example", "localhost.", "", "[::2]"] {
        assert_eq!(get(host).code(), "bad_host", "{host}");
    }
    assert_eq!(get(&format!("localhost:{port}")).status, 200);
    assert_eq!(get("LOCALHOST").status, 200);
    let no_host = "GET /healthz HTTP/1.1\r\nconnection: close\r\n\r\n";
    assert!(matches!(running.raw(no_host.as_bytes()).status, 400 | 403));

    let body = json!({ "project": "p", "idem_key": "k", "event": {} }).to_string();
    let own = format!("http://{}", running.address);
    let post = |name: &str, value: &str| {
        running.send("POST /api/events", &[("authorization", &bearer), (name, value)], &body)
    };
    for origin in ["http://evil.example", "null", "http://127.0.0.1:1", "http://127.0.0.1"] {
        assert_eq!(post("origin", origin).code(), "bad_origin", "{origin}");
    }
    for site in ["cross-site", "same-site", "anything"] {
        assert_eq!(post("sec-fetch-site", site).code(), "bad_origin", "{site}");
    }
    assert_eq!(post("origin", &own).status, 200);
    assert_eq!(post("sec-fetch-site", "same-origin").status, 200);
}

#[test]
fn a_large_body_is_refused() {
    let (running, token) = running();
    let event = json!({ "project": "p", "idem_key": "k", "event": "x".repeat(1 << 20) });
    let reply = running.ask("POST /api/events", &token, Some(&event));
    assert_eq!(reply.status, 413);
    let lying = format!(
        "POST /api/session HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: 999999999999\r\n\r\n{{",
        running.address
    );
    assert_eq!(running.raw(lying.as_bytes()).status, 413);
    assert_eq!(running.send("GET /healthz", &[], "").status, 200, "it goes on");
}

#[test]
fn no_path_reaches_a_file() {
    let (running, _) = running();
    for path in [
        "/..%2f..%2fetc%2fpasswd",
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/app.js%00.html",
        "/%00",
        "//etc/passwd",
        "/etc/passwd",
        "/./index.html/../..",
        "/feedback.sqlite",
        "/api",
        "/api/nothing",
        "/index.html/",
    ] {
        let status = running.send(&format!("GET {path}"), &[], "").status;
        assert!(matches!(status, 404 | 400), "{path}: {status}");
    }
    let delete = running.send("DELETE /index.html", &[], "");
    assert_eq!(delete.status, 404);
}

#[test]
fn every_response_forbids_what_a_page_does_not_need() {
    let (running, _) = running();
    for line in ["GET /", "GET /api/projects", "GET /nowhere", "POST /api/session"] {
        let reply = running.send(line, &[], "");
        let policy = reply.header("content-security-policy").expect("a policy");
        assert!(policy.starts_with("default-src 'none';"), "{line}");
        assert!(!policy.contains("unsafe"), "{line}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{line}");
        assert_eq!(reply.header("referrer-policy"), Some("no-referrer"), "{line}");
    }
}

#[test]
fn who_asks_too_often_waits() {
    let settings = Settings::default();
    let (running, tokens) =
        Running::start(&settings, &[], &["ann", "bob"], |options| options.rate = 2);
    let mut refused = (0..20).map(|_| running.ask("GET /api/session", &tokens[0], None));
    let reply = refused.find(|it| it.status == 429).expect("it is refused in the end");
    assert_eq!(reply.code(), "too_many");
    assert_eq!(reply.header("retry-after"), Some("1"));
    assert_eq!(running.ask("GET /api/session", &tokens[1], None).status, 200);
}

#[test]
fn nobody_is_served_beyond_this_machine_unasked() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut options = ServeOptions::local(folder.path().join("f.sqlite"));
    options.address = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
    let error = Server::bind(&options).expect_err("is refused").to_string();
    assert!(error.contains("can be reached from other machines"), "{error}");
    options.allow_remote = true;
    Server::bind(&options).expect("is allowed");
}

#[test]
fn where_responses_come_from_is_not_told() {
    let (running, token) = running();
    for line in ["GET /api/next?project=p", "GET /api/projects", "GET /api/progress?project=p"] {
        let reply = running.ask(line, &token, None);
        assert_eq!(reply.status, 200);
        assert!(!reply.body.contains("secret-model"), "{line}");
        assert!(!reply.body.contains("by_annotator"), "{line}: only admins see who did what");
    }
}
