//! The bytes of a file of encoded rows, version 1. All numbers are little endian.
//!
//! | what | bytes |
//! |---|---|
//! | `REINROWS` | 8 |
//! | version | 4 |
//! | number of rows, of tokens | 8 + 8 |
//! | CRC-32C of the sizes below, of the header above | 4 + 4 |
//! | each row: its tokens, a CRC-32C of them | 4 a token + 4 |
//! | each row's size: its tokens, those of them that are learned | 4 + 4 |
//!
//! A token's highest bit tells whether it is learned. The length of a file follows from its header,
//! so that one that was cut is known before anything of it is believed.

use crate::encoding::TokenRow;

use super::index::{Index, RowSize};

const MAGIC: [u8; 8] = *b"REINROWS";
const VERSION: u32 = 1;
const LEARNED: u32 = 1 << 31;

/// A token, or a checksum.
const WORD: u64 = 4;

/// The first bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) n_rows: u64,
    pub(super) n_tokens: u64,
    /// Of the rows' sizes.
    pub(super) checksum: u32,
}

impl Header {
    /// Bytes in a file.
    pub(super) const BYTES: usize = 36;

    pub(super) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.n_rows.to_le_bytes());
        bytes[20..28].copy_from_slice(&self.n_tokens.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.checksum.to_le_bytes());
        let own = crc32c::crc32c(&bytes[..32]);
        bytes[32..].copy_from_slice(&own.to_le_bytes());
        bytes
    }

    /// What a file says, or what is wrong with it.
    pub(super) fn from_bytes(bytes: &[u8; Self::BYTES]) -> Result<Self, String> {
        if bytes[..8] != MAGIC {
            return Err("these aren't encoded rows".into());
        }
        let version = word(&bytes[8..12]);
        if version != VERSION {
            return Err(format!("rows of version {version}, but this program reads {VERSION}"));
        }
        if word(&bytes[32..]) != crc32c::crc32c(&bytes[..32]) {
            return Err("its header is damaged".into());
        }
        let count = |from: usize| {
            u64::from(word(&bytes[from..from + 4])) | u64::from(word(&bytes[from + 4..])) << 32
        };
        Ok(Self { n_rows: count(12), n_tokens: count(20), checksum: word(&bytes[28..32]) })
    }

    /// Where the sizes begin. `None` for counts that no file can have.
    pub(super) fn sizes_at(&self) -> Option<u64> {
        let n_words = self.n_tokens.checked_add(self.n_rows)?;
        n_words.checked_mul(WORD)?.checked_add(Self::BYTES as u64)
    }

    /// Where the file ends.
    pub(super) fn n_bytes(&self) -> Option<u64> {
        self.n_rows.checked_mul(RowSize::BYTES as u64)?.checked_add(self.sizes_at()?)
    }
}

/// Where a row begins.
pub(super) fn place(index: &Index, row: usize) -> u64 {
    Header::BYTES as u64 + WORD * (index.tokens_before(row) + row as u64)
}

/// Bytes of a row.
pub(super) fn row_bytes(size: RowSize) -> usize {
    WORD as usize * (size.n_tokens() + 1)
}

/// A row as bytes. Its tokens must be below 2^31.
pub(super) fn encode(row: &TokenRow) -> Vec<u8> {
    let words = row.tokens.iter().zip(&row.learned);
    let words = words.map(|(token, learned)| token | if *learned { LEARNED } else { 0 });
    let mut bytes: Vec<u8> = words.flat_map(u32::to_le_bytes).collect();
    bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
    bytes
}

/// A row of this size, or what is wrong with its bytes.
pub(super) fn decode(bytes: &[u8], size: RowSize) -> Result<TokenRow, &'static str> {
    let (tokens, checksum) = bytes.split_at(bytes.len() - WORD as usize);
    if word(checksum) != crc32c::crc32c(tokens) {
        return Err("is damaged");
    }
    let words = tokens.chunks_exact(WORD as usize).map(word);
    let (tokens, learned) = words.map(|word| (word & !LEARNED, word & LEARNED != 0)).unzip();
    let row = TokenRow { tokens, learned };
    if RowSize::of(&row) != Ok(size) || row.learned[0] {
        return Err("doesn't fit its size");
    }
    Ok(row)
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}
