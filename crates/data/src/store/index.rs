//! How long each row of a store is: the part that stays in memory, about 8 bytes a row.

use crate::encoding::TokenRow;

/// Rows between two whose places are kept.
const STRIDE: usize = 64;

/// No model has so many positions; a damaged file must not ask for so much memory.
const MAX_TOKENS: usize = 1 << 24;

/// The counts of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RowSize {
    n_tokens: u32,
    n_learned: u32,
}

impl RowSize {
    /// Bytes in a file.
    pub(super) const BYTES: usize = 8;

    /// The size of a row, or what is wrong with it.
    pub(super) fn of(row: &TokenRow) -> Result<Self, String> {
        let n_tokens = row.tokens.len();
        if row.learned.len() != n_tokens {
            return Err(format!("{n_tokens} tokens, {} of them marked", row.learned.len()));
        }
        let size = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let size = Self { n_tokens: size(n_tokens), n_learned: size(row.n_learned()) };
        match row.tokens.iter().find(|token| **token >> 31 != 0) {
            Some(token) => Err(format!("the token {token} is above 2^31")),
            None => size.checked(),
        }
    }

    /// What a file says, or what is wrong with it.
    pub(super) fn from_bytes(bytes: [u8; Self::BYTES]) -> Result<Self, String> {
        let [a, b, c, d, e, f, g, h] = bytes;
        let [n_tokens, n_learned] = [[a, b, c, d], [e, f, g, h]].map(u32::from_le_bytes);
        Self { n_tokens, n_learned }.checked()
    }

    pub(super) fn to_bytes(self) -> [u8; Self::BYTES] {
        let counts = u64::from(self.n_tokens) | u64::from(self.n_learned) << 32;
        counts.to_le_bytes()
    }

    pub(super) fn n_tokens(self) -> usize {
        self.n_tokens as usize
    }

    pub(super) fn n_learned(self) -> usize {
        self.n_learned as usize
    }

    fn checked(self) -> Result<Self, String> {
        let Self { n_tokens, n_learned } = self;
        if n_tokens == 0 {
            return Err("a row without tokens".into());
        }
        if n_tokens as usize > MAX_TOKENS {
            return Err(format!("a row of {n_tokens} tokens; at most {MAX_TOKENS} are allowed"));
        }
        if n_learned >= n_tokens {
            return Err(format!(
                "{n_learned} of {n_tokens} tokens are to be learned, but nothing predicts the first"
            ));
        }
        Ok(self)
    }
}

/// The sizes of all rows, and where each lies.
#[derive(Debug, Default)]
pub(super) struct Index {
    sizes: Vec<RowSize>,
    /// Tokens before each 64th row.
    before: Vec<u64>,
    n_tokens: u64,
}

impl Index {
    pub(super) fn push(&mut self, size: RowSize) {
        if self.sizes.len().is_multiple_of(STRIDE) {
            self.before.push(self.n_tokens);
        }
        self.sizes.push(size);
        self.n_tokens += u64::from(size.n_tokens);
    }

    pub(super) fn len(&self) -> usize {
        self.sizes.len()
    }

    /// All tokens.
    pub(super) fn n_tokens(&self) -> u64 {
        self.n_tokens
    }

    pub(super) fn size(&self, row: usize) -> RowSize {
        self.sizes[row]
    }

    pub(super) fn sizes(&self) -> &[RowSize] {
        &self.sizes
    }

    /// Tokens of the rows before this one.
    pub(super) fn tokens_before(&self, row: usize) -> u64 {
        let first = row / STRIDE * STRIDE;
        let between = self.sizes[first..row].iter().map(|size| u64::from(size.n_tokens));
        self.before[row / STRIDE] + between.sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_is_the_sum_of_the_sizes_before() {
        let mut index = Index::default();
        let mut before = Vec::new();
        for row in 0..1000 {
            before.push(index.n_tokens());
            index.push(RowSize { n_tokens: row % 17 + 1, n_learned: 0 });
        }
        let places: Vec<u64> = (0..index.len()).map(|row| index.tokens_before(row)).collect();
        assert_eq!(places, before);
    }

    #[test]
    fn sizes_come_back_from_bytes() {
        let row = TokenRow::completion(vec![1; 300], &[2; 70]);
        let size = RowSize::of(&row).expect("is fine");
        assert_eq!(RowSize::from_bytes(size.to_bytes()), Ok(size));
        assert_eq!((size.n_tokens(), size.n_learned()), (370, 70));
    }
}
