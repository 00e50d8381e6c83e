use serde::{Deserialize, Serialize};

/// Whether a prompt's answers may be trained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// What the annotator reads.
    pub text: String,
    /// Whether it ended by itself.
    pub finished: bool,
}

/// A pair to be judged, to be added to a project.
#[derive(Clone, Debug, PartialEq)]
pub struct NewPair {
    /// The caller's name for it: adding it twice adds it once.
    pub external_id: String,
    /// What both responses answer.
    pub prompt: String,
    /// Whether it may be trained on.
    pub split: Split,
    /// The two responses.
    pub responses: [Response; 2],
    /// The model that wrote them.
    pub source: String,
    /// How many people shall judge it.
    pub overlap: u32,
}

/// A pair as it stands in the store.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Its row.
    pub id: i64,
    /// The caller's name for it.
    pub external_id: String,
    /// What both responses answer.
    pub prompt: String,
    /// The two responses.
    pub responses: [Response; 2],
    /// How many people shall judge it.
    pub overlap: u32,
}

/// Which of two items, by their place in the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// The task's first.
    First,
    /// The task's second.
    Second,
}

impl Choice {
    /// The place in the task.
    pub fn index(self) -> usize {
        match self {
            Self::First => 0,
            Self::Second => 1,
        }
    }

    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

/// What an annotator said of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Judgement {
    /// One of a pair is better.
    Preferred {
        /// Which.
        choice: Choice,
    },
}

/// An answer to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotation {
    /// The task's row.
    pub task: i64,
    /// The annotator's name.
    pub annotator: String,
    /// What was said, in terms of the task's own order.
    pub judgement: Judgement,
    /// The item that was shown on the first side.
    pub shown_first: Choice,
    /// The caller's key: storing it twice stores it once.
    pub idem_key: String,
}
