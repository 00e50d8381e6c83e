//! Texts as they are compared, and as they are shown.

use std::borrow::Cow;

use rein_data::example::Content;
use serde_json::Value;
use unicode_normalization::UnicodeNormalization;

/// Longer texts are shown by their beginning.
const MAX_SHOWN: usize = 60;

/// In NFKC (Unicode Standard Annex 15), with single spaces between words and none around them.
pub(super) fn folded(text: &str) -> String {
    if text.is_ascii() {
        return spaced(text);
    }
    spaced(&text.nfkc().collect::<String>())
}

/// The text, or the words of the messages and the tools they call, a line each.
pub(super) fn text_of(content: &Content) -> Cow<'_, str> {
    match content {
        Content::Text(text) => Cow::Borrowed(text),
        Content::Messages(messages) => {
            Cow::Owned(messages.iter().map(words).collect::<Vec<_>>().join("\n"))
        }
    }
}

/// The beginning of a text in quotes; what isn't printable is escaped.
pub(super) fn shown(text: &str) -> String {
    let escape = |it: char| match it {
        '\'' | '"' | '\\' => it.to_string(),
        it => it.escape_debug().to_string(),
    };
    let beginning: String = text.chars().take(MAX_SHOWN).map(escape).collect();
    let more = if text.chars().nth(MAX_SHOWN).is_some() { "…" } else { "" };
    format!("“{beginning}{more}”")
}

fn spaced(text: &str) -> String {
    let mut spaced = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !spaced.is_empty() {
            spaced.push(' ');
        }
        spaced.push_str(word);
    }
    spaced
}

fn words(message: &Value) -> String {
    let words = match &message["content"] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        parts => parts.to_string(),
    };
    match &message["tool_calls"] {
        Value::Array(calls) if !calls.is_empty() => {
            format!("{words}\n{}", message["tool_calls"])
        }
        _ => words,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_that_look_alike_are_alike() {
        assert_eq!(folded(" a\u{a0}b\t\r\n c\u{3000}"), "a b c");
        assert_eq!(folded("ﬁne ＡＢＣ，１２３"), "fine ABC,123");
        assert_eq!(folded("e\u{301}"), "\u{e9}");
        assert_eq!(folded(" \n "), "");
        assert_ne!(folded("ab"), folded("a b"));
    }

    #[test]
    fn messages_are_their_words_and_calls() {
        let content = Content::Messages(vec![
            json!({"role": "user", "content": "a"}),
            json!({"role": "assistant", "content": null, "tool_calls": [{"name": "f"}]}),
            json!({"role": "user", "content": [{"type": "text", "text": "b"}], "tool_calls": []}),
            json!(7),
        ]);
        let text = "a\n\n[{\"name\":\"f\"}]\n[{\"type\":\"text\",\"text\":\"b\"}]\n";
        assert_eq!(text_of(&content), text);
    }

    #[test]
    fn what_is_shown_is_short_and_harmless() {
        assert_eq!(shown("it's\n\u{1b}[31m \u{202e}"), "“it's\\n\\u{1b}[31m \\u{202e}”");
        let long = shown(&"é".repeat(61));
        assert_eq!(long, format!("“{}…”", "é".repeat(60)));
        assert_eq!(shown(&"é".repeat(60)), format!("“{}”", "é".repeat(60)));
    }
}
