//! Judgements as rows of tokens.

use rein_data::encoder::{Encoder, Sequence};
use rein_data::example::{Body, Content, Example, Labeled, Preference};
use rein_data::tokenizer::Tokenizer;
use serde_json::Value;

use crate::RewardError;

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

/// Encoded judgements and what the length limit did to them.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// The judgements.
    pub judgements: Judgements,
    /// Tokens of each completion, before any cut, in the order of the judgements' rows.
    pub lengths: Vec<usize>,
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
    let mut rows = Rows { max_tokens, lengths: Vec::new(), n_truncated: 0 };
    let pairs = preferences
        .iter()
        .map(|row| Pair {
            chosen: rows.text(tokenizer, &row.prompt, &row.chosen, row.chosen_finished),
            rejected: rows.text(tokenizer, &row.prompt, &row.rejected, row.rejected_finished),
            margin: row.margin,
            ..Pair::default()
        })
        .collect();
    rows.of(Judgements::Pairs(pairs))
}

/// Encodes labelled completions, as [`encode_preferences`] does pairs.
pub fn encode_labels(labels: &[Labeled], tokenizer: &Tokenizer, max_tokens: usize) -> Encoded {
    let mut rows = Rows { max_tokens, lengths: Vec::new(), n_truncated: 0 };
    let labels = labels
        .iter()
        .map(|row| Label {
            tokens: rows.text(tokenizer, &row.prompt, &row.completion, true),
            is_good: row.label,
            weight: None,
        })
        .collect();
    rows.of(Judgements::Labels(labels))
}

/// Encodes examples that are judgements, texts or conversations, as [`encode_preferences`] does pairs. They are all
/// of one kind.
///
/// # Errors
/// An example that judges nothing or is of another kind than the first, and what the encoder refuses.
pub fn encode_examples(
    examples: &[Example],
    encoder: &Encoder,
    max_tokens: usize,
) -> Result<Encoded, RewardError> {
    let encoder = encoder.learning_all();
    let mut rows = Rows { max_tokens, lengths: Vec::new(), n_truncated: 0 };
    let mut judgements = match examples.first().map(|it| &it.body) {
        Some(Body::UnpairedPreference { .. }) => Judgements::Labels(Vec::new()),
        Some(Body::Ranking { .. }) => Judgements::Rankings(Vec::new()),
        Some(Body::Scored { .. }) => Judgements::Scores(Vec::new()),
        _ => Judgements::Pairs(Vec::new()),
    };
    for (number, example) in (1..).zip(examples) {
        let refuse = |reason: String| RewardError::Invalid(format!("judgement {number}: {reason}"));
        if !example.body.is_judgement() {
            return Err(refuse(
                "it is neither a preference, nor labelled, ranked or scored".into(),
            ));
        }
        let tokens = rows.of_example(example, &encoder).map_err(refuse)?;
        push(&mut judgements, example, tokens).map_err(|reason| refuse(reason.into()))?;
    }
    Ok(rows.of(judgements))
}

/// Adds an example to those of its kind.
fn push(
    judgements: &mut Judgements,
    example: &Example,
    mut rows: Vec<Vec<u32>>,
) -> Result<(), &'static str> {
    let weight = example.weight();
    match (judgements, &example.body) {
        (Judgements::Pairs(all), Body::Preference { margin, chosen_probability, .. }) => {
            let (rejected, chosen) = (rows.pop(), rows.pop());
            let side = |row: Option<Vec<u32>>| row.expect("a row for each of two completions");
            all.push(Pair {
                chosen: side(chosen),
                rejected: side(rejected),
                margin: *margin,
                chosen_probability: *chosen_probability,
                weight,
            });
        }
        (Judgements::Labels(all), Body::UnpairedPreference { label, .. }) => {
            all.push(Label { tokens: rows.remove(0), is_good: *label, weight });
        }
        (Judgements::Rankings(all), Body::Ranking { ranks, .. }) => {
            all.push(Ranking { rows, ranks: ranks.clone(), weight });
        }
        (Judgements::Scores(all), Body::Scored { score, .. }) => {
            all.push(Scored { tokens: rows.remove(0), score: *score, weight });
        }
        _ => return Err("pairs, labels, rankings and scores don't mix"),
    }
    Ok(())
}

