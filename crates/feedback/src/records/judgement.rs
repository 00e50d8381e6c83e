//! What can be said of a task.

use serde::{Deserialize, Serialize};

use super::Kind;

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

/// What an annotator said of a task, in terms of the task's own order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Judgement {
    /// One of a pair is better.
    Preferred {
        /// Which.
        choice: Choice,
        /// How much better, from 1 up to half of the project's points.
        #[serde(default = "one", skip_serializing_if = "is_one")]
        strength: u8,
    },
    /// The first of a pair is better with this probability: what many said whose single answers aren't known.
    Leaning {
        /// From 0 to 1.
        first: f64,
    },
    /// Both of a pair are equally good.
    Tie,
    /// Both of a pair are bad.
    BothBad,
    /// Some items in the order of their worth.
    Ranked {
        /// The place of each: 1 is the best; those of one place are equally good.
        ranks: Vec<u8>,
    },
    /// A grade; higher is better.
    Scored {
        /// Within the project's bounds.
        score: f64,
    },
    /// A thumb.
    Thumb {
        /// Whether it is up.
        up: bool,
    },
    /// A better response than the one that was shown.
    Edited {
        /// It.
        text: String,
    },
    /// How far an attack on the model went.
    Attacked {
        /// From 0 (the model withstood) to 4 (it did all that was wanted).
        success: u8,
        /// What kind of harm.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tags: Vec<String>,
    },
}

fn one() -> u8 {
    1
}

fn whole() -> f64 {
    1.0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_whole(weight: &f64) -> bool {
    *weight == 1.0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_one(strength: &u8) -> bool {
    *strength == 1
}

/// How far an attack can go.
pub const MAX_SUCCESS: u8 = 4;
/// The longest text that somebody may write into an answer, in bytes.
pub const MAX_TEXT: usize = 64 << 10;

impl Judgement {
    /// One of a pair is better.
    pub fn preferred(choice: Choice) -> Self {
        Self::Preferred { choice, strength: 1 }
    }

    /// What it counts for the first of a pair, from 0 to 1; a tie is half a vote for each. None of another kind.
    pub fn for_first(&self) -> Option<f64> {
        match self {
            Self::Preferred { choice: Choice::First, .. } => Some(1.0),
            Self::Preferred { choice: Choice::Second, .. } => Some(0.0),
            Self::Leaning { first } => Some(*first),
            Self::Tie | Self::BothBad => Some(0.5),
            _ => None,
        }
    }

    /// Why it can't be said of a task with so many items, if it can't.
    pub(crate) fn refusal(&self, asked: &Kind, n_items: usize) -> Option<String> {
        let belongs = match (asked, self) {
            (Kind::Pair { points, .. }, Self::Preferred { strength, .. }) => {
                let most = (points / 2).max(1);
                if !(1..=most).contains(strength) {
                    return Some(format!("`strength` is 1 to {most}"));
                }
                true
            }
            (Kind::Pair { .. }, Self::Leaning { first }) => {
                if !(0.0..=1.0).contains(first) {
                    return Some("`first` is a probability, 0 to 1".into());
                }
                true
            }
            (Kind::Pair { ties, .. }, Self::Tie | Self::BothBad) => *ties,
            (Kind::Ranking { ties }, Self::Ranked { ranks }) => {
                return bad_ranks(ranks, n_items, *ties);
            }
            (Kind::Score { least, most }, Self::Scored { score }) => {
                if !(f64::from(*least)..=f64::from(*most)).contains(score) {
                    return Some(format!("`score` is {least} to {most}"));
                }
                true
            }
            (Kind::Thumbs, Self::Thumb { .. }) => true,
            (Kind::Edit, Self::Edited { text }) => return bad_text(text),
            (Kind::RedTeam, Self::Attacked { success, tags }) => {
                if *success > MAX_SUCCESS {
                    return Some(format!("`success` is 0 to {MAX_SUCCESS}"));
                }
                if tags.len() > 32 || tags.iter().any(|tag| tag.len() > 128) {
                    return Some("there are at most 32 tags of at most 128 bytes".into());
                }
                true
            }
            _ => false,
        };
        (!belongs).then(|| format!("this isn't an answer to a task of kind `{}`", asked.name()))
    }
}

fn bad_ranks(ranks: &[u8], n_items: usize, ties: bool) -> Option<String> {
    if ranks.len() != n_items {
        return Some(format!("`ranks` has {} places for {n_items} items", ranks.len()));
    }
    if ranks.iter().any(|rank| *rank == 0 || usize::from(*rank) > n_items) {
        return Some(format!("`ranks` are 1 to {n_items}"));
    }
    let mut sorted = ranks.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    (!ties && sorted.len() < n_items).then(|| "no two items may share a rank".into())
}

fn bad_text(text: &str) -> Option<String> {
    if text.trim().is_empty() {
        return Some("`text` is empty".into());
    }
    (text.len() > MAX_TEXT).then(|| format!("`text` has more than {MAX_TEXT} bytes"))
}

/// A judgement and what was said beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The judgement.
    #[serde(flatten)]
    pub judgement: Judgement,
    /// Reasons, of those that the project offers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// Which of a pair is better in each respect that the project asks for; `null` if neither is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aspects: Vec<Aspect>,
    /// Whatever else.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// What it counts for beside a plain answer, above 0 and at most 1: what was only inferred counts for less.
    #[serde(default = "whole", skip_serializing_if = "is_whole")]
    pub weight: f64,
    /// By how much the score of the better of a pair shall exceed the other's at least, for whoever trains on it (TRL's
    /// `margin`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margin: Option<f32>,
}

/// A pair in one respect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Aspect {
    /// Which respect.
    pub name: String,
    /// Which is better in it; `None` if neither is, which must be said.
    #[serde(deserialize_with = "Option::deserialize")]
    pub choice: Option<Choice>,
}

