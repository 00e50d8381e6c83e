//! What the store holds, as the program sees it.

mod judgement;
mod project;

pub use judgement::{Answer, Aspect, Choice, Judgement, MAX_SUCCESS, MAX_TEXT};
pub use project::{Kind, Settings, Shown};

use rein_data::example::Content;
use serde::{Deserialize, Serialize};

/// Whether a prompt's answers may be trained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// They may.
    Train,
    /// They are kept to measure with.
    Heldout,
}

impl Split {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Heldout => "heldout",
        }
    }
}

/// A response to judge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// What the annotator reads.
    pub text: String,
    /// Whether it ended by itself.
    pub finished: bool,
    /// The model or person that wrote it; annotators aren't told.
    pub source: String,
}

/// A task to be added to a project.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewTask {
    /// The caller's name for it: adding it twice adds it once.
    pub external_id: String,
    /// What the responses answer: a text, or a conversation whose next turn they are.
    pub prompt: Content,
    /// Whether it may be trained on.
    pub split: Split,
    /// As many responses as the project's kind asks for.
    pub responses: Vec<Response>,
    /// How many people shall judge it.
    pub overlap: u32,
    /// Tasks of higher priority are asked first.
    pub priority: f64,
    /// The answer, if it is known for certain: such tasks show how reliable people are.
    pub gold: Option<Judgement>,
}

/// A task as it stands in the store.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Its row.
    pub id: i64,
    /// The caller's name for it.
    pub external_id: String,
    /// What the responses answer: a text, or a conversation whose next turn they are.
    pub prompt: Content,
    /// The responses.
    pub responses: Vec<Response>,
    /// How many people shall judge it.
    pub overlap: u32,
    /// The answer, if it is known for certain.
    pub gold: Option<Judgement>,
}

/// What became of a task that somebody was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It was answered.
    Submitted,
    /// It was begun.
    Draft,
    /// It was passed over.
    Skipped,
    /// Something is wrong with it.
    Flagged,
    /// An answer was taken back.
    Undone,
}

impl Status {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Submitted => "submitted",
            Self::Draft => "draft",
            Self::Skipped => "skipped",
            Self::Flagged => "flagged",
            Self::Undone => "undone",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Submitted, Self::Draft, Self::Skipped, Self::Flagged, Self::Undone]
            .into_iter()
            .find(|status| status.as_str() == text)
    }

    /// Whether the annotator isn't asked again.
    pub(crate) fn is_final(self) -> bool {
        matches!(self, Self::Submitted | Self::Skipped | Self::Flagged)
    }
}

/// An answer to be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Annotation {
    /// The task's row.
    pub task: i64,
    /// The annotator's name.
    pub annotator: String,
    /// What was said, in terms of the task's own order.
    pub answer: Answer,
    /// The order in which the items were shown.
    pub shown: Shown,
    /// The caller's key: storing it twice stores it once.
    pub idem_key: String,
    /// For how long the page was in sight and somebody was at it, in milliseconds, if that is known.
    pub active_ms: Option<i64>,
}
