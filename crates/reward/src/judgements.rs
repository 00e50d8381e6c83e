//! What people said, in tokens.

/// Judgements that a reward model can be trained on.
#[derive(Clone, Debug)]
pub enum Judgements {
    /// Pairs of which one was preferred.
    Pairs(Vec<Pair>),
    /// Completions that were labelled good or bad.
    Labels(Vec<Label>),
    /// Several completions of a prompt in the order of their worth.
    Rankings(Vec<Ranking>),
    /// Completions with grades.
    Scores(Vec<Scored>),
}

/// A preference pair in tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pair {
    /// Prompt and preferred completion.
    pub chosen: Vec<u32>,
    /// Prompt and the other completion.
    pub rejected: Vec<u32>,
    /// By how much the scores shall differ at least.
    pub margin: Option<f32>,
    /// How probable it is that people prefer `chosen`; 1 if left out, 0.5 is a tie.
    pub chosen_probability: Option<f32>,
    /// What it counts for beside others; 1 if left out.
    pub weight: Option<f32>,
}

/// A labelled completion in tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Label {
    /// Prompt and completion.
    pub tokens: Vec<u32>,
    /// Whether it was judged good.
    pub is_good: bool,
    /// What it counts for beside others; 1 if left out.
    pub weight: Option<f32>,
}

/// Ranked completions of a prompt, in tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ranking {
    /// The prompt with each completion.
    pub rows: Vec<Vec<u32>>,
    /// The place of each; 1 is the best, and completions of one place are equally good.
    pub ranks: Vec<u32>,
    /// What it counts for beside others; 1 if left out.
    pub weight: Option<f32>,
}

/// A graded completion in tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scored {
    /// Prompt and completion.
    pub tokens: Vec<u32>,
    /// The grade.
    pub score: f32,
    /// What it counts for beside others; 1 if left out.
    pub weight: Option<f32>,
}

impl Judgements {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Pairs(all) => all.len(),
            Self::Labels(all) => all.len(),
            Self::Rankings(all) => all.len(),
            Self::Scores(all) => all.len(),
        }
    }

    /// Tokens of the longest row of a judgement.
    pub fn n_tokens(&self, judgement: usize) -> usize {
        match self {
            Self::Pairs(all) => all[judgement].chosen.len().max(all[judgement].rejected.len()),
            Self::Labels(all) => all[judgement].tokens.len(),
            Self::Rankings(all) => all[judgement].rows.iter().map(Vec::len).max().unwrap_or(0),
            Self::Scores(all) => all[judgement].tokens.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Some of them, in this order.
    #[must_use]
    pub fn select(&self, judgements: impl IntoIterator<Item = usize>) -> Self {
        fn take<T: Clone>(all: &[T], places: impl Iterator<Item = usize>) -> Vec<T> {
            places.map(|place| all[place].clone()).collect()
        }
        let places = judgements.into_iter();
        match self {
            Self::Pairs(all) => Self::Pairs(take(all, places)),
            Self::Labels(all) => Self::Labels(take(all, places)),
            Self::Rankings(all) => Self::Rankings(take(all, places)),
            Self::Scores(all) => Self::Scores(take(all, places)),
        }
    }

    /// These judgements in parts of `count`, in their order.
    pub fn chunks(&self, count: usize) -> Vec<Self> {
        let starts = (0..self.len()).step_by(count);
        starts.map(|start| self.select(start..self.len().min(start + count))).collect()
    }

    /// The pairs, if they are pairs.
    pub fn into_pairs(self) -> Option<Vec<Pair>> {
        match self {
            Self::Pairs(pairs) => Some(pairs),
            _ => None,
        }
    }

    /// The rows of tokens that are judged, judgement by judgement.
    pub fn rows(&self) -> Vec<&[u32]> {
        match self {
            Self::Pairs(all) => {
                all.iter().flat_map(|pair| [pair.chosen.as_slice(), &pair.rejected]).collect()
            }
            Self::Labels(all) => all.iter().map(|label| label.tokens.as_slice()).collect(),
            Self::Rankings(all) => {
                all.iter().flat_map(|it| it.rows.iter().map(Vec::as_slice)).collect()
            }
            Self::Scores(all) => all.iter().map(|it| it.tokens.as_slice()).collect(),
        }
    }

    /// What belongs to each judgement, of one thing for each of its [`rows`](Self::rows).
    pub fn grouped<T: Clone>(&self, things: &[T]) -> Vec<Vec<T>> {
        let count = |judgement: usize| match self {
            Self::Pairs(_) => 2,
            Self::Labels(_) | Self::Scores(_) => 1,
            Self::Rankings(all) => all[judgement].rows.len(),
        };
        let mut rest = things;
        let mut next = |judgement: usize| {
            let (these, others) = rest.split_at(count(judgement));
            rest = others;
            these.to_vec()
        };
        (0..self.len()).map(&mut next).collect()
    }

    /// What each counts for beside others.
    pub(crate) fn weights(&self) -> Vec<f64> {
        let weights: Vec<Option<f32>> = match self {
            Self::Pairs(all) => all.iter().map(|it| it.weight).collect(),
            Self::Labels(all) => all.iter().map(|it| it.weight).collect(),
            Self::Rankings(all) => all.iter().map(|it| it.weight).collect(),
            Self::Scores(all) => all.iter().map(|it| it.weight).collect(),
        };
        weights.into_iter().map(|it| f64::from(it.unwrap_or(1.0))).collect()
    }
}
