//! Judgements as rows of tokens.

use rein_data::encoder::{Encoder, Sequence};
use rein_data::example::{Body, Content, Example, Labeled, Preference};
use rein_data::tokenizer::Tokenizer;

use crate::RewardError;
pub use crate::judgements::{Judgements, Label, Pair, Ranking, Scored};

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
        let tokens = rows.of_example(example, encoder).map_err(refuse)?;
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
        let row = |Sequence { row, n_prompt }: Sequence| self.cut(row.tokens, n_prompt);
        Ok(encoder.learning_all().sequences(example)?.into_iter().map(row).collect())
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
    let texts = judged.into_iter().enumerate().filter_map(|(place, content)| match content {
        Content::Text(text) => Some((text.as_str(), example.finished(place))),
        Content::Messages(_) => None,
    });
    Some((prompt, texts.collect()))
}

#[cfg(test)]
mod tests {
    use rein_data::chat::{encode_chat, end_of_reply};
    use rein_data::example::Content;
    use rein_data::template::{CHATML, ZEPHYR};
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

    #[test]
    fn a_reply_that_was_cut_is_judged_without_the_templates_end() {
        let tokenizer = Tokenizer::train_bpe(["ab"], 300).expect("trains");
        for name in [CHATML, ZEPHYR] {
            let template = tokenizer.template(name).expect("is safe");
            let encoder = Encoder::new(tokenizer.clone(), Some(template.clone()), None);
            let asked = says("user", "a");
            let says = |text: &str| Content::Messages(vec![says("assistant", text)]);
            let mut pair = example(Body::Preference {
                prompt: Content::Messages(vec![asked.clone()]),
                chosen: says("abab"),
                rejected: says("abab"),
                margin: None,
                chosen_probability: None,
            });
            pair.extra.insert("rejected_finished".into(), false.into());
            let encoded = encode_examples(&[pair], &encoder, 1000).expect("encodes");
            let Judgements::Pairs(pairs) = encoded.judgements else { panic!("are pairs") };
            let end = end_of_reply(&template, &tokenizer);
            assert!(!end.is_empty());
            assert_eq!(pairs[0].chosen, [pairs[0].rejected.as_slice(), &end].concat());
            let asked = encode_chat(&[asked], None, true, &template, &tokenizer).expect("renders");
            let said = [asked.tokens, tokenizer.encode("abab")].concat();
            assert_eq!(pairs[0].rejected, said, "what a model sampled until it was cut");
        }
    }
}
