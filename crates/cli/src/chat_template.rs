//! Which chat template a command or a run uses.

use std::fs;

use anyhow::{Context, Result};
use rein_data::template::{ChatTemplate, built_in};
use rein_data::tokenizer::Tokenizer;

/// The template that was asked for, a built-in one or a file; else the one that came with the model.
pub(crate) fn chat_template(
    tokenizer: &Tokenizer,
    wanted: Option<&str>,
) -> Result<Option<ChatTemplate>> {
    let Some(wanted) = wanted else { return Ok(tokenizer.chat_template()?) };
    let template = match built_in(wanted) {
        Some(source) => tokenizer.template(source),
        None => {
            let source = fs::read_to_string(wanted).with_context(|| {
                format!("{wanted}: neither chatml, llama3 or zephyr nor a file that can be read")
            })?;
            tokenizer.template(&source)
        }
    };
    Ok(Some(template.with_context(|| wanted.to_owned())?))
}
