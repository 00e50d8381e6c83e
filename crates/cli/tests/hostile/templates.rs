use std::fs;

use serde_json::{Value, json};

use crate::checkpoint::{Checkpoint, generate_from};
use crate::golden::{json, own_root};

/// A model whose folder brings this chat template, and what it says to a conversation.
fn told_with(template: &str) -> (Option<i32>, String) {
    let place = tempfile::tempdir().expect("a temporary folder");
    let model = place.path().join("model");
    Checkpoint::honest().write(&model);
    let tokenizer = own_root().join("tokenizer/bpe_jinja_file");
    let copy = |name: &str| fs::copy(tokenizer.join(name), model.join(name)).expect("copies");
    copy("tokenizer.json");
    copy("tokenizer_config.json");
    fs::write(model.join("chat_template.jinja"), template).expect("writes");
    let row = json!({ "messages": [{ "role": "user", "content": "hello" }] });
    let told = generate_from(place.path(), &format!("{row}\n"));
    assert!(!place.path().join("out.jsonl").exists(), "something was written");
    told
}

#[test]
fn chat_templates_that_a_checkpoint_brings() {
    let fixtures = json(&own_root().join("tokenizer/chat_templates.json"));
    let hostile = fixtures["malicious"].as_object().expect("templates by name");
    let refused = hostile.iter().filter(|(_, it)| it["outcome"] == "refused");
    let sources: Vec<(&String, &Value)> =
        refused.map(|(name, it)| (name, &it["template"])).collect();
    assert!(sources.len() >= 10, "only {} hostile templates", sources.len());
    for (name, source) in sources {
        let (code, error) = told_with(source.as_str().expect("a template"));
        assert_eq!(code, Some(2), "{name}: {error}");
        assert!(error.contains("chat template: "), "{name}: {error}");
        assert!(error.len() < 600 && !error.contains("panicked"), "{name}: {error}");
    }
}
