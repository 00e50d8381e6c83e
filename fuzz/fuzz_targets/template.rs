//! A chat template: any text renders within limits or is refused.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use rein_data::template::{ChatTemplate, Conversation};
use serde_json::{Value, json};

static MESSAGES: LazyLock<[Value; 3]> = LazyLock::new(|| {
    [
        json!({ "role": "system", "content": "Be kind. <|im_end|>" }),
        json!({ "role": "user", "content": "Ünï\u{0}code {{ 1 }} </s>" }),
        json!({ "role": "assistant", "content": "yes", "tool_calls": [{ "name": "f", "arguments": {} }] }),
    ]
});

static TOOLS: LazyLock<Value> = LazyLock::new(
    || json!([{ "type": "function", "function": { "name": "f", "parameters": {} } }]),
);

fuzz_target!(|source: &str| {
    let Ok(template) = ChatTemplate::new(source, "<s>", "</s>") else { return };
    let special_texts = ["</s>".to_owned(), "<|im_end|>".to_owned()];
    for n_messages in 0..=MESSAGES.len() {
        let rendered = template.render(&Conversation {
            messages: &MESSAGES[..n_messages],
            tools: (n_messages > 1).then_some(&*TOOLS),
            add_generation_prompt: n_messages == 2,
            special_texts: &special_texts,
        });
        if let Ok(rendered) = rendered {
            for range in &rendered.generated {
                assert!(rendered.text.get(range.clone()).is_some(), "a range splits the text");
            }
            assert!(rendered.plain.iter().all(|place| rendered.text.is_char_boundary(*place)));
        }
    }
});
