//! Rows become examples.

use serde_json::{Map, Value};

use super::columns::Columns;
use super::dialects::{alpaca, extract_prompt, sharegpt, split_dialogues};
use super::judgements::{best_of, ranking, scored};
use super::{Schema, found};
use crate::example::{Body, Content, Example, WEIGHT};

/// Columns that every schema may have.
const TOOLS: &str = "tools";
const ARGUMENTS: &str = "chat_template_kwargs";
const PROBABILITY: &str = "chosen_probability";

impl Schema {
    /// The example that a row of this schema holds; `None` for a pair that says nothing, because both
    /// completions are the same.
    ///
    /// # Errors
    /// A column that is missing or holds something else.
    pub fn example(self, row: Map<String, Value>) -> Result<Option<Example>, String> {
        let mut columns = Columns(row);
        let Some(body) = self.body(&mut columns)? else { return Ok(None) };
        let tools = columns.structured(TOOLS)?;
        let template_arguments = match columns.structured(ARGUMENTS)? {
            None => Map::new(),
            Some(Value::Object(arguments)) => arguments,
            Some(_) => return Err(format!("`{ARGUMENTS}` must be an object")),
        };
        let weight = if body.is_judgement() { columns.weight()? } else { None };
        let mut extra = columns.rest(self.used());
        if let Some(weight) = weight {
            extra.insert(WEIGHT.into(), weight.into());
        }
        Ok(Some(Example { body, tools, template_arguments, extra }))
    }

    fn body(self, columns: &mut Columns) -> Result<Option<Body>, String> {
        Ok(Some(match self {
            Self::LanguageModeling => language_modeling(columns)?,
            Self::PromptOnly => Body::PromptOnly(columns.content("prompt")?),
            Self::PromptCompletion => {
                let [prompt, completion] = alike(columns, ["prompt", "completion"])?;
                Body::PromptCompletion { prompt, completion }
            }
            Self::Preference => {
                let [prompt, chosen, rejected] = alike(columns, ["prompt", "chosen", "rejected"])?;
                let (margin, chosen_probability) = (columns.margin()?, columns.probability()?);
                Body::Preference { prompt, chosen, rejected, margin, chosen_probability }
            }
            Self::ImplicitPreference => return implicit(columns),
            Self::Hh => return dialogues(columns),
            Self::UnpairedPreference => unpaired(columns)?,
            Self::Ranking => ranking(columns)?,
            Self::BestOf => best_of(columns)?,
            Self::Scored => scored(columns)?,
            Self::Alpaca => alpaca(columns)?,
            Self::ShareGpt => sharegpt(columns)?,
        }))
    }

    fn used(self) -> &'static [&'static str] {
        match self {
            Self::LanguageModeling => &["text", "messages", TOOLS, ARGUMENTS],
            Self::PromptOnly => &["prompt", TOOLS, ARGUMENTS],
            Self::PromptCompletion => &["prompt", "completion", TOOLS, ARGUMENTS],
            Self::Preference => {
                &["prompt", "chosen", "rejected", "margin", PROBABILITY, TOOLS, ARGUMENTS]
            }
            Self::ImplicitPreference | Self::Hh => {
                &["chosen", "rejected", "margin", PROBABILITY, TOOLS, ARGUMENTS]
            }
            Self::UnpairedPreference => &["prompt", "completion", "label", TOOLS, ARGUMENTS],
            Self::Ranking => &["prompt", "completions", "ranks", TOOLS, ARGUMENTS],
            Self::BestOf => &["prompt", "chosen", "rejected", TOOLS, ARGUMENTS],
            Self::Scored => &["prompt", "completion", "score", TOOLS, ARGUMENTS],
            Self::Alpaca => &["instruction", "input", "output", TOOLS, ARGUMENTS],
            Self::ShareGpt => &["conversations", TOOLS, ARGUMENTS],
        }
    }
}

fn language_modeling(columns: &mut Columns) -> Result<Body, String> {
    let has = |name| columns.0.get(name).is_some_and(|value: &Value| !value.is_null());
    let content = match (has("messages"), has("text")) {
        (true, _) => columns.content("messages")?,
        (false, true) => Content::Text(columns.text("text")?),
        _ if columns.0.contains_key("messages") => columns.content("messages")?,
        _ if columns.0.contains_key("text") => Content::Text(columns.text("text")?),
        _ => return Err(format!("no column `text` or `messages`; found {}", found(&columns.0))),
    };
    Ok(Body::LanguageModeling(content))
}

/// Columns that are all texts or all messages.
pub(super) fn alike<const N: usize>(
    columns: &mut Columns,
    names: [&str; N],
) -> Result<[Content; N], String> {
    let mut contents = Vec::with_capacity(N);
    for name in names {
        contents.push(columns.content(name)?);
    }
    let first = contents[0].is_conversational();
    if contents.iter().any(|it| it.is_conversational() != first) {
        return Err(format!("`{}` must be all texts or all messages", names.join("`, `")));
    }
    Ok(contents.try_into().expect("one for each name"))
}

fn unpaired(columns: &mut Columns) -> Result<Body, String> {
    let [prompt, completion] = perhaps_prompted(columns)?;
    Ok(Body::UnpairedPreference { prompt, completion, label: columns.label("label")? })
}

/// A completion, and its prompt if there is one.
pub(super) fn perhaps_prompted(columns: &mut Columns) -> Result<[Content; 2], String> {
    let has_prompt = columns.0.get("prompt").is_some_and(|prompt| !prompt.is_null());
    if has_prompt {
        return alike(columns, ["prompt", "completion"]);
    }
    let completion = columns.content("completion")?;
    let nothing = match completion {
        Content::Text(_) => Content::Text(String::new()),
        Content::Messages(_) => Content::Messages(Vec::new()),
    };
    Ok([nothing, completion])
}

fn implicit(columns: &mut Columns) -> Result<Option<Body>, String> {
    let [chosen, rejected] = alike(columns, ["chosen", "rejected"])?;
    let (margin, chosen_probability) = (columns.margin()?, columns.probability()?);
    if chosen == rejected {
        return Ok(None);
    }
    let parts = extract_prompt(chosen, rejected).ok_or("`chosen` or `rejected` is empty")?;
    let [prompt, chosen, rejected] = parts;
    Ok(Some(Body::Preference { prompt, chosen, rejected, margin, chosen_probability }))
}

fn dialogues(columns: &mut Columns) -> Result<Option<Body>, String> {
    let (chosen, rejected) = (columns.text("chosen")?, columns.text("rejected")?);
    let (margin, chosen_probability) = (columns.margin()?, columns.probability()?);
    Ok(split_dialogues(&chosen, &rejected).map(|(prompt, [chosen, rejected])| {
        let content = |text: &str| Content::Text(text.to_owned());
        Body::Preference {
            prompt: content(prompt),
            chosen: content(chosen),
            rejected: content(rejected),
            margin,
            chosen_probability,
        }
    }))
}