/// Rows of tokens as they are made.
struct Rows {
    max_tokens: usize,
    lengths: Vec<usize>,
    n_truncated: usize,
}

impl Rows {
    fn of(self, judgements: Judgements) -> Encoded {
        let Self { lengths, n_truncated, .. } = self;
        Encoded { judgements, lengths, n_truncated }
    }

    /// A row for each completion of an example.
    fn of_example(
        &mut self,
        example: &Example,
        encoder: &Encoder,
    ) -> Result<Vec<Vec<u32>>, String> {
        if let Some((prompt, completions)) = texts(example) {
            let tokenizer = encoder.tokenizer();
            let row = |(text, finished): (&str, bool)| self.text(tokenizer, prompt, text, finished);
            return Ok(completions.into_iter().map(row).collect());
        }
        let sequences = encoder.sequences(example)?.into_iter();
        let row = |Sequence { row, n_prompt }: Sequence| self.cut(row.tokens, n_prompt);
        Ok(sequences.map(row).collect())
    }

    fn text(
        &mut self,
        tokenizer: &Tokenizer,
        prompt: &str,
        completion: &str,
        finished: bool,
    ) -> Vec<u32> {
        let mut row = tokenizer.encode_prompt(prompt);
        let n_prompt = row.len();
        if finished {
            row.extend(tokenizer.encode_completion(completion));
        } else {
            row.extend(tokenizer.encode(completion));
        }
        self.cut(row, n_prompt)
    }

    fn cut(&mut self, mut row: Vec<u32>, n_prompt: usize) -> Vec<u32> {
        let n_over = row.len().saturating_sub(self.max_tokens);
        self.lengths.push(row.len() - n_prompt);
        self.n_truncated += usize::from(n_over > 0);
        row.drain(..n_over);
        row
    }
}

/// The prompt and the completions of an example of texts, each with whether it ended by itself.
fn texts(example: &Example) -> Option<(&str, Vec<(&str, bool)>)> {
    let text = |content: &'_ Content| matches!(content, Content::Text(_));
    let judged = example.body.judged();
    if !judged.iter().all(|it| text(it)) {
        return None;
    }
    let (Body::Preference { prompt: Content::Text(prompt), .. }
    | Body::UnpairedPreference { prompt: Content::Text(prompt), .. }
    | Body::Ranking { prompt: Content::Text(prompt), .. }
    | Body::Scored { prompt: Content::Text(prompt), .. }) = &example.body
    else {
        return None;
    };
    // Completions that a model sampled say whether they were cut.
    let columns: &[&str] = match &example.body {
        Body::Preference { .. } => &["chosen_finished", "rejected_finished"],
        _ => &[],
    };
    let finished = |place: usize| {
        let column = columns.get(place).and_then(|it| example.extra.get(*it));
        column.and_then(Value::as_bool).unwrap_or(true)
    };
    let texts = judged.into_iter().enumerate().filter_map(|(place, content)| match content {
        Content::Text(text) => Some((text.as_str(), finished(place))),
        Content::Messages(_) => None,
    });
    Some((prompt, texts.collect()))
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
            chosen_probability: None,
        });
        let encoded =
            encode_examples(std::slice::from_ref(&pair), &encoder, 1000).expect("encodes");
        let Judgements::Pairs(pairs) = encoded.judgements else { panic!("are pairs") };
        let whole = |answer: &Value| {
            let messages = [asked.clone(), answer.clone()];
            encode_chat(&messages, None, false, &template, &tokenizer).expect("renders").tokens
        };
        let want = Pair {
            chosen: whole(&good),
            rejected: whole(&bad),
            margin: Some(0.5),
            ..Pair::default()
        };
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
        assert_eq!(mixed.to_string(), "judgement 2: pairs, labels, rankings and scores don't mix");
        let labels = encode_examples(&[label(true), label(false)], &encoder, 1000);
        let Judgements::Labels(labels) = labels.expect("encodes").judgements else {
            panic!("are labels")
        };
        assert_eq!([labels[0].is_good, labels[1].is_good], [true, false]);
    }
}
