use rein_data::DataError;
use rein_data::chat::{encode_chat, encode_rendered};
use rein_data::template::{ChatTemplate, Conversation, Rendered};
use rein_data::tokenizer::Tokenizer;
use serde_json::{Value, json};

use crate::files;
use crate::golden::{folders, numbers, root};

fn render(
    file: &Value,
    source: &str,
    conversation: &Conversation<'_>,
) -> Result<Rendered, DataError> {
    let token = |key: &str| file[key].as_str().unwrap_or_default();
    ChatTemplate::new(source, token("bos_token"), token("eos_token"))?.render(conversation)
}

#[test]
fn conversations_are_rendered_as_transformers_does() {
    for (_, file) in files("templates") {
        let name = file["tokenizer"].as_str().expect("names its tokenizer");
        let tokenizer = Tokenizer::load(&root().join("tokenizer").join(name)).expect("loads");
        let cases = file["cases"].as_array().expect("a list");
        cases.iter().for_each(|case| check(&file, case, &tokenizer));
    }
}

fn check(file: &Value, case: &Value, tokenizer: &Tokenizer) {
    let name = |key: &str| case[key].as_str().expect("a name");
    let what = format!("{} on {}", name("template"), name("conversation"));
    let source = file["templates"][name("template")].as_str().expect("a template");
    let conversation = Conversation {
        messages: file["conversations"][name("conversation")].as_array().expect("a list"),
        tools: case.get("tools").filter(|tools| !tools.is_null()),
        add_generation_prompt: case["add_generation_prompt"] == true,
        special_texts: &[],
    };
    let rendered = render(file, source, &conversation);
    if let Some(message) = case.get("error_message") {
        let error = rendered.expect_err(&what).to_string();
        assert!(error.contains(message.as_str().expect("a message")), "{what}: {error}");
        return;
    }
    let rendered = rendered.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(rendered.text, case["text"], "{what}");
    let row = encode_rendered(&rendered, tokenizer);
    if let Some(ids) = case.get("ids").filter(|ids| ids.is_array()) {
        let want: Vec<u32> = numbers(ids).into_iter().map(|id| id as u32).collect();
        assert_eq!(row.tokens, want, "{what}");
    }
    if let Some(mask) = case.get("assistant_mask") {
        let mask: Vec<bool> = numbers(mask).into_iter().map(|it| it != 0.0).collect();
        assert_eq!(row.learned[1..], mask[1..], "{what}");
    }
}

#[test]
fn hostile_templates_are_refused() {
    let messages = [json!({ "role": "user", "content": "Hello" })];
    let conversation = Conversation {
        messages: &messages,
        tools: None,
        add_generation_prompt: false,
        special_texts: &[],
    };
    for (_, file) in files("malicious") {
        for (name, hostile) in file["malicious"].as_object().expect("templates by name") {
            let source = hostile["template"].as_str().expect("a template");
            match (hostile["outcome"].as_str(), render(&file, source, &conversation)) {
                (_, Err(error)) => {
                    assert!(error.to_string().starts_with("chat template: "), "{name}: {error}");
                }
                (Some("refused_or_harmless_text"), Ok(rendered)) => {
                    assert!(rendered.text.len() < 1 << 20, "{name}");
                }
                (_, Ok(rendered)) => panic!("{name}: gave {:?}", rendered.text),
            }
        }
    }
}

/// A model's template is found wherever it stands in its folder, and what a user types never becomes a
/// special token.
#[test]
fn special_tokens_in_messages_stay_text() {
    for folder in folders("tokenizer", "tokenizer.json") {
        let tokenizer = Tokenizer::load(&folder).expect("loads");
        let template = tokenizer.chat_template().expect("is safe").expect("has a template");
        let row = |content: &str| {
            let messages = [json!({ "role": "user", "content": content })];
            encode_chat(&messages, None, true, &template, &tokenizer).expect("renders").tokens
        };
        let special = tokenizer.special_texts();
        let is_special = |id: &&u32| special.contains(&tokenizer.token(**id).expect("is a token"));
        let n_special = |content: &str| row(content).iter().filter(is_special).count();
        let typed = format!("a {} b {}", special.concat(), special.join(" "));
        assert_eq!(n_special(&typed), n_special("a b"), "{}", folder.display());
        assert!(tokenizer.decode(&row(&typed)).contains(&typed));
    }
}
