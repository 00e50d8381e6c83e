//! Conversations as tokens.

use std::ops::Range;

use serde_json::Value;

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
