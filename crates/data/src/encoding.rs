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

    /// The lengths of its runs of learned tokens: of a conversation, of what is said in each turn.
    pub fn turns(&self) -> Vec<usize> {
        let runs = self.learned.chunk_by(|a, b| a == b);
        runs.filter(|run| run[0]).map(<[bool]>::len).collect()
    }

    pub(crate) fn truncate(&mut self, max_tokens: usize) {
        self.tokens.truncate(max_tokens);
        self.learned.truncate(max_tokens);
    }
}

/// Encoded rows and what the length limit did to them.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// The rows, in the order of their examples.
    pub rows: Vec<TokenRow>,
    /// What became of the examples.
    pub tally: Tally,
}

/// What became of rows under a length limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Rows that are left.
    pub n_rows: usize,
    /// Those of them that lost their end.
    pub n_truncated: usize,
    /// Rows of which nothing was left to learn.
    pub n_dropped: usize,
    /// Tokens of the rows that are left.
    pub n_tokens: u64,
    /// Those of them that are learned.
    pub n_learned: u64,
    /// Tokens beyond the limit, and those of dropped rows.
    pub n_lost: u64,
}

impl Tally {
    /// Cuts a row at `max_tokens` and counts it; `None` if nothing is left to learn.
    pub fn cut(&mut self, mut row: TokenRow, max_tokens: usize) -> Option<TokenRow> {
        let n_before = row.tokens.len();
        row.truncate(max_tokens);
        let (n_tokens, n_learned) = (row.tokens.len(), row.n_learned());
        if n_learned == 0 {
            self.n_dropped += 1;
            self.n_lost += n_before as u64;
            return None;
        }
        self.n_rows += 1;
        self.n_truncated += usize::from(n_tokens < n_before);
        self.n_tokens += n_tokens as u64;
        self.n_learned += n_learned as u64;
        self.n_lost += (n_before - n_tokens) as u64;
        Some(row)
    }

    /// What is worth a word about these rows, of `limit` (as in `sft.max_tokens`) tokens at most.
    pub fn note(&self, limit: &str, max_tokens: usize) -> Option<String> {
        let Self { n_rows, n_truncated, n_dropped, n_tokens, n_lost, .. } = *self;
        if n_truncated + n_dropped == 0 {
            return None;
        }
        let share = 100.0 * n_lost as f64 / (n_tokens + n_lost) as f64;
        let total = n_rows + n_dropped;
        let cut = format!(
            "{n_truncated} of {total} demonstrations are longer than `{limit}` = {max_tokens} and \
             lose their end"
        );
        let dropped = match n_dropped {
            0 => String::new(),
            _ => format!("; {n_dropped} more have nothing left to learn and are dropped"),
        };
        Some(format!("{cut}{dropped} ({share:.1} % of all tokens)"))
    }
}

/// Encodes demonstrations; what lies beyond `max_tokens` is cut off the end and counted.
///
/// # Errors
/// All rows lose their whole completion, so that nothing is left to train on: the first is named.
pub fn encode_demonstrations(
    examples: &[Demonstration],
    tokenizer: &Tokenizer,
    max_tokens: usize,
) -> Result<Encoded, DataError> {
    let mut encoded = Encoded { rows: Vec::with_capacity(examples.len()), tally: Tally::default() };
    let mut first_dropped = None;
    for (number, example) in examples.iter().enumerate() {
        let prompt = tokenizer.encode_prompt(&example.prompt);
        let n_prompt = prompt.len();
        let completion = tokenizer.encode_completion(&example.completion);
        let row = TokenRow::completion(prompt, &completion);
        match encoded.tally.cut(row, max_tokens) {
            Some(row) => encoded.rows.push(row),
            None => first_dropped = first_dropped.or(Some((number + 1, n_prompt))),
        }
    }
    match first_dropped {
        Some((number, n_prompt)) if encoded.rows.is_empty() => {
            let reason = too_long(n_prompt, max_tokens);
            Err(DataError::Invalid(format!("example {number}: {reason}")))
        }
        _ => Ok(encoded),
    }
}

/// Why a row that was cut is no use.
pub(crate) fn too_long(n_prompt: usize, max_tokens: usize) -> String {
    format!(
        "a prompt of {n_prompt} tokens; cut at {max_tokens}, nothing is left to learn: raise \
         `max_tokens` or shorten the prompt"
    )
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
        assert_eq!(whole.tally, Tally { n_rows: 1, n_tokens: 7, n_learned: 3, ..Tally::default() });
        assert_eq!(whole.tally.note("sft.max_tokens", 7), None);
        let cut = encode(5).expect("encodes");
        assert_eq!(cut.rows[0].n_learned(), 1);
        let tally =
            Tally { n_rows: 1, n_truncated: 1, n_tokens: 5, n_learned: 1, n_lost: 2, n_dropped: 0 };
        assert_eq!(cut.tally, tally);
    }

    #[test]
    fn turns_are_runs_of_learned_tokens() {
        let turns = |learned: &str| {
            let learned: Vec<bool> = learned.chars().map(|it| it == 'x').collect();
            TokenRow::new(vec![7; learned.len()], learned).turns()
        };
        assert_eq!(turns("..xxx.x..xx."), [3, 1, 2]);
        assert_eq!(turns(".xx"), [2]);
        // Nothing predicts the first.
        assert_eq!(turns("xxx"), [2]);
        assert!(turns("").is_empty() && turns("...").is_empty());
    }

    #[test]
    fn a_row_without_anything_to_learn_is_dropped_unless_it_is_the_last() {
        let error = encode(4).expect_err("is refused").to_string();
        assert!(error.starts_with("example 1: a prompt of 4 tokens; cut at 4"), "{error}");
        let tokenizer = Tokenizer::train_bpe(["a"], 259).expect("trains");
        let example =
            |prompt: &str| Demonstration { prompt: prompt.into(), completion: "d".into() };
        let two = encode_demonstrations(&[example("abc"), example("a")], &tokenizer, 4);
        let two = two.expect("one is left");
        assert_eq!((two.rows.len(), two.tally.n_dropped, two.tally.n_lost), (1, 1, 6));
        let note = "0 of 2 demonstrations are longer than `sft.max_tokens` = 4 and lose their end; \
                    1 more have nothing left to learn and are dropped (60.0 % of all tokens)";
        assert_eq!(two.tally.note("sft.max_tokens", 4).as_deref(), Some(note));
    }
}
