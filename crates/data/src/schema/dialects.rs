//! Schemas of published data sets, as TRL's.

use serde_json::{Value, json};

use super::columns::{Columns, messages_of, text};
use crate::example::{Body, Content};

/// How a person's turn begins in HH-RLHF.
pub(super) const HUMAN: &str = "\n\nHuman:";
const ASSISTANT: &str = "\n\nAssistant:";

/// The two prompts of Stanford Alpaca; the completion follows at once.
pub(super) fn alpaca(columns: &mut Columns) -> Result<Body, String> {
    let instruction = columns.text("instruction")?;
    let input = columns.take("input").map(|it| text("input", it)).transpose()?;
    let completion = Content::Text(columns.text("output")?);
    let prompt = match input.filter(|input| !input.is_empty()) {
        Some(input) => format!(
            "Below is an instruction that describes a task, paired with an input that provides \
             further context. Write a response that appropriately completes the request.\n\n\
             ### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:"
        ),
        None => format!(
            "Below is an instruction that describes a task. Write a response that appropriately \
             completes the request.\n\n### Instruction:\n{instruction}\n\n### Response:"
        ),
    };
    Ok(Body::PromptCompletion { prompt: Content::Text(prompt), completion })
}

/// Turns of `from` and `value` as messages of `role` and `content`, the speakers under the names that
/// chat templates know.
pub(super) fn sharegpt(columns: &mut Columns) -> Result<Body, String> {
    const NAME: &str = "conversations";
    let Value::Array(turns) = columns.need(NAME)? else {
        return Err(format!("`{NAME}` isn't a list of turns"));
    };
    let messages = turns.into_iter().map(message).collect();
    messages_of(NAME, messages).map(|messages| Body::LanguageModeling(Content::Messages(messages)))
}

fn message(mut turn: Value) -> Value {
    let speaker = turn["from"].as_str().map(|speaker| match speaker.to_lowercase().as_str() {
        "human" | "user" => "user",
        "gpt" | "chatgpt" | "bing" | "bard" | "assistant" | "model" | "function_call" => {
            "assistant"
        }
        "observation" | "function" | "tool" | "function_response" => "tool",
        "system" => "system",
        _ => "",
    });
    match speaker {
        Some("") | None => turn,
        Some(role) => json!({ "role": role, "content": turn["value"].take() }),
    }
}

/// The shared prompt ends with the last `Assistant:` that both dialogues have in common. Pairs whose
/// replies are equal say nothing.
pub(crate) fn split_dialogues<'a>(
    chosen: &'a str,
    rejected: &'a str,
) -> Option<(&'a str, [&'a str; 2])> {
    let n_common = chosen.bytes().zip(rejected.bytes()).take_while(|(a, b)| a == b).count();
    let common = &chosen[..chosen.floor_char_boundary(n_common)];
    let split = common.rfind(ASSISTANT)? + ASSISTANT.len();
    let replies = [&chosen[split..], &rejected[split..]];
    (replies[0] != replies[1]).then_some((&chosen[..split], replies))
}

/// What two completions begin with and how each goes on; TRL's `extract_prompt`. Texts are cut between
/// letters, before a space that both have; messages are never cut. Of two that don't differ as far as
/// the shorter one goes, its last part counts as a completion.
pub(super) fn extract_prompt(chosen: Content, rejected: Content) -> Option<[Content; 3]> {
    match (chosen, rejected) {
        (Content::Text(chosen), Content::Text(rejected)) => {
            let at = common_text(&chosen, &rejected)?;
            let parts = [&chosen[..at], &chosen[at..], &rejected[at..]];
            Some(parts.map(|part| Content::Text(part.to_owned())))
        }
        (Content::Messages(chosen), Content::Messages(rejected)) => {
            let n_shared = chosen.iter().zip(&rejected).take_while(|(a, b)| a == b).count();
            let at = n_shared.min(chosen.len().min(rejected.len()) - 1);
            let parts = [&chosen[..at], &chosen[at..], &rejected[at..]];
            Some(parts.map(|part| Content::Messages(part.to_vec())))
        }
        _ => None,
    }
}

fn common_text(chosen: &str, rejected: &str) -> Option<usize> {
    let pairs = chosen.char_indices().zip(rejected.chars());
    let differ = pairs.clone().find(|((_, a), b)| a != b);
    let Some(((at, _), _)) = differ else { return pairs.last().map(|((at, _), _)| at) };
    Some(if chosen[..at].ends_with(' ') { at - 1 } else { at })
}
