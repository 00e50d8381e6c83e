//! Rows of data sets, with TRL's column names.

use serde::{Deserialize, Serialize};

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

/// A completion that a model sampled, as rewards and people see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
