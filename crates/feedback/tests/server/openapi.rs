//! The description of the interface, against the interface.

use std::collections::BTreeSet;
use std::sync::Arc;

use regex::Regex;
use rein_feedback::serve::{AskWhen, Live};
use rein_feedback::{Role, Settings, Store};
use serde_json::{Value, json};

use crate::running::{Running, task};
use crate::scripted::Scripted;

const ROUTER: &str = include_str!("../../src/serve/api.rs");
const DOCUMENT: &str = include_str!("../../src/serve/openapi.json");

fn document() -> Value {
    serde_json::from_str(DOCUMENT).expect("JSON")
}

/// Each address with its method.
fn described() -> BTreeSet<(String, String)> {
    let document = document();
    let paths = document["paths"].as_object().expect("paths");
    let of_path = |(path, methods): (&String, &Value)| {
        let names: Vec<String> = methods.as_object().expect("methods").keys().cloned().collect();
        names.into_iter().map(|method| (path.clone(), method)).collect::<Vec<_>>()
    };
    paths.iter().flat_map(of_path).collect()
}

fn running() -> (Running, String) {
    let model = Arc::new(Scripted::of(&["yes ", "no "]));
    let ask = AskWhen { disagreement: None, entropy: None };
    let live = Live { model, project: "p".into(), ask };
    let tasks = [task("1", 2, 1)];
    let (running, _) =
        Running::start(&Settings::default(), &tasks, &["ann"], |it| it.live = Some(live));
    let mut store = Store::open(&running.store).expect("opens");
    let admin = store.change(|it| {
        it.add_annotator("root", Role::Admin)?;
        it.new_token("root")
    });
    (running, admin.expect("adds"))
}

#[test]
fn it_names_the_routes_of_the_router_and_no_others() {
    let routes = Regex::new(r#"\.route\("([^"]+)", (.+)\)\n"#).expect("a pattern");
    let methods = Regex::new(r"\b(get|post|put|patch|delete)\(").expect("a pattern");
    let mut known = BTreeSet::new();
    for route in routes.captures_iter(ROUTER) {
        for method in methods.captures_iter(&route[2]) {
            known.insert((route[1].to_owned(), method[1].to_owned()));
        }
    }
    assert_eq!(known.len(), ROUTER.matches(".route(").count() + 1, "one has two methods");
    assert_eq!(described(), known);
}

#[test]
fn every_reference_leads_somewhere() {
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|it| references(it, found));
            }
            Value::Array(items) => items.iter().for_each(|it| references(it, found)),
            _ => {}
        }
    }
    let document = document();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 50, "{}", found.len());
    for reference in &found {
        let pointer = reference.strip_prefix('#').expect("within the document");
        assert!(document.pointer(pointer).is_some_and(Value::is_object), "{reference}");
    }
    let schemas = document["components"]["schemas"].as_object().expect("schemas");
    for name in schemas.keys() {
        let named = format!("#/components/schemas/{name}");
        let in_words = DOCUMENT.contains(&format!("({name})"));
        assert!(found.contains(&named.as_str()) || in_words, "{name} is used");
    }
}

#[test]
fn every_address_answers_as_described() {
    let (running, token) = running();
    let served = running.send("GET /openapi.json", &[], "");
    assert_eq!(served.header("content-type"), Some("application/json"));
    assert_eq!(served.json(), document());
    for (path, method) in described() {
        let line = format!("{} {path}?project=p", method.to_uppercase());
        let body = (method == "post").then(|| json!({}));
        let reply = running.ask(&line, &token, body.as_ref());
        assert!(!matches!(reply.status, 404 | 405), "{line}: {reply:?}");
        assert!(reply.status < 500, "{line}: {reply:?}");
        let responses = &document()["paths"][&path][&method]["responses"];
        let described = &responses[reply.status.to_string()];
        assert!(described.is_object(), "{line} answers {}", reply.status);
        if reply.status >= 400 {
            let codes = described["description"].as_str().expect("a sentence");
            assert!(codes.contains(&format!("`{}`", reply.code())), "{line}: {reply:?}");
        }
        let stranger = running.send(&line, &[], "{}");
        let is_open = document()["paths"][&path][&method]["security"] == json!([]);
        assert_eq!(stranger.status == 401, !is_open, "{line}: {stranger:?}");
    }
}
