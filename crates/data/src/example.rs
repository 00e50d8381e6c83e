//! Rows of data sets, with TRL's column names.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// A prompt and the completion that a model shall learn to give (TRL: prompt-completion).
///
/// Plain text for language modelling has an empty prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Demonstration {
    /// What is given.
    pub prompt: String,
    /// What follows; the end of sequence is added when it is encoded.
    pub completion: String,
}

/// Two completions of one prompt, one of which was preferred (TRL: preference).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preference {
    /// What was given.
    pub prompt: String,
    /// The preferred completion.
    pub chosen: String,
    /// The other completion.
    pub rejected: String,
    /// By how much the score of `chosen` shall exceed that of `rejected` at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margin: Option<f32>,
    /// Whether `chosen` ended by itself; a completion cut at the length limit did not.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub chosen_finished: bool,
    /// Whether `rejected` ended by itself.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub rejected_finished: bool,
}

/// One completion with a thumb up or down (TRL: unpaired preference).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Labeled {
    /// What was given.
    #[serde(default)]
    pub prompt: String,
    /// The completion that was judged.
    pub completion: String,
    /// Whether it was judged good.
    pub label: bool,
}

/// A row of a data set: an example of some task, in one of TRL's forms.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// What it shows.
    pub body: Body,
    /// The tools that the model may call (`tools`).
    pub tools: Option<Value>,
    /// What the chat template asks for besides (`chat_template_kwargs`).
    pub template_arguments: Map<String, Value>,
    /// All other columns.
    pub extra: Map<String, Value>,
}

/// What an example shows; TRL's dataset types.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// A whole text or conversation.
    LanguageModeling(Content),
    /// What shall be completed.
    PromptOnly(Content),
    /// A prompt and the completion to learn.
    PromptCompletion {
        /// What is given.
        prompt: Content,
        /// What follows.
        completion: Content,
    },
    /// Two completions of one prompt, one of which was preferred.
    Preference {
        /// What was given.
        prompt: Content,
        /// The preferred completion.
        chosen: Content,
        /// The other completion.
        rejected: Content,
        /// By how much the score of `chosen` shall exceed that of `rejected` at least.
        margin: Option<f32>,
        /// How probable it is that people prefer `chosen`, from 0 to 1; 0.5 is a tie. 1 if left out.
        chosen_probability: Option<f32>,
    },
    /// A completion with a thumb up or down.
    UnpairedPreference {
        /// What was given.
        prompt: Content,
        /// The completion that was judged.
        completion: Content,
        /// Whether it was judged good.
        label: bool,
    },
    /// Several completions of one prompt in the order of their worth.
    Ranking {
        /// What was given.
        prompt: Content,
        /// The completions, two at least.
        completions: Vec<Content>,
        /// The place of each: 1 is the best; those of one place are equally good.
        ranks: Vec<u32>,
    },
    /// A completion with a grade; higher is better.
    Scored {
        /// What was given.
        prompt: Content,
        /// The completion that was judged.
        completion: Content,
        /// Its grade.
        score: f32,
    },
}

/// A text (TRL: standard format) or messages that a chat template turns into one (conversational). In JSON, a string or a list.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Content {
    /// The text itself.
    Text(String),
    /// Objects with `role`, `content` and what else the template asks for.
    Messages(Vec<Value>),
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl Content {
    /// Whether it is messages.
    pub fn is_conversational(&self) -> bool {
        matches!(self, Self::Messages(_))
    }

    /// As people read it: the text, or what each message says behind who says it, with empty lines between.
    pub fn transcript(&self) -> String {
        let said = |it: &Value| {
            let part = |name: &str| it[name].as_str().unwrap_or_default();
            format!("{}: {}", part("role"), part("content"))
        };
        match self {
            Self::Text(text) => text.clone(),
            Self::Messages(messages) => messages.iter().map(said).collect::<Vec<_>>().join("\n\n"),
        }
    }

    /// What answers it, in its own form: a text, or the assistant's next message.
    #[must_use]
    pub fn reply(&self, text: impl Into<String>) -> Self {
        match self {
            Self::Text(_) => Self::Text(text.into()),
            Self::Messages(_) => {
                Self::Messages(vec![json!({ "role": "assistant", "content": text.into() })])
            }
        }
    }

    /// The text, or the texts of the messages one after the other, a line each.
    pub fn to_text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Messages(messages) => {
                let texts = messages.iter().filter_map(|it| it["content"].as_str());
                texts.collect::<Vec<_>>().join("\n")
            }
        }
    }
}

impl Body {
    /// Whether it is messages.
    pub fn is_conversational(&self) -> bool {
        match self {
            Self::LanguageModeling(content) => content.is_conversational(),
            _ => self.prompt().is_some_and(Content::is_conversational),
        }
    }

    /// What is given; nothing before a whole text or conversation.
    pub fn prompt(&self) -> Option<&Content> {
        match self {
            Self::LanguageModeling(_) => None,
            Self::PromptOnly(prompt)
            | Self::PromptCompletion { prompt, .. }
            | Self::Preference { prompt, .. }
            | Self::UnpairedPreference { prompt, .. }
            | Self::Ranking { prompt, .. }
            | Self::Scored { prompt, .. } => Some(prompt),
        }
    }

