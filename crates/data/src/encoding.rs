//! Demonstrations as rows of tokens.

use serde::{Deserialize, Serialize};

use crate::DataError;
use crate::example::Demonstration;
use crate::tokenizer::Tokenizer;

/// A row of tokens, some of which are learned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRow {
    /// All tokens.
    pub tokens: Vec<u32>,
    /// Which of them a model shall learn to predict from those before. Nothing predicts the first.
    pub learned: Vec<bool>,
}

impl TokenRow {
    /// A prompt that is given and a completion that is learned.
    pub fn completion(mut prompt: Vec<u32>, completion: &[u32]) -> Self {
        let mut learned = vec![false; prompt.len()];
        prompt.extend_from_slice(completion);
        learned.resize(prompt.len(), true);
        Self::new(prompt, learned)
    }

    /// Tokens and which of them are learned.
    pub fn new(tokens: Vec<u32>, mut learned: Vec<bool>) -> Self {
        assert_eq!(tokens.len(), learned.len(), "each token is learned or not");
        if let Some(first) = learned.first_mut() {
            *first = false;
        }
        Self { tokens, learned }
    }

    /// How many tokens are learned.
    pub fn n_learned(&self) -> usize {
        self.learned.iter().filter(|learned| **learned).count()
    }

    fn truncate(&mut self, max_tokens: usize) {
        self.tokens.truncate(max_tokens);
        self.learned.truncate(max_tokens);
    }
}

/// Encoded rows and what the length limit did to them.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// The rows, in the order of their examples.
    pub rows: Vec<TokenRow>,
    /// How many were cut at the limit.
    pub n_truncated: usize,
}

/// Encodes demonstrations; what lies beyond `max_tokens` is cut off the end and counted.
///
/// # Errors
/// A row whose completion is cut away entirely would train on nothing: it is named.
pub fn encode_demonstrations(
    examples: &[Demonstration],
    tokenizer: &Tokenizer,
    max_tokens: usize,
) -> Result<Encoded, DataError> {
    let mut encoded = Encoded { rows: Vec::with_capacity(examples.len()), n_truncated: 0 };
    for (number, example) in examples.iter().enumerate() {
        let prompt = tokenizer.encode_prompt(&example.prompt);
        let n_prompt = prompt.len();
        let completion = tokenizer.encode_completion(&example.completion);
        let mut row = TokenRow::completion(prompt, &completion);
        encoded.n_truncated += usize::from(row.tokens.len() > max_tokens);
        row.truncate(max_tokens);
        if row.n_learned() == 0 {
            return Err(DataError::Invalid(format!(
                "example {} has a prompt of {n_prompt} tokens; cut at {max_tokens}, nothing is left \
                 to learn: raise `max_tokens` or shorten the prompt",
                number + 1,
            )));
        }
        encoded.rows.push(row);
    }
    Ok(encoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(max_tokens: usize) -> Result<Encoded, DataError> {
        let tokenizer = Tokenizer::train_bpe(["a"], 259).expect("trains");
        let example = Demonstration { prompt: "abc".into(), completion: "de".into() };
        encode_demonstrations(&[example], &tokenizer, max_tokens)
    }

    #[test]
    fn the_limit_cuts_the_end_and_is_counted() {
        // bos a b c | d e eos
        let whole = encode(7).expect("encodes");
        assert_eq!(whole.rows[0].learned, [false, false, false, false, true, true, true]);
        assert_eq!(whole.n_truncated, 0);
        let cut = encode(5).expect("encodes");
        assert_eq!((cut.rows[0].n_learned(), cut.n_truncated), (1, 1));
    }

    #[test]
    fn a_row_without_anything_to_learn_is_an_error() {
        let error = encode(4).expect_err("is refused").to_string();
        assert!(error.starts_with("example 1 has a prompt of 4 tokens; cut at 4"), "{error}");
    }
}
