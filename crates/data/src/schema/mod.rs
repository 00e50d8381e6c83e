//! What the columns of a data set mean.
//!
//! The schemas are TRL's dataset types, each with texts or with messages, and three dialects that many
//! published data sets have. A file has one schema, recognised by the columns of its first row unless
//! it is named; a row that lacks one of its columns is an error.

mod columns;
mod convert;
mod dialects;
mod examples;
mod judgements;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub(crate) use self::dialects::split_dialogues;
pub use self::examples::{Examples, Located};

/// A set of columns and their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schema {
    /// `text`, or `messages`.
    LanguageModeling,
    /// `prompt`.
    PromptOnly,
    /// `prompt` and `completion`.
    PromptCompletion,
    /// `prompt`, `chosen`, `rejected`, and perhaps `margin` and `chosen_probability`.
    Preference,
    /// `chosen` and `rejected`, which begin with the same prompt, and perhaps `margin`.
    ImplicitPreference,
    /// `prompt`, `completion` and `label`.
    UnpairedPreference,
    /// `prompt`, `completions` and `ranks`, of which 1 is the best.
    Ranking,
    /// `prompt`, and lists of `chosen` and of `rejected` texts: RewardBench 2. Becomes a ranking.
    BestOf,
    /// `prompt`, `completion` and `score`.
    Scored,
    /// `instruction`, `output`, and perhaps `input`: Stanford Alpaca. Becomes prompt and completion.
    Alpaca,
    /// `conversations` of `from` and `value`: ShareGPT. Becomes messages.
    #[serde(rename = "sharegpt")]
    ShareGpt,
    /// `chosen` and `rejected` as texts of `\n\nHuman:` and `\n\nAssistant:` turns: Anthropic's HH-RLHF.
    /// Becomes preferences.
    Hh,
}

const ALL: [Schema; 12] = [
    Schema::LanguageModeling,
    Schema::PromptOnly,
    Schema::PromptCompletion,
    Schema::Preference,
    Schema::ImplicitPreference,
    Schema::UnpairedPreference,
    Schema::Ranking,
    Schema::BestOf,
    Schema::Scored,
    Schema::Alpaca,
    Schema::ShareGpt,
    Schema::Hh,
];

impl Schema {
    /// The schema's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::LanguageModeling => "language-modeling",
            Self::PromptOnly => "prompt-only",
            Self::PromptCompletion => "prompt-completion",
            Self::Preference => "preference",
            Self::ImplicitPreference => "implicit-preference",
            Self::UnpairedPreference => "unpaired-preference",
            Self::Ranking => "ranking",
            Self::BestOf => "best-of",
            Self::Scored => "scored",
            Self::Alpaca => "alpaca",
            Self::ShareGpt => "sharegpt",
            Self::Hh => "hh",
        }
    }

    /// The columns without which a row isn't of this schema.
    fn columns(self) -> &'static str {
        match self {
            Self::LanguageModeling => "`text` or `messages`",
            Self::PromptOnly => "`prompt`",
            Self::PromptCompletion => "`prompt` and `completion`",
            Self::Preference => "`prompt`, `chosen` and `rejected`",
            Self::ImplicitPreference | Self::Hh => "`chosen` and `rejected`",
            Self::UnpairedPreference => "`completion`, `label` and perhaps `prompt`",
            Self::Ranking => "`prompt`, `completions` and `ranks`",
            Self::BestOf => "`prompt` and lists of `chosen` and `rejected`",
            Self::Scored => "`completion`, `score` and perhaps `prompt`",
            Self::Alpaca => "`instruction`, `output` and perhaps `input`",
            Self::ShareGpt => "`conversations`",
        }
    }

    /// The schema that a row with these columns has.
    ///
    /// # Errors
    /// Columns that no schema has; they are named, and those that would do.
    pub fn recognise(row: &Map<String, Value>) -> Result<Self, String> {
        let has = |name: &str| row.get(name).is_some_and(|value| !value.is_null());
        let all = |names: &[&str]| names.iter().all(|name| has(name));
        if has("messages") {
            Ok(Self::LanguageModeling)
        } else if has("conversations") {
            Ok(Self::ShareGpt)
        } else if all(&["chosen", "rejected"]) {
            Ok(preference(row))
        } else if all(&["completions", "ranks"]) {
            Ok(Self::Ranking)
        } else if all(&["completion", "label"]) {
            Ok(Self::UnpairedPreference)
        } else if all(&["completion", "score"]) {
            Ok(Self::Scored)
        } else if all(&["prompt", "completion"]) {
            Ok(Self::PromptCompletion)
        } else if all(&["instruction", "output"]) {
            Ok(Self::Alpaca)
        } else if has("text") {
            Ok(Self::LanguageModeling)
        } else if has("prompt") {
            Ok(Self::PromptOnly)
        } else {
            Err(format!("no schema has only the columns {}; known are {}", found(row), known()))
        }
    }
}

/// Some data sets repeat the prompt as a text beside conversations that hold it: as in TRL, such a
/// prompt doesn't count.
fn preference(row: &Map<String, Value>) -> Schema {
    if judgements::are_lists_of_texts(row) {
        return Schema::BestOf;
    }
    let dialogue = |name| row[name].as_str().is_some_and(|text| text.starts_with(dialects::HUMAN));
    match row.get("prompt") {
        Some(prompt) if !prompt.is_null() && prompt.is_array() == row["chosen"].is_array() => {
            Schema::Preference
        }
        None if dialogue("chosen") && dialogue("rejected") => Schema::Hh,
        _ => Schema::ImplicitPreference,
    }
}

fn known() -> String {
    let one = |schema: &Schema| format!("{} ({})", schema.columns(), schema.name());
    ALL.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// The columns of a row, for an error.
fn found(row: &Map<String, Value>) -> String {
    const MOST: usize = 12;
    if row.is_empty() {
        return "of an empty row".into();
    }
    let names = row.keys().take(MOST).map(|name| format!("`{}`", shortened(name)));
    let more = if row.len() > MOST { " and more" } else { "" };
    format!("{}{more}", names.collect::<Vec<_>>().join(", "))
}

/// A text from a file, of a length that fits into an error.
fn shortened(text: &str) -> String {
    const MOST: usize = 60;
    let text: String = text.chars().map(|it| if it.is_control() { ' ' } else { it }).collect();
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Schema {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        ALL.into_iter().find(|schema| schema.name() == name).ok_or_else(|| {
            let names = ALL.map(Self::name).join("`, `");
            format!("no schema is called `{name}`; there are `{names}`")
        })
    }
}

#[cfg(test)]
mod tests;
