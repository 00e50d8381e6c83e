//! Texts as sets of five words in a row.

use rein_data::diversity;

use super::reading::Reading;

/// Words of a shingle.
const N: usize = 5;

/// What two rows are compared by. Shingles stand for their hashes, ascending, none twice.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Shingles {
    /// Of prompt and responses together.
    pub(super) all: Vec<u64>,
    /// Of the responses.
    pub(super) responses: Vec<u64>,
    /// Hashes of the texts that are too short for a shingle.
    pub(super) short: Vec<u64>,
}

impl Shingles {
    /// A response with another verdict has other shingles, so that who turns a pair around says something else.
    pub(super) fn of(reading: &Reading<'_>) -> Self {
        let mut shingles = Self::default();
        for response in &reading.responses {
            shingles.add(&response.folded, mix(response.worth as u64), true);
        }
        shingles.add(&reading.folded_prompt, PROMPT, false);
        for hashes in [&mut shingles.all, &mut shingles.responses] {
            hashes.sort_unstable();
            hashes.dedup();
        }
        shingles.short.sort_unstable();
        shingles
    }

    fn add(&mut self, text: &str, tag: u64, is_response: bool) {
        let words: Vec<u64> = words(text).iter().map(|word| hash(word)).collect();
        if words.len() < N {
            self.short.push(words.into_iter().fold(tag, join));
            return;
        }
        let hashes = words.windows(N).map(|words| words.iter().copied().fold(tag, join));
        let before = self.all.len();
        self.all.extend(hashes);
        if is_response {
            self.responses.extend_from_slice(&self.all[before..]);
        }
    }
}

const PROMPT: u64 = 0x5052_4f4d_5054;

/// `|A ∩ B| / |A ∪ B|` (Jaccard, 1901) of ascending lists without repetitions; 1 if both are empty.
pub(super) fn jaccard(a: &[u64], b: &[u64]) -> f64 {
    let (mut i, mut j, mut n_common) = (0, 0, 0);
    while i < a.len() && j < b.len() {
        let (x, y) = (a[i], b[j]);
        n_common += usize::from(x == y);
        i += usize::from(x <= y);
        j += usize::from(y <= x);
    }
    let n_union = a.len() + b.len() - n_common;
    if n_union == 0 { 1.0 } else { n_common as f64 / n_union as f64 }
}

/// The words of a text in lower case. Where scripts put no spaces between words, each character is one, so that their
/// texts are compared by five characters in a row.
pub(super) fn words(text: &str) -> Vec<String> {
    diversity::words(text).map(str::to_lowercase).collect()
}

/// FNV-1a of 64 bits (Fowler, Noll and Vo), its bits mixed.
fn hash(word: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    mix(word.bytes().fold(0xcbf2_9ce4_8422_2325, step))
}

fn join(hash: u64, word: u64) -> u64 {
    mix(hash.rotate_left(5) ^ word)
}

/// The last step of SplitMix64 (Steele, Lea and Flood, 2014): every bit changes every other.
pub(super) fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_with_spaces_and_without() {
        assert_eq!(words("The Cat's  hat."), ["the", "cat's", "hat."]);
        assert_eq!(words("我用GPT写 code。"), ["我", "用", "gpt", "写", "code。"]);
        assert_eq!(words("ひらカタ ไทย"), ["ひ", "ら", "カ", "タ", "ไ", "ท", "ย"]);
        assert!(words("  ").is_empty());
    }

    #[test]
    fn hashes_are_those_that_were_published() {
        // FNV-1a of "foobar" is 85944171f73967e8; SplitMix64 from 0 begins with e220a8397b1dcdaf.
        assert_eq!(hash("foobar"), mix(0x8594_4171_f739_67e8));
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn jaccard_counts_what_is_common() {
        assert_eq!(jaccard(&[1, 2, 3, 5], &[2, 3, 4]), 2.0 / 5.0);
        assert_eq!(jaccard(&[], &[1]), 0.0);
        assert_eq!(jaccard(&[], &[]), 1.0);
    }
}
