//! Conversations as tokens.

use std::ops::Range;

use serde_json::{Value, json};

use crate::DataError;
use crate::encoding::TokenRow;
use crate::template::{ChatTemplate, Conversation, Rendered};
use crate::tokenizer::Tokenizer;

/// A conversation's tokens. Those inside the template's `{% generation %}` marks are learned: what the
/// assistant said.
///
/// Messages are not trusted: a special token's text inside one is encoded as plain characters.
pub fn encode_chat(
    messages: &[Value],
    tools: Option<&Value>,
    add_generation_prompt: bool,
    template: &ChatTemplate,
    tokenizer: &Tokenizer,
) -> Result<TokenRow, DataError> {
    let special_texts = &tokenizer.special_texts()[..];
    let conversation = Conversation { messages, tools, add_generation_prompt, special_texts };
    Ok(encode_rendered(&template.render(&conversation)?, tokenizer))
}

/// Stands where a message shall be continued; no text has a use for it.
const CONTINUES: char = '\u{e001}';

/// The tokens that a model goes on from: the conversation and the beginning of a reply, or, where the
/// assistant has the last word, the conversation up to the end of that message.
///
/// # Errors
/// Those of [`encode_chat`], and a template that doesn't repeat the last message.
pub fn encode_opening(
    messages: &[Value],
    tools: Option<&Value>,
    template: &ChatTemplate,
    tokenizer: &Tokenizer,
) -> Result<Vec<u32>, DataError> {
    let last = messages.last().filter(|it| it["role"] == "assistant");
    // Templates trim messages, as transformers expects them to.
    let begun = match last.and_then(|it| it["content"].as_str()).map(str::trim) {
        Some(begun) if !begun.is_empty() => begun,
        other => {
            // A reply without a word hasn't begun.
            let messages = &messages[..messages.len() - usize::from(other.is_some())];
            return Ok(encode_chat(messages, tools, true, template, tokenizer)?.tokens);
        }
    };
    let mut marked = messages.to_vec();
    marked[messages.len() - 1]["content"] = format!("{begun}{CONTINUES}").into();
    let special_texts = &tokenizer.special_texts()[..];
    let (messages, add_generation_prompt) = (&marked[..], false);
    let conversation = Conversation { messages, tools, add_generation_prompt, special_texts };
    let mut rendered = template.render(&conversation)?;
    let end = rendered.text.rfind(CONTINUES).ok_or_else(|| {
        let reason = "doesn't repeat the assistant's last message, so it can't be continued";
        DataError::Invalid(format!("chat template: {reason}"))
    })?;
    rendered.text.truncate(end);
    rendered.plain.retain(|place| *place < end);
    Ok(encode_rendered(&rendered, tokenizer).tokens)
}

/// What ends a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closing {
    /// A special token.
    Token(u32),
    /// A text, where the tokenizer has no such token.
    Text(String),
}

/// What a template writes behind each message of the assistant, if it does: there a reply ends.
pub fn closing(template: &ChatTemplate, tokenizer: &Tokenizer) -> Option<Closing> {
    Some(closed(template, tokenizer)?.0)
}

/// The tokens that a template writes behind what ends a reply: a line break, say. A model that learned from
/// rendered conversations has read them.
pub fn behind_replies(template: &ChatTemplate, tokenizer: &Tokenizer) -> Vec<u32> {
    closed(template, tokenizer).map_or(Vec::new(), |(_, rest)| tokenizer.encode(&rest))
}

/// The tokens that a template writes behind the text of a reply: what ends it, and what stands behind that.
pub fn end_of_reply(template: &ChatTemplate, tokenizer: &Tokenizer) -> Vec<u32> {
    match closed(template, tokenizer) {
        None => Vec::new(),
        Some((Closing::Token(token), rest)) => [vec![token], tokenizer.encode(&rest)].concat(),
        Some((Closing::Text(text), rest)) => tokenizer.encode(&(text + &rest)),
    }
}

/// What ends a reply, and the text behind that.
fn closed(template: &ChatTemplate, tokenizer: &Tokenizer) -> Option<(Closing, String)> {
    const REPLY: &str = "Q7x";
    let message = |role: &str, content: &str| json!({ "role": role, "content": content });
    let messages = [message("user", "Hello"), message("assistant", REPLY)];
    let conversation = Conversation {
        messages: &messages,
        tools: None,
        add_generation_prompt: false,
        special_texts: &[],
    };
    let text = template.render(&conversation).ok()?.text;
    let behind = text[text.rfind(REPLY)? + REPLY.len()..].trim_start();
    let special = tokenizer.special_texts();
    let written = special.iter().filter(|it| !it.is_empty() && behind.starts_with(it.as_str()));
    let token = written.max_by_key(|it| it.len());
    let token = token.and_then(|it| Some((Closing::Token(tokenizer.special_id(it)?), it.len())));
    let (closing, length) = match (token, behind.trim_end()) {
        (Some(token), _) => token,
        (None, "") => return None,
        (None, text) => (Closing::Text(text.to_owned()), text.len()),
    };
    Some((closing, behind[length..].to_owned()))
}

/// A rendered conversation's tokens, see [`encode_chat`].
pub fn encode_rendered(rendered: &Rendered, tokenizer: &Tokenizer) -> TokenRow {
    let Rendered { text, generated, plain } = rendered;
    let tokens = if plain.is_empty() {
        tokenizer.encode_trusted(text)
    } else {
        encode_pieces(rendered, tokenizer)
    };
    let said =
        |span: &Range<usize>| generated.iter().any(|it| span.start < it.end && it.start < span.end);
    let learned = tokens.iter().map(|(_, span)| said(span)).collect();
    TokenRow::new(tokens.into_iter().map(|(id, _)| id).collect(), learned)
}