    /// Whether it says how good completions are.
    pub fn is_judgement(&self) -> bool {
        matches!(
            self,
            Self::Preference { .. }
                | Self::UnpairedPreference { .. }
                | Self::Ranking { .. }
                | Self::Scored { .. }
        )
    }

    /// The completions that it judges; of a pair the preferred one first.
    pub fn judged(&self) -> Vec<&Content> {
        match self {
            Self::Preference { chosen, rejected, .. } => vec![chosen, rejected],
            Self::UnpairedPreference { completion, .. } | Self::Scored { completion, .. } => {
                vec![completion]
            }
            Self::Ranking { completions, .. } => completions.iter().collect(),
            _ => Vec::new(),
        }
    }
}

impl Example {
    /// What a judgement counts for beside others (`weight`); 1 if the row doesn't say.
    pub fn weight(&self) -> Option<f32> {
        self.extra.get(WEIGHT).and_then(Value::as_f64).map(|it| it as f32)
    }

    /// Whether the completion at a place of [`Body::judged`] ended by itself: of those that a model sampled, some were cut at
    /// the length limit. `chosen_finished` and `rejected_finished` say it of a pair, `completion_finished` of a single
    /// completion, and `completions_finished`, a list, of a ranking. True where nothing is said.
    pub fn finished(&self, place: usize) -> bool {
        let said = match &self.body {
            Body::Preference { .. } => PAIR_FINISHED.get(place).and_then(|it| self.extra.get(*it)),
            Body::UnpairedPreference { .. } | Body::Scored { .. } => self.extra.get(ONE_FINISHED),
            Body::Ranking { .. } => self.extra.get(ALL_FINISHED).and_then(|it| it.get(place)),
            Body::LanguageModeling(_) | Body::PromptOnly(_) | Body::PromptCompletion { .. } => None,
        };
        said.and_then(Value::as_bool).unwrap_or(true)
    }

    /// The same, saying of each completion that it judges whether it ended by itself. No column says that all did.
    #[must_use]
    pub fn with_finished(mut self, finished: &[bool]) -> Self {
        if finished.iter().all(|it| *it) {
            return self;
        }
        match &self.body {
            Body::Preference { .. } => {
                let cut = PAIR_FINISHED.iter().zip(finished).filter(|(_, finished)| !**finished);
                self.extra.extend(cut.map(|(name, _)| ((*name).to_owned(), false.into())));
            }
            Body::Ranking { .. } => {
                self.extra.insert(ALL_FINISHED.to_owned(), json!(finished));
            }
            _ => {
                self.extra.insert(ONE_FINISHED.to_owned(), false.into());
            }
        }
        self
    }
}

/// The columns of [`Example::finished`] of a pair, …
pub const PAIR_FINISHED: [&str; 2] = ["chosen_finished", "rejected_finished"];
/// … of a single completion, …
const ONE_FINISHED: &str = "completion_finished";
/// … and of a ranking.
const ALL_FINISHED: &str = "completions_finished";

/// The column of [`Example::weight`], which stays among the others.
pub(crate) const WEIGHT: &str = "weight";

/// The place of the best of some completions; the first of those that are equally good.
pub fn best_ranked(ranks: &[u32]) -> Option<usize> {
    (0..ranks.len()).min_by_key(|place| ranks[*place])
}

/// Columns of a prompt's row that come along with it, for rewards that ask about more than texts: a right
/// answer, say. All completions of a prompt share them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Map<String, Value>", into = "Map<String, Value>")]
pub struct Columns(Option<Arc<Map<String, Value>>>);

impl Columns {
    /// What stands in the column `name`.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.as_ref()?.get(name)
    }

    /// All of them, by their names.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.0.iter().flat_map(|it| it.iter())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

impl From<Map<String, Value>> for Columns {
    fn from(columns: Map<String, Value>) -> Self {
        Self((!columns.is_empty()).then(|| Arc::new(columns)))
    }
}

impl From<Columns> for Map<String, Value> {
    fn from(columns: Columns) -> Self {
        columns.0.map_or_else(Self::new, Arc::unwrap_or_clone)
    }
}

/// A completion that a model sampled, as rewards and people see it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Completion {
    /// The prompt's text.
    pub prompt: String,
    /// The prompt's tokens, as the model saw them.
    pub prompt_tokens: Vec<u32>,
    /// The sampled tokens; the last one is the end of sequence if the completion `finished`.
    pub tokens: Vec<u32>,
    /// The text of the sampled tokens without special tokens.
    pub text: String,
    /// Whether the model ended the completion by itself.
    pub finished: bool,
    /// What else the prompt's row says.
    #[serde(default, skip_serializing_if = "Columns::is_empty")]
    pub columns: Columns,
}

impl Completion {
    /// Prompt and completion in one row of tokens.
    pub fn sequence(&self) -> Vec<u32> {
        [self.prompt_tokens.as_slice(), self.tokens.as_slice()].concat()
    }
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_true(value: &bool) -> bool {
    *value
}
