//! Judgements as rows of tokens.

use rein_data::encoder::{Encoder, Sequence};
use rein_data::example::{Body, Example, Labeled, Preference};
use rein_data::tokenizer::Tokenizer;

use crate::RewardError;

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

    /// Some of them, in this order.
    #[must_use]
    pub fn select(&self, judgements: impl IntoIterator<Item = usize>) -> Self {
        let judgements = judgements.into_iter();
        match self {
            Self::Pairs(pairs) => Self::Pairs(judgements.map(|it| pairs[it].clone()).collect()),
            Self::Labels(labels) => Self::Labels(judgements.map(|it| labels[it].clone()).collect()),
        }
    }

    /// These judgements in parts of `count`, in their order.
    pub fn chunks(&self, count: usize) -> Vec<Self> {
        let starts = (0..self.len()).step_by(count);
        starts.map(|start| self.select(start..self.len().min(start + count))).collect()
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

/// Encodes examples that are preferences or labelled completions, texts or conversations, as
/// [`encode_preferences`] does pairs. They are all of one kind.
///
/// # Errors
/// An example that judges nothing or is of another kind than the first, and what the encoder refuses.
pub fn encode_examples(
    examples: &[Example],
    encoder: &Encoder,
    max_tokens: usize,
) -> Result<Encoded, RewardError> {
    let encoder = encoder.learning_all();
    let (mut pairs, mut labels, mut n_truncated) = (Vec::new(), Vec::new(), 0);
    for (number, example) in (1..).zip(examples) {
        let refuse = |reason: String| RewardError::Invalid(format!("judgement {number}: {reason}"));
        let mut rows = encoder.sequences(example).map_err(refuse)?.into_iter();
        let mut next = || {
            let Sequence { row, .. } = rows.next().expect("as many rows as completions");
            let n_over = row.tokens.len().saturating_sub(max_tokens);
            n_truncated += usize::from(n_over > 0);
            row.tokens[n_over..].to_vec()
        };
        match example.body {
            Body::Preference { margin, .. } if labels.is_empty() => {
                pairs.push(Pair { chosen: next(), rejected: next(), margin });
            }
            Body::UnpairedPreference { label, .. } if pairs.is_empty() => {
                labels.push(Label { tokens: next(), is_good: label });
            }
            Body::Preference { .. } | Body::UnpairedPreference { .. } => {
                return Err(refuse("pairs and labels don't mix".into()));
            }
            _ => return Err(refuse("it is neither a preference nor labelled".into())),
        }
    }
    let judgements =
        if pairs.is_empty() { Judgements::Labels(labels) } else { Judgements::Pairs(pairs) };
    Ok(Encoded { judgements, n_truncated })
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

#[cfg(test)]
mod tests {
    use rein_data::chat::encode_chat;
    use rein_data::example::Content;
    use rein_data::template::CHATML;
    use serde_json::{Map, Value, json};

    use super::*;

    fn example(body: Body) -> Example {
        Example { body, tools: None, template_arguments: Map::new(), extra: Map::new() }
    }

    fn says(role: &str, text: &str) -> Value {
        json!({ "role": role, "content": text })
    }

    #[test]
    fn conversations_are_judged_as_the_template_renders_them() {
        let tokenizer = Tokenizer::train_bpe(["ab"], 300).expect("trains");
        let template = tokenizer.template(CHATML).expect("is safe");
        let encoder = Encoder::new(tokenizer.clone(), Some(template.clone()), None);
        let [asked, good, bad] =
            [says("user", "a"), says("assistant", "b"), says("assistant", "ab")];
        let content = |message: &Value| Content::Messages(vec![message.clone()]);
        let pair = example(Body::Preference {
            prompt: content(&asked),
            chosen: content(&good),
            rejected: content(&bad),
            margin: Some(0.5),
        });
        let encoded =
            encode_examples(std::slice::from_ref(&pair), &encoder, 1000).expect("encodes");
        let Judgements::Pairs(pairs) = encoded.judgements else { panic!("are pairs") };
        let whole = |answer: &Value| {
            let messages = [asked.clone(), answer.clone()];
            encode_chat(&messages, None, false, &template, &tokenizer).expect("renders").tokens
        };
        let want = Pair { chosen: whole(&good), rejected: whole(&bad), margin: Some(0.5) };
        assert_eq!(pairs, [want]);
        let cut = encode_examples(std::slice::from_ref(&pair), &encoder, 5).expect("encodes");
        assert_eq!(cut.n_truncated, 2);
        let Judgements::Pairs(pairs) = cut.judgements else { panic!("are pairs") };
        assert_eq!(pairs[0].chosen, whole(&good)[whole(&good).len() - 5..]);
        let label = |label| {
            let (prompt, completion) = (content(&asked), content(&good));
            example(Body::UnpairedPreference { prompt, completion, label })
        };
        let mixed = encode_examples(&[pair, label(true)], &encoder, 1000).expect_err("is refused");
        assert_eq!(mixed.to_string(), "judgement 2: pairs and labels don't mix");
        let labels = encode_examples(&[label(true), label(false)], &encoder, 1000);
        let Judgements::Labels(labels) = labels.expect("encodes").judgements else {
            panic!("are labels")
        };
        assert_eq!([labels[0].is_good, labels[1].is_good], [true, false]);
    }
}
