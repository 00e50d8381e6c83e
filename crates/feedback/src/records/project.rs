//! What a project asks, and how.

use serde::{Deserialize, Serialize};

use super::Choice;

/// What is asked of each task of a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Kind {
    /// Which of two responses is better.
    Pair {
        /// The points of the scale from one side to the other, a tie not counted: 2, 4, 6 or 8.
        #[serde(default = "defaults::points")]
        points: u8,
        /// Whether both may be equally good, or both bad.
        #[serde(default = "defaults::yes")]
        ties: bool,
    },
    /// The order of 2 to 9 responses.
    Ranking {
        /// Whether some may share a place.
        #[serde(default = "defaults::yes")]
        ties: bool,
    },
    /// A grade of one response.
    Score {
        /// The lowest.
        #[serde(default = "defaults::least")]
        least: i16,
        /// The highest.
        #[serde(default = "defaults::most")]
        most: i16,
    },
    /// Whether one response is good.
    Thumbs,
    /// A better response.
    Edit,
    /// How far an attack on the model went.
    RedTeam,
}

impl Kind {
    /// A pair on a scale of two points, with ties.
    pub const PAIR: Self = Self::Pair { points: 2, ties: true };

    /// As it stands in files and addresses.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pair { .. } => "pair",
            Self::Ranking { .. } => "ranking",
            Self::Score { .. } => "score",
            Self::Thumbs => "thumbs",
            Self::Edit => "edit",
            Self::RedTeam => "red_team",
        }
    }

    /// How many responses a task shows, from and to.
    pub(crate) fn n_items(&self) -> (usize, usize) {
        match self {
            Self::Pair { .. } => (2, 2),
            Self::Ranking { .. } => (2, 9),
            _ => (1, 1),
        }
    }

    /// Why there can be no such project, if there can't.
    fn refusal(&self) -> Option<String> {
        match self {
            Self::Pair { points, .. } if !matches!(points, 2 | 4 | 6 | 8) => {
                Some(format!("`points` is 2, 4, 6 or 8, not {points}"))
            }
            Self::Score { least, most } if least >= most || most - least > 100 => {
                Some(format!("`least` = {least} and `most` = {most} leave 2 to 101 grades"))
            }
            _ => None,
        }
    }
}

/// How a project asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What is asked of each task.
    pub kind: Kind,
    /// What annotators shall know, as plain text.
    pub guidelines: String,
    /// Reasons that annotators can tick.
    pub reasons: Vec<String>,
    /// Respects in which pairs are compared besides.
    pub aspects: Vec<String>,
    /// How long a task is kept for somebody, in minutes.
    pub lease_minutes: u32,
    /// The share of tasks whose answer is known, which show how reliable somebody is.
    pub gold_share: f64,
    /// The share of tasks that are chosen at random, whatever their priority.
    pub random_share: f64,
    /// The share of questions that somebody answered before, a pair with its sides exchanged, which show how consistent
    /// somebody is.
    pub repeat_share: f64,
    /// How many people may flag a task before nobody is asked it any more.
    pub flags: u32,
    /// Whether what is chosen follows from this number and the answers so far.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            kind: Kind::PAIR,
            guidelines: String::new(),
            reasons: Vec::new(),
            aspects: Vec::new(),
            lease_minutes: 15,
            gold_share: 0.05,
            random_share: 0.1,
            repeat_share: 0.0,
            flags: 4,
            seed: 0,
        }
    }
}

impl Settings {
    /// A project that asks this, and all else as usual.
    pub fn of(kind: Kind) -> Self {
        Self { kind, ..Self::default() }
    }

    /// Why there can be no such project, if there can't.
    pub(crate) fn refusal(&self) -> Option<String> {
        let shares = [
            ("gold_share", self.gold_share),
            ("random_share", self.random_share),
            ("repeat_share", self.repeat_share),
        ];
        if let Some((name, share)) = shares.iter().find(|(_, it)| !(0.0..=1.0).contains(it)) {
            return Some(format!("`{name}` = {share} is no share"));
        }
        if self.lease_minutes == 0 {
            return Some("`lease_minutes` is at least 1".into());
        }
        self.kind.refusal()
    }
}

mod defaults {
    pub(super) fn points() -> u8 {
        2
    }
    pub(super) fn yes() -> bool {
        true
    }
    pub(super) fn least() -> i16 {
        1
    }
    pub(super) fn most() -> i16 {
        7
    }
}

/// Items in the order in which somebody sees them: place on the page to place in the task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Shown(pub Vec<usize>);

impl Shown {
    /// A pair of which this one is shown first.
    pub fn first(choice: Choice) -> Self {
        Self(vec![choice.index(), choice.other().index()])
    }

    /// Whether it is an order of so many items.
    pub(crate) fn is_order_of(&self, n_items: usize) -> bool {
        let mut places = self.0.clone();
        places.sort_unstable();
        places.iter().copied().eq(0..n_items)
    }
}
