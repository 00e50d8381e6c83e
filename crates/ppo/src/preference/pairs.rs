//! Preference pairs as rows of tokens.

use rein_data::encoder::{Encoder, Sequence};
use rein_data::encoding::TokenRow;
use rein_data::example::{Body, Example, Preference};
use rein_data::tokenizer::Tokenizer;

use crate::PpoError;

/// A preference pair in tokens; those of the completions are the learned ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// Prompt and preferred completion.
    pub chosen: TokenRow,
    /// Prompt and the other completion.
    pub rejected: TokenRow,
}

impl Pair {
    /// Both rows, the preferred one first.
    pub fn sides(&self) -> [&TokenRow; 2] {
        [&self.chosen, &self.rejected]
    }
}

/// Encoded judgements and what the length limit did to them.
#[derive(Clone, Debug)]
pub struct Encoded<J> {
    /// Pairs, or other judgements, in their order.
    pub judgements: Vec<J>,
    /// Rows whose prompt lost its beginning.
    pub n_truncated: usize,
    /// Judgements that were left out, since a completion of theirs holds no token to learn.
    pub n_dropped: usize,
}

impl<J> Encoded<J> {
    pub(super) fn none() -> Self {
        Self { judgements: Vec::new(), n_truncated: 0, n_dropped: 0 }
    }

    /// Adds what is made of some rows, unless one has nothing to learn.
    pub(super) fn push<const N: usize>(
        &mut self,
        rows: [TokenRow; N],
        max_tokens: usize,
        judgement: impl FnOnce([TokenRow; N]) -> J,
    ) {
        let n_cut = rows.iter().filter(|row| row.tokens.len() > max_tokens).count();
        let rows = rows.map(|row| cut(row, max_tokens));
        self.n_truncated += n_cut;
        if rows.iter().all(|row| row.n_learned() > 0) {
            self.judgements.push(judgement(rows));
        } else {
            self.n_dropped += 1;
        }
    }
}

/// A row's last tokens: what was judged stands at the end.
pub(super) fn cut(row: TokenRow, max_tokens: usize) -> TokenRow {
    match row.tokens.len().saturating_sub(max_tokens) {
        0 => row,
        n_over => TokenRow::new(row.tokens[n_over..].to_vec(), row.learned[n_over..].to_vec()),
    }
}

fn pair([chosen, rejected]: [TokenRow; 2]) -> Pair {
    Pair { chosen, rejected }
}

/// Encodes pairs of texts. A row longer than `max_tokens` loses the beginning of its prompt.
pub fn encode_preferences(
    preferences: &[Preference],
    tokenizer: &Tokenizer,
    max_tokens: usize,
) -> Encoded<Pair> {
    let encode = |prompt: &str, completion: &str, finished: bool| {
        encode_text(prompt, completion, finished, tokenizer)
    };
    let mut encoded = Encoded::none();
    for row in preferences {
        let chosen = encode(&row.prompt, &row.chosen, row.chosen_finished);
        let rejected = encode(&row.prompt, &row.rejected, row.rejected_finished);
        encoded.push([chosen, rejected], max_tokens, pair);
    }
    encoded
}

/// Encodes examples that are preferences, texts or conversations, as [`encode_preferences`] does texts.
///
/// # Errors
/// An example that is no preference, and what the encoder refuses.
pub fn encode_examples(
    examples: &[Example],
    encoder: &Encoder,
    max_tokens: usize,
) -> Result<Encoded<Pair>, PpoError> {
    let mut encoded = Encoded::none();
    for (number, example) in (1..).zip(examples) {
        let refuse = |reason: &str| PpoError::Invalid(format!("preference {number}: {reason}"));
        if !matches!(example.body, Body::Preference { .. }) {
            return Err(refuse("it is no pair of completions"));
        }
        let sides = encoder.learning_all().sequences(example).map_err(|it| refuse(&it))?;
        let sides: Vec<TokenRow> = sides.into_iter().map(answer).collect();
        let sides: [TokenRow; 2] = sides.try_into().expect("a row for each of two completions");
        encoded.push(sides, max_tokens, pair);
    }
    Ok(encoded)
}

