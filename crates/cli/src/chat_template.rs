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
    let template = tokenizer.template(&source_of(wanted)?);
    Ok(Some(template.with_context(|| wanted.to_owned())?))
}

/// The tokenizer with the template that was asked for, if one was, so that a model that is trained with
/// it is saved with it.
pub(crate) fn with_template(tokenizer: Tokenizer, wanted: Option<&str>) -> Result<Tokenizer> {
    Ok(match wanted {
        Some(wanted) => tokenizer.with_chat_template(&source_of(wanted)?),
        None => tokenizer,
    })
}

fn source_of(wanted: &str) -> Result<String> {
    match built_in(wanted) {
        Some(source) => Ok(source.to_owned()),
        None => fs::read_to_string(wanted).with_context(|| {
            format!("{wanted}: neither chatml, llama3 or zephyr nor a file that can be read")
        }),
    }
}
