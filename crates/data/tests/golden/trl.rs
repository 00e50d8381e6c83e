//! Rows that TRL 1.16 encoded (`tests/trl/make.py`), with the tokenizer that all fixtures have.

use std::path::Path;

use rein_data::encoder::{Encoder, Learn};
use rein_data::example::{Body, Content};
use rein_data::schema::Schema;
use rein_data::tokenizer::Tokenizer;
use serde_json::{Map, Value};

use crate::golden::{json, numbers};

fn expected() -> Value {
    json(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trl/expected.json"))
}

fn columns(row: &Value) -> Map<String, Value> {
    row.as_object().expect("a row").clone()
}

/// The tokenizer that was used, whatever `REIN_FIXTURES` says: the numbers belong to it.
fn tokenizer(file: &Value) -> Tokenizer {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/tokenizer");
    Tokenizer::load(&fixtures.join(file["tokenizer"].as_str().expect("a name"))).expect("loads")
}

#[test]
fn examples_are_encoded_as_trl_does() {
    let file = expected();
    let tokenizer = tokenizer(&file);
    for case in file["encode"].as_array().expect("a list") {
        let learn: Option<Learn> = serde_json::from_value(case["learn"].clone()).expect("is known");
        let template = match case["template"].as_str() {
            Some(source) => Some(tokenizer.template(source).expect("is safe")),
            None => tokenizer.chat_template().expect("is safe"),
        };
        let encoder = Encoder::new(tokenizer.clone(), template, learn);
        let row = columns(&case["row"]);
        let schema = Schema::recognise(&row).expect("is known");
        let example = schema.example(row).expect("converts").expect("says something");
        let sequence = encoder.demonstration(&example).expect("encodes").expect("is good");
        let ids: Vec<u32> = numbers(&case["ids"]).into_iter().map(|id| id as u32).collect();
        assert_eq!(sequence.row.tokens, ids, "{case}");
        let learned: Vec<bool> = serde_json::from_value(case["learned"].clone()).expect("a mask");
        // Nothing predicts the first token.
        assert_eq!(sequence.row.learned[1..], learned[1..], "{case}");
    }
}

#[test]
fn prompts_are_extracted_as_trl_does() {
    for case in expected()["extract_prompt"].as_array().expect("a list") {
        let example = Schema::ImplicitPreference.example(columns(&case["row"]));
        let example = example.expect("converts").expect("says something");
        let Body::Preference { prompt, chosen, rejected, .. } = example.body else {
            panic!("is a preference");
        };
        for (name, part) in [("prompt", prompt), ("chosen", chosen), ("rejected", rejected)] {
            let part = match part {
                Content::Text(text) => Value::from(text),
                Content::Messages(messages) => Value::from(messages),
            };
            assert_eq!(part, case["expected"][name], "{name} of {case}");
        }
    }
}

/// Without marks in the template, what the assistant said follows from how conversations grow.
#[test]
fn masks_are_the_same_with_and_without_marks() {
    let file = expected();
    let tokenizer = tokenizer(&file);
    let cases = file["encode"].as_array().expect("a list").iter();
    let marked = cases.filter(|case| case["learn"] == "assistant");
    let mut n_cases = 0;
    for case in marked {
        let encoder = Encoder::new(
            tokenizer.clone(),
            tokenizer.chat_template().expect("is safe"),
            Some(Learn::Assistant),
        );
        let row = columns(&case["row"]);
        let example = Schema::recognise(&row).and_then(|it| it.example(row)).expect("converts");
        let sequence = encoder.demonstration(&example.expect("says something")).expect("encodes");
        let learned: Vec<bool> = serde_json::from_value(case["learned"].clone()).expect("a mask");
        assert_eq!(sequence.expect("is good").row.learned[1..], learned[1..], "{case}");
        n_cases += 1;
    }
    assert!(n_cases > 1);
}