/// A completion that is learned, and its end if it has one.
pub(super) fn encode_text(
    prompt: &str,
    completion: &str,
    finished: bool,
    tokenizer: &Tokenizer,
) -> TokenRow {
    let completion = match finished {
        true => tokenizer.encode_completion(completion),
        false => tokenizer.encode(completion),
    };
    TokenRow::completion(tokenizer.encode_prompt(prompt), &completion)
}

/// The row of which the completion is learned.
pub(super) fn answer(Sequence { row, n_prompt }: Sequence) -> TokenRow {
    let learned = (0..row.tokens.len()).map(|token| token >= n_prompt).collect();
    TokenRow::new(row.tokens, learned)
}

#[cfg(test)]
mod tests {
    use rein_data::example::Content;
    use serde_json::Map;

    use super::*;

    fn preference(prompt: &str, chosen: &str, rejected: &str) -> Preference {
        Preference {
            prompt: prompt.into(),
            chosen: chosen.into(),
            rejected: rejected.into(),
            margin: None,
            chosen_finished: true,
            rejected_finished: false,
        }
    }

    fn tokenizer() -> Tokenizer {
        Tokenizer::train_bpe(["a"], 259).expect("trains")
    }

    #[test]
    fn completions_are_learned_and_long_rows_lose_the_beginning_of_their_prompt() {
        // bos a b c | d e eos, and bos a b c | f without an end
        let pairs = [preference("abc", "de", "f")];
        let whole = encode_preferences(&pairs, &tokenizer(), 7);
        let [chosen, rejected] = whole.judgements[0].sides();
        assert_eq!((chosen.tokens.len(), chosen.n_learned()), (7, 3));
        assert_eq!((rejected.tokens.len(), rejected.n_learned()), (5, 1));
        let cut = encode_preferences(&pairs, &tokenizer(), 5);
        assert_eq!((cut.n_truncated, cut.n_dropped), (1, 0));
        assert_eq!(cut.judgements[0].chosen.tokens, chosen.tokens[2..]);
        assert_eq!(cut.judgements[0].chosen.learned, [false, false, true, true, true]);
    }

    #[test]
    fn a_pair_without_anything_to_learn_on_one_side_is_left_out() {
        let pairs = [preference("a", "b", ""), preference("a", "b", "c")];
        let encoded = encode_preferences(&pairs, &tokenizer(), 9);
        assert_eq!((encoded.judgements.len(), encoded.n_dropped), (1, 1));
    }

    #[test]
    fn examples_are_encoded_as_texts_are_and_must_be_pairs() {
        let encoder = Encoder::new(tokenizer(), None, None);
        let text = |text: &str| Content::Text(text.into());
        let example =
            |body| Example { body, tools: None, template_arguments: Map::new(), extra: Map::new() };
        let (prompt, chosen, rejected) = (text("abc"), text("de"), text("f"));
        let body =
            Body::Preference { prompt, chosen, rejected, margin: None, chosen_probability: None };
        let encoded = encode_examples(&[example(body.clone())], &encoder, 9).expect("encodes");
        let finished = Preference { rejected_finished: true, ..preference("abc", "de", "f") };
        let want = encode_preferences(&[finished], &tokenizer(), 9);
        assert_eq!(encoded.judgements, want.judgements);
        let cut = example(body).with_finished(&[true, false]);
        let encoded = encode_examples(&[cut], &encoder, 9).expect("encodes");
        let want = encode_preferences(&[preference("abc", "de", "f")], &tokenizer(), 9);
        assert_eq!(encoded.judgements, want.judgements, "what was cut has no end to learn");
        let lone = example(Body::PromptOnly(text("a")));
        let error = encode_examples(&[lone], &encoder, 9).expect_err("is refused").to_string();
        assert_eq!(error, "preference 1: it is no pair of completions");
    }
}
