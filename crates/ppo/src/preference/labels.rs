//! Single completions with a label, as rows of tokens.

use rein_data::batches::permutation;
use rein_data::encoder::Encoder;
use rein_data::encoding::TokenRow;
use rein_data::example::{Body, Example, Labeled};
use rein_data::seed::Seed;
use rein_data::tokenizer::Tokenizer;

use crate::PpoError;
use crate::preference::pairs::{Encoded, Pair, answer, cut, encode_text};

/// A completion that somebody labelled, in tokens; those of completions are the learned ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    /// Prompt and completion.
    pub row: TokenRow,
    /// Whether it was judged good.
    pub is_desirable: bool,
    /// The same prompt and the completion of another one. Nothing is learned from it: how much more
    /// probable it became tells how far the policy has left the reference.
    pub mismatched: TokenRow,
}

/// A completion and whether it was judged good, before it is given another one's.
#[derive(Clone, Debug, PartialEq)]
pub struct Rated {
    /// Prompt and completion.
    pub row: TokenRow,
    /// Whether it was judged good.
    pub is_desirable: bool,
}

impl Label {
    /// Gives each prompt the completion of the row before it in an order that is drawn from `seed`, and the
    /// first one that of the last. With the seed of the stage, this is the order of the first epoch: the
    /// mismatched completions of a batch are its own but for one, as TRL has them. A mismatched row longer
    /// than `max_tokens` loses the beginning of its prompt.
    ///
    /// # Panics
    /// Some row holds nothing to learn.
    pub fn mismatched(rows: Vec<Rated>, max_tokens: usize, seed: Seed) -> Vec<Self> {
        let order = permutation(rows.len(), seed.child("order").index(0));
        let mut before = vec![0; rows.len()];
        let last_first = order.iter().cycle().skip(order.len().saturating_sub(1));
        order.iter().zip(last_first).for_each(|(&row, &other)| before[row] = other);
        let mismatch = |(row, other): (&Rated, usize)| {
            let [(prompt, _), (_, completion)] = [row, &rows[other]].map(|it| parts(&it.row));
            cut(TokenRow::completion(prompt.to_vec(), completion), max_tokens)
        };
        let mismatched: Vec<TokenRow> = rows.iter().zip(before).map(mismatch).collect();
        let label =
            |(Rated { row, is_desirable }, mismatched)| Self { row, is_desirable, mismatched };
        rows.into_iter().zip(mismatched).map(label).collect()
    }
}

/// A row's prompt and its completion.
fn parts(row: &TokenRow) -> (&[u32], &[u32]) {
    let first = row.learned.iter().position(|it| *it).expect("a row holds something to learn");
    row.tokens.split_at(first)
}

impl Encoded<Pair> {
    /// The completions of pairs, each with a label of its own: the preferred one of a pair is desirable.
    pub fn into_rated(self) -> Encoded<Rated> {
        let Self { judgements, n_truncated, n_dropped } = self;
        let both = |Pair { chosen, rejected }| {
            [(chosen, true), (rejected, false)]
                .map(|(row, is_desirable)| Rated { row, is_desirable })
        };
        Encoded {
            judgements: judgements.into_iter().flat_map(both).collect(),
            n_truncated,
            n_dropped,
        }
    }
}

/// Encodes labelled texts. A row longer than `max_tokens` loses the beginning of its prompt.
pub fn encode_labels(
    labels: &[Labeled],
    tokenizer: &Tokenizer,
    max_tokens: usize,
) -> Encoded<Rated> {
    let mut encoded = Encoded::none();
    for Labeled { prompt, completion, label } in labels {
        let row = encode_text(prompt, completion, true, tokenizer);
        encoded.push([row], max_tokens, |[row]| Rated { row, is_desirable: *label });
    }
    encoded
}

/// Encodes examples that are labelled completions or pairs of them, texts or conversations.
///
/// # Errors
/// An example that judges nothing, and what the encoder refuses.
pub fn encode_examples(
    examples: &[Example],
    encoder: &Encoder,
    max_tokens: usize,
) -> Result<Encoded<Rated>, PpoError> {
    let mut encoded = Encoded::none();
    for (number, example) in (1..).zip(examples) {
        let refuse = |reason: &str| PpoError::Invalid(format!("judgement {number}: {reason}"));
        let labels = match example.body {
            Body::Preference { .. } => vec![true, false],
            Body::UnpairedPreference { label, .. } => vec![label],
            _ => return Err(refuse("it is neither a preference nor labelled")),
        };
        let rows = encoder.learning_all().sequences(example).map_err(|it| refuse(&it))?;
        for (row, is_desirable) in rows.into_iter().map(answer).zip(labels) {
            encoded.push([row], max_tokens, |[row]| Rated { row, is_desirable });
        }
    }
    Ok(encoded)
}