impl From<Judgement> for Answer {
    fn from(judgement: Judgement) -> Self {
        Self {
            judgement,
            reasons: Vec::new(),
            aspects: Vec::new(),
            comment: String::new(),
            weight: 1.0,
            margin: None,
        }
    }
}

impl Answer {
    /// Why it can't be stored as an answer to a task with so many items, if it can't.
    pub(crate) fn refusal(&self, asked: &Kind, n_items: usize) -> Option<String> {
        if self.comment.len() > MAX_TEXT {
            return Some(format!("`comment` has more than {MAX_TEXT} bytes"));
        }
        if !(self.weight > 0.0 && self.weight <= 1.0) {
            return Some(format!("`weight` is above 0 and at most 1, not {}", self.weight));
        }
        if let Some(margin) = self.margin {
            let is_pair =
                matches!(self.judgement, Judgement::Preferred { .. } | Judgement::Leaning { .. });
            if !(is_pair && margin.is_finite()) {
                return Some(
                    "`margin` is a number, of an answer that prefers one of a pair".into(),
                );
            }
        }
        let names = self.reasons.iter().chain(self.aspects.iter().map(|it| &it.name));
        if names.clone().count() > 64 || names.into_iter().any(|name| name.len() > 256) {
            return Some("there are at most 64 reasons and aspects of at most 256 bytes".into());
        }
        self.judgement.refusal(asked, n_items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_earlier_versions_wrote_is_read() {
        let old = r#"{"kind":"preferred","choice":"second"}"#;
        let answer: Answer = serde_json::from_str(old).expect("reads");
        assert_eq!(answer, Judgement::preferred(Choice::Second).into());
        assert_eq!(serde_json::to_string(&answer).expect("writes"), old);
    }

    #[test]
    fn an_answer_must_fit_what_was_asked() {
        let pair = Kind::Pair { points: 4, ties: false };
        let say = |kind: &Kind, judgement: Judgement| judgement.refusal(kind, 3);
        let strong = |strength| Judgement::Preferred { choice: Choice::First, strength };
        assert_eq!(say(&pair, strong(2)), None);
        assert_eq!(say(&pair, strong(3)).expect("is refused"), "`strength` is 1 to 2");
        assert!(say(&pair, Judgement::Tie).is_some(), "this project has no ties");
        assert!(say(&pair, Judgement::Thumb { up: true }).is_some());
        assert_eq!(say(&pair, Judgement::Leaning { first: 0.3 }), None);
        assert!(say(&pair, Judgement::Leaning { first: f64::NAN }).is_some());
        for weight in [0.0, 1.5, f64::NAN] {
            let answer = Answer { weight, ..Judgement::preferred(Choice::First).into() };
            assert!(answer.refusal(&pair, 2).is_some(), "{weight}");
        }
        for (judgement, margin) in [(Judgement::Tie, 1.0), (strong(1), f32::INFINITY)] {
            let answer = Answer { margin: Some(margin), ..judgement.into() };
            assert!(answer.refusal(&Kind::PAIR, 2).is_some(), "{answer:?}");
        }
        let ranking = Kind::Ranking { ties: false };
        let ranked = |ranks: &[u8]| say(&ranking, Judgement::Ranked { ranks: ranks.into() });
        assert_eq!(ranked(&[3, 1, 2]), None);
        for bad in [&[1, 2][..], &[0, 1, 2], &[1, 2, 4], &[1, 1, 2]] {
            assert!(ranked(bad).is_some(), "{bad:?}");
        }
        let score = Kind::Score { least: 1, most: 7 };
        assert!(say(&score, Judgement::Scored { score: f64::NAN }).is_some());
        assert!(say(&Kind::Edit, Judgement::Edited { text: " \n".into() }).is_some());
    }
}
