//! Demonstrations as rows of tokens.

use crate::DataError;
use crate::example::Demonstration;
use crate::tokenizer::Tokenizer;

/// A row of tokens of which the first `n_prompt` are given and the others are learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    /// Prompt, then completion.
    pub tokens: Vec<u32>,
    /// Length of the prompt.
    pub n_prompt: usize,
}

impl TokenRow {
    /// A prompt with its completion.
    pub fn new(mut prompt: Vec<u32>, completion: &[u32]) -> Self {
        let n_prompt = prompt.len();
        prompt.extend_from_slice(completion);
        Self { tokens: prompt, n_prompt }
    }

    /// How many tokens are learned. Nothing predicts a row's very first token.
    pub fn n_trainable(&self) -> usize {
        self.tokens.len() - self.n_prompt.max(1)
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
        let mut row = TokenRow::new(prompt, &tokenizer.encode_completion(&example.completion));
        encoded.n_truncated += usize::from(row.tokens.len() > max_tokens);
        row.tokens.truncate(max_tokens);
        if row.tokens.len() <= row.n_prompt.max(1) {
            return Err(DataError::Invalid(format!(
                "example {} has a prompt of {} tokens; cut at {max_tokens}, nothing is left to learn: \
                 raise `max_tokens` or shorten the prompt",
                number + 1,
                row.n_prompt
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
        assert_eq!(
            (whole.rows[0].tokens.len(), whole.rows[0].n_prompt, whole.n_truncated),
            (7, 4, 0)
        );
        let cut = encode(5).expect("encodes");
        assert_eq!((cut.rows[0].n_trainable(), cut.n_truncated), (1, 1));
    }

    #[test]
    fn a_row_without_anything_to_learn_is_an_error() {
        let error = encode(4).expect_err("is refused").to_string();
        assert!(error.starts_with("example 1 has a prompt of 4 tokens; cut at 4"), "{error}");
    }
}
