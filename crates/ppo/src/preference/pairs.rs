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

    /// Tokens of the longer row.
    pub fn n_tokens(&self) -> usize {
        self.chosen.tokens.len().max(self.rejected.tokens.len())
    }
}

/// Encoded pairs and what the length limit did to them.
#[derive(Clone, Debug, Default)]
pub struct EncodedPairs {
    /// The pairs, in the order of their preferences.
    pub pairs: Vec<Pair>,
    /// Rows whose prompt lost its beginning.
    pub n_truncated: usize,
    /// Pairs that were left out, since one of their completions holds no token to learn.
    pub n_dropped: usize,
}

impl EncodedPairs {
    fn push(&mut self, sides: [TokenRow; 2], max_tokens: usize) {
        let [chosen, rejected] = sides.map(|row| self.cut(row, max_tokens));
        let pair = Pair { chosen, rejected };
        if pair.sides().iter().all(|row| row.n_learned() > 0) {
            self.pairs.push(pair);
        } else {
            self.n_dropped += 1;
        }
    }

    /// The row's last tokens: what was judged stands at the end.
    fn cut(&mut self, row: TokenRow, max_tokens: usize) -> TokenRow {
        let n_over = row.tokens.len().saturating_sub(max_tokens);
        if n_over == 0 {
            return row;
        }
        self.n_truncated += 1;
        TokenRow::new(row.tokens[n_over..].to_vec(), row.learned[n_over..].to_vec())
    }
}

/// Encodes pairs of texts. A row longer than `max_tokens` loses the beginning of its prompt.
pub fn encode_preferences(
    preferences: &[Preference],
    tokenizer: &Tokenizer,
    max_tokens: usize,
) -> EncodedPairs {
    let encode = |prompt: &str, completion: &str, finished: bool| {
        let completion = match finished {
            true => tokenizer.encode_completion(completion),
            false => tokenizer.encode(completion),
        };
        TokenRow::completion(tokenizer.encode_prompt(prompt), &completion)
    };
    let mut encoded = EncodedPairs::default();
    for row in preferences {
        let chosen = encode(&row.prompt, &row.chosen, row.chosen_finished);
        let rejected = encode(&row.prompt, &row.rejected, row.rejected_finished);
        encoded.push([chosen, rejected], max_tokens);
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
) -> Result<EncodedPairs, PpoError> {
    let mut encoded = EncodedPairs::default();
    for (number, example) in (1..).zip(examples) {
        let refuse = |reason: &str| PpoError::Invalid(format!("preference {number}: {reason}"));
        if !matches!(example.body, Body::Preference { .. }) {
            return Err(refuse("it is no pair of completions"));
        }
        let sides = encoder.learning_all().sequences(example).map_err(|it| refuse(&it))?;
        let sides: Vec<TokenRow> = sides.into_iter().map(answer).collect();
        encoded.push(sides.try_into().expect("a row for each of two completions"), max_tokens);
    }
    Ok(encoded)
}

/// The row of which the completion is learned.
fn answer(Sequence { row, n_prompt }: Sequence) -> TokenRow {
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
        let [chosen, rejected] = whole.pairs[0].sides();
        assert_eq!((chosen.tokens.len(), chosen.n_learned()), (7, 3));
        assert_eq!((rejected.tokens.len(), rejected.n_learned()), (5, 1));
        let cut = encode_preferences(&pairs, &tokenizer(), 5);
        assert_eq!((cut.n_truncated, cut.n_dropped), (1, 0));
        assert_eq!(cut.pairs[0].chosen.tokens, chosen.tokens[2..]);
        assert_eq!(cut.pairs[0].chosen.learned, [false, false, true, true, true]);
    }

    #[test]
    fn a_pair_without_anything_to_learn_on_one_side_is_left_out() {
        let pairs = [preference("a", "b", ""), preference("a", "b", "c")];
        let encoded = encode_preferences(&pairs, &tokenizer(), 9);
        assert_eq!((encoded.pairs.len(), encoded.n_dropped), (1, 1));
    }

    #[test]
    fn examples_are_encoded_as_texts_are_and_must_be_pairs() {
        let encoder = Encoder::new(tokenizer(), None, None);
        let text = |text: &str| Content::Text(text.into());
        let example =
            |body| Example { body, tools: None, template_arguments: Map::new(), extra: Map::new() };
        let (prompt, chosen, rejected) = (text("abc"), text("de"), text("f"));
        let body = Body::Preference { prompt, chosen, rejected, margin: None };
        let encoded = encode_examples(&[example(body)], &encoder, 9).expect("encodes");
        let finished = Preference { rejected_finished: true, ..preference("abc", "de", "f") };
        assert_eq!(encoded.pairs, encode_preferences(&[finished], &tokenizer(), 9).pairs);
        let lone = example(Body::PromptOnly(text("a")));
        let error = encode_examples(&[lone], &encoder, 9).expect_err("is refused").to_string();
        assert_eq!(error, "preference 1: it is no pair of completions");
    }
}
