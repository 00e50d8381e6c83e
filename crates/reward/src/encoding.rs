//! Judgements as rows of tokens.

use rein_data::example::{Labeled, Preference};
use rein_data::tokenizer::Tokenizer;

/// Judgements that a reward model can be trained on.
#[derive(Clone, Debug)]
pub enum Judgements {
    /// Pairs of which one was preferred.
    Pairs(Vec<Pair>),
    /// Completions that were labelled good or bad.
    Labels(Vec<Label>),
}

/// A preference pair in tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// Prompt and preferred completion.
    pub chosen: Vec<u32>,
    /// Prompt and the other completion.
    pub rejected: Vec<u32>,
    /// By how much the scores shall differ at least.
    pub margin: Option<f32>,
}

/// A labelled completion in tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    /// Prompt and completion.
    pub tokens: Vec<u32>,
    /// Whether it was judged good.
    pub is_good: bool,
}

impl Judgements {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Pairs(pairs) => pairs.len(),
            Self::Labels(labels) => labels.len(),
        }
    }

    /// Tokens of the longest row of a judgement.
    pub fn n_tokens(&self, judgement: usize) -> usize {
        match self {
            Self::Pairs(pairs) => {
                pairs[judgement].chosen.len().max(pairs[judgement].rejected.len())
            }
            Self::Labels(labels) => labels[judgement].tokens.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows of tokens that are judged, for statistics.
    pub fn rows(&self) -> Vec<&[u32]> {
        match self {
            Self::Pairs(pairs) => {
                pairs.iter().flat_map(|pair| [pair.chosen.as_slice(), &pair.rejected]).collect()
            }
            Self::Labels(labels) => labels.iter().map(|label| label.tokens.as_slice()).collect(),
        }
    }
}

/// Encoded judgements and what the length limit did to them.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// The judgements.
    pub judgements: Judgements,
    /// Rows whose prompt lost its beginning.
    pub n_truncated: usize,
}

/// Encodes preference pairs. A row longer than `max_tokens` loses the beginning of its prompt: what
/// is judged stands at the end.
pub fn encode_preferences(
    preferences: &[Preference],
    tokenizer: &Tokenizer,
    max_tokens: usize,
) -> Encoded {
    let mut n_truncated = 0;
    let mut encode = |prompt: &str, completion: &str, finished: bool| {
        let (row, cut) = encode(tokenizer, prompt, completion, finished, max_tokens);
        n_truncated += usize::from(cut);
        row
    };
    let pairs = preferences
        .iter()
        .map(|row| Pair {
            chosen: encode(&row.prompt, &row.chosen, row.chosen_finished),
            rejected: encode(&row.prompt, &row.rejected, row.rejected_finished),
            margin: row.margin,
        })
        .collect();
    Encoded { judgements: Judgements::Pairs(pairs), n_truncated }
}

/// Encodes labelled completions, as [`encode_preferences`] does pairs.
pub fn encode_labels(labels: &[Labeled], tokenizer: &Tokenizer, max_tokens: usize) -> Encoded {
    let mut n_truncated = 0;
    let labels = labels
        .iter()
        .map(|row| {
            let (tokens, cut) = encode(tokenizer, &row.prompt, &row.completion, true, max_tokens);
            n_truncated += usize::from(cut);
            Label { tokens, is_good: row.label }
        })
        .collect();
    Encoded { judgements: Judgements::Labels(labels), n_truncated }
}

fn encode(
    tokenizer: &Tokenizer,
    prompt: &str,
    completion: &str,
    finished: bool,
    max_tokens: usize,
) -> (Vec<u32>, bool) {
    let mut row = tokenizer.encode_prompt(prompt);
    if finished {
        row.extend(tokenizer.encode_completion(completion));
    } else {
        row.extend(tokenizer.encode(completion));
    }
    let n_over = row.len().saturating_sub(max_tokens);
    row.drain(..n_over);
    (row, n_over > 0)
}