/// Text between the template's special tokens is encoded by itself, so that what looks like one in it
/// stays text.
fn encode_pieces(rendered: &Rendered, tokenizer: &Tokenizer) -> Vec<(u32, Range<usize>)> {
    let mut tokens = Vec::new();
    let mut done = 0;
    let text_between = |from: usize, to: usize| {
        let spans = tokenizer.encode_with_spans(&rendered.text[from..to]).into_iter();
        spans.map(move |(id, span)| (id, span.start + from..span.end + from))
    };
    for (id, span) in special_tokens(rendered, tokenizer) {
        tokens.extend(text_between(done, span.start));
        done = span.end;
        tokens.push((id, span));
    }
    tokens.extend(text_between(done, rendered.text.len()));
    tokens
}

/// The special tokens that the template itself wrote, the longest first where several begin.
fn special_tokens(rendered: &Rendered, tokenizer: &Tokenizer) -> Vec<(u32, Range<usize>)> {
    let Rendered { text, plain, .. } = rendered;
    let mut found: Vec<(u32, Range<usize>)> = Vec::new();
    for special in tokenizer.special_texts().iter().filter(|it| !it.is_empty()) {
        let Some(id) = tokenizer.special_id(special) else { continue };
        let spans = text.match_indices(special.as_str()).map(|(at, it)| at..at + it.len());
        let trusted =
            spans.filter(|span| !plain.iter().any(|it| span.start < *it && *it < span.end));
        found.extend(trusted.map(|span| (id, span)));
    }
    found.sort_by_key(|(_, span)| (span.start, usize::MAX - span.end));
    let mut end = 0;
    found.retain(|(_, span)| {
        let is_free = span.start >= end;
        if is_free {
            end = span.end;
        }
        is_free
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::{CHATML, LLAMA3, ZEPHYR};

    #[test]
    fn replies_end_where_the_template_ends_messages() {
        let tokenizer = Tokenizer::train_bpe(["a"], 259).expect("trains");
        let closing =
            |source: &str| closing(&tokenizer.template(source).expect("is safe"), &tokenizer);
        assert_eq!(closing(CHATML), Some(Closing::Text("<|im_end|>".into())));
        assert_eq!(closing(LLAMA3), Some(Closing::Text("<|eot_id|>".into())));
        // Zephyr ends messages with the end of sequence.
        assert_eq!(closing(ZEPHYR), Some(Closing::Token(tokenizer.special().eos)));
        assert_eq!(closing("{% for m in messages %}{{ m.content }}\n{% endfor %}"), None);
        assert_eq!(closing("{{ raise_exception('no') }}"), None);
    }

    #[test]
    fn what_stands_behind_a_reply_is_what_was_rendered_there() {
        let tokenizer = Tokenizer::train_bpe(["a"], 259).expect("trains");
        for (source, rest) in [(CHATML, "\n"), (LLAMA3, ""), (ZEPHYR, "\n"), ("{{ 1 }}", "")] {
            let template = tokenizer.template(source).expect("is safe");
            assert_eq!(behind_replies(&template, &tokenizer), tokenizer.encode(rest), "{source}");
        }
        let template = tokenizer.template(ZEPHYR).expect("is safe");
        let message = |role: &str, content: &str| json!({ "role": role, "content": content });
        let messages = [message("user", "a"), message("assistant", "b")];
        let tokens = |messages: &[Value], opens: bool| {
            encode_chat(messages, None, opens, &template, &tokenizer).expect("renders").tokens
        };
        let mut rebuilt = tokens(&messages[..1], true);
        rebuilt.extend(tokenizer.encode("b"));
        rebuilt.push(tokenizer.special().eos);
        rebuilt.extend(behind_replies(&template, &tokenizer));
        assert_eq!(rebuilt, tokens(&messages, false));
    }

    #[test]
    fn a_message_that_is_continued_stays_plain_text() {
        let tokenizer = Tokenizer::train_bpe(["a"], 259).expect("trains");
        let template = tokenizer.template(ZEPHYR).expect("is safe");
        let message = |role: &str, content: &str| json!({ "role": role, "content": content });
        let messages = [message("user", "<|eos|>"), message("assistant", " I <|eos|> s ")];
        let tokens = encode_opening(&messages, None, &template, &tokenizer).expect("renders");
        let n_ends = tokens.iter().filter(|token| **token == tokenizer.special().eos).count();
        assert_eq!(n_ends, 1, "the template's own");
        let text = "<|user|>\n<|eos|>\n<|assistant|>\nI <|eos|> s";
        assert_eq!(tokenizer.decode(&tokens), text);
        let empty = [message("user", "Hi"), message("assistant", " ")];
        let opening = encode_opening(&empty, None, &template, &tokenizer).expect("renders");
        assert_eq!(tokenizer.decode(&opening), "<|user|>\nHi\n<|assistant|>\n");
        let deaf = tokenizer.template("{{ messages | length }}").expect("is safe");
        let error = encode_opening(&messages, None, &deaf, &tokenizer).expect_err("is refused");
        assert!(error.to_string().contains("can't be continued"), "{error}");
    }
}
