use std::fs;
use std::path::Path;

use rein_data::chat::encode_rendered;
use rein_data::template::Rendered;
use rein_data::tokenizer::Tokenizer;
use serde_json::Value;

use crate::files;
use crate::golden::{folders, has, json, numbers, root};

fn ids(value: &Value) -> Vec<u32> {
    numbers(value).into_iter().map(|id| id as u32).collect()
}

#[test]
fn texts_are_encoded_and_decoded_as_tokenizers_does() {
    let mut n_cases = 0;
    for (path, file) in files("cases") {
        let name = file["tokenizer"].as_str().expect("names its tokenizer");
        let tokenizer = Tokenizer::load(&root().join("tokenizer").join(name)).expect("loads");
        let keys = ["ids", "ids_special_text_as_plain", "decoded_skip_special"];
        let cases = file["cases"].as_array().expect("a list").iter();
        for case in cases.filter(|case| has(case, &keys)) {
            n_cases += 1;
            check(&path.display().to_string(), case, &tokenizer);
        }
    }
    assert!(n_cases > 0, "no text to encode");
}

fn check(file: &str, case: &Value, tokenizer: &Tokenizer) {
    let text = case["text"].as_str().expect("a text");
    let what = format!("{file}: {text:?}");
    let trusted = ids(&case["ids"]);
    let rendered = Rendered { text: text.to_owned(), generated: Vec::new(), plain: Vec::new() };
    assert_eq!(encode_rendered(&rendered, tokenizer).tokens, trusted, "{what}");
    let plain = ids(&case["ids_special_text_as_plain"]);
    assert_eq!(tokenizer.encode(text), plain, "{what}");
    if plain == trusted {
        let begun = ids(&case["ids_with_special_tokens_added"]);
        assert_eq!(tokenizer.encode_prompt(text), begun, "{what}");
    }
    assert_eq!(tokenizer.decode(&trusted), case["decoded_skip_special"], "{what}");
}

#[test]
fn saving_changes_nothing_and_puts_the_chat_template_in_both_places() {
    for folder in folders("tokenizer", "tokenizer.json") {
        let saved = tempfile::tempdir().expect("a temporary folder");
        Tokenizer::load(&folder).expect("loads").save(saved.path()).expect("saves");
        let read = |folder: &Path, name: &str| fs::read(folder.join(name)).ok();
        for name in ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"] {
            let added = name == "tokenizer_config.json"
                && json(&folder.join(name))["chat_template"].is_null();
            let before = read(&folder, name);
            let is_same = before == read(saved.path(), name);
            assert!(before.is_none() || added || is_same, "{name} of {} changed", folder.display());
        }
        let config = json(&saved.path().join("tokenizer_config.json"));
        let template = read(saved.path(), "chat_template.jinja").expect("is written");
        let template = String::from_utf8(template).expect("is text");
        assert_eq!(config["chat_template"], template);
    }
}
