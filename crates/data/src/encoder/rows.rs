//! Rows of tokens, one after the other, cut to length.

use super::{Encoder, Encoding, Sequence};
use crate::DataError;
use crate::encoding::{Tally, TokenRow, too_long};
use crate::schema::Located;

/// The rows of tokens that a model imitates. Rows without anything left to learn are dropped and
/// counted, as in TRL.
#[derive(Debug)]
pub struct EncodedRows<'a, I> {
    sequences: Encoding<'a, I, Option<Sequence>>,
    max_tokens: usize,
    tally: Tally,
    /// Why the first dropped row was.
    first_dropped: Option<DataError>,
}

impl<'a, I: Iterator<Item = Result<Located, DataError>>> EncodedRows<'a, I> {
    /// Encodes `examples`; rows are cut at `max_tokens`.
    pub fn new(encoder: &'a Encoder, examples: I, max_tokens: usize) -> Self {
        let sequences = Encoding::new(encoder, examples, Encoder::demonstration);
        Self { sequences, max_tokens, tally: Tally::default(), first_dropped: None }
    }

    /// What became of the examples, once all of them have been seen.
    ///
    /// # Errors
    /// All rows were dropped: the first one is named.
    pub fn finish(self) -> Result<Tally, DataError> {
        match self.first_dropped {
            Some(error) if self.tally.n_rows == 0 => Err(error),
            _ => Ok(self.tally),
        }
    }

    fn cut(
        &mut self,
        located: &Located,
        sequence: Result<Option<Sequence>, String>,
    ) -> Result<Option<TokenRow>, DataError> {
        let Some(sequence) = sequence.map_err(|reason| located.refuse(reason))? else {
            return Ok(None);
        };
        let Sequence { row, n_prompt } = sequence;
        let row = self.tally.cut(row, self.max_tokens);
        if row.is_none() && self.first_dropped.is_none() {
            self.first_dropped = Some(located.refuse(too_long(n_prompt, self.max_tokens)));
        }
        Ok(row)
    }
}

impl<I: Iterator<Item = Result<Located, DataError>>> Iterator for EncodedRows<'_, I> {
    type Item = Result<TokenRow, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let encoded = self.sequences.next()?;
            let row = encoded.and_then(|(located, sequence)| self.cut(&located, sequence));
            if let Some(row) = row.transpose() {
                return Some(row);
            }
        }
    }
}
