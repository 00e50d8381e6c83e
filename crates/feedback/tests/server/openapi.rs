//! The description of the interface by itself: that it is one, and of all routes. `contract.rs` holds replies against it.

use std::collections::BTreeSet;

use regex::Regex;
use serde_json::{Value, json};

use crate::described::{DOCUMENT, document};

const ROUTER: &str = include_str!("../../src/serve/api.rs");

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

/// OpenAPI 3.1 takes its schemas from JSON Schema of 2020-12.
#[test]
fn every_schema_is_one_and_says_which_fields_there_are() {
    fn schemas(value: &Value, found: &mut Vec<Value>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("schema").cloned());
                fields.values().for_each(|it| schemas(it, found));
            }
            Value::Array(items) => items.iter().for_each(|it| schemas(it, found)),
            _ => {}
        }
    }
    fn is_closed(schema: &Value) -> bool {
        match schema {
            Value::Object(fields) => {
                let is_said = fields.contains_key("additionalProperties");
                (is_said || fields.get("type") != Some(&json!("object")))
                    && fields.values().all(is_closed)
            }
            Value::Array(items) => items.iter().all(is_closed),
            _ => true,
        }
    }
    let document = document();
    let named = document["components"]["schemas"].as_object().expect("schemas");
    let mut all: Vec<Value> = named.values().cloned().collect();
    schemas(&document["paths"], &mut all);
    assert!(all.len() > 100, "{}", all.len());
    for schema in all {
        jsonschema::draft202012::meta::validate(&schema)
            .unwrap_or_else(|error| panic!("{error} in {schema}"));
        assert!(is_closed(&schema), "other fields are allowed or aren't: {schema}");
    }
}

#[test]
fn every_operation_has_what_openapi_asks_for() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    assert!(document["info"]["title"].is_string() && document["info"]["version"].is_string());
    let schemes = document["components"]["securitySchemes"].as_object().expect("schemes");
    for (path, method) in described() {
        let operation = &document["paths"][&path][&method];
        assert!(operation["summary"].is_string(), "{method} {path}");
        for way in operation["security"].as_array().expect("ways to be let in") {
            let names = way.as_object().expect("names").keys();
            assert!(names.into_iter().all(|it| schemes.contains_key(it)), "{method} {path}");
        }
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            assert!(parameter["name"].is_string() && parameter["schema"].is_object());
            assert_eq!(parameter["in"], "query");
        }
        let responses = operation["responses"].as_object().expect("responses");
        for (status, response) in responses {
            assert!(status.parse::<u16>().is_ok_and(|it| (200..600).contains(&it)), "{status}");
            assert!(response["description"].is_string(), "{method} {path} {status}");
        }
    }
}
