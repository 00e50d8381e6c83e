//! How much texts repeat themselves and each other, and whether they refuse.
//!
//! A policy that reward optimisation narrows says the same again and again: [`distinct_n`] falls, [`self_bleu`] and
//! [`repetition`] rise. All of it counts [`words`] as they are written, capital letters and marks included.

mod refusal;
mod self_bleu;

use std::collections::HashSet;

pub use refusal::refusal;
pub use self_bleu::{MAX_TEXTS, self_bleu};

/// Words in a row that [`repetition`] compares.
const REPEATED: usize = 4;

/// Distinct n-grams of words among all of them (Li et al., 2016): 1 if none comes twice, near 0 if the texts are the
/// same. N-grams don't cross from text to text. None without any.
///
/// It falls as texts become more, so compare equal numbers of them.
pub fn distinct_n<T: AsRef<str>>(texts: &[T], n: usize) -> Option<f64> {
    if n == 0 {
        return None;
    }
    let texts: Vec<Vec<&str>> = texts.iter().map(|it| words(it.as_ref()).collect()).collect();
    let n_all: usize = texts.iter().map(|it| it.windows(n).len()).sum();
    let distinct: HashSet<&[&str]> = texts.iter().flat_map(|it| it.windows(n)).collect();
    (n_all > 0).then(|| distinct.len() as f64 / n_all as f64)
}

/// The share of the text's 4-grams of words that stood in it before. 0 of fewer than five words.
pub fn repetition(text: &str) -> f64 {
    let words: Vec<&str> = words(text).collect();
    let n_all = words.windows(REPEATED).len();
    let distinct: HashSet<&[&str]> = words.windows(REPEATED).collect();
    (n_all - distinct.len()) as f64 / n_all.max(1) as f64
}

/// The words of a text: what stands between white space. Where scripts put no spaces between words (Chinese, kana,
/// Thai, Lao, Burmese, Khmer), each character is one.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_whitespace().flat_map(|spaced| {
        let mut rest = spaced;
        std::iter::from_fn(move || {
            let (word, after) = rest.split_at(first_word(rest)?);
            rest = after;
            Some(word)
        })
    })
}

/// Where the first word of what has no spaces ends; none of nothing.
fn first_word(spaced: &str) -> Option<usize> {
    let first = spaced.chars().next()?;
    let next = if is_unspaced(first) { Some(first.len_utf8()) } else { spaced.find(is_unspaced) };
    Some(next.unwrap_or(spaced.len()))
}

/// By blocks of Unicode.
fn is_unspaced(character: char) -> bool {
    matches!(character,
        '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}'
        | '\u{3005}'..='\u{3007}' | '\u{3041}'..='\u{30ff}'
        | '\u{0e00}'..='\u{0eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const TEXTS: [&str; 6] = [
        "the cat sat on the mat",
        "the cat sat on the red mat today",
        "a dog ran in the park",
        "the cat sat",
        "the dog sat on the mat and the cat sat on the rug",
        "hello world",
    ];

    /// Text `i` of many that have 3 to 13 words of 23.
    pub(super) fn numbered(i: usize) -> String {
        let word = |j: usize| format!("w{}", (i * i * 7 + j * (i % 5 + 1) * 3) % 23);
        (0..3 + i % 11).map(word).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn distinct_n_grams_are_counted() {
        // Python: len(set(grams)), len(grams)
        let counts = [(1, 16, 38), (2, 19, 32), (3, 17, 26)];
        for (n, distinct, all) in counts {
            assert_eq!(distinct_n(&TEXTS, n), Some(f64::from(distinct) / f64::from(all)));
        }
        let many: Vec<String> = (0..30).map(numbered).collect();
        for (n, distinct, all) in [(1, 23, 228), (2, 95, 198), (4, 85, 138)] {
            assert_eq!(distinct_n(&many, n), Some(f64::from(distinct) / f64::from(all)));
        }
    }

    #[test]
    fn nothing_has_no_n_grams() {
        assert_eq!(distinct_n::<&str>(&[], 1), None);
        assert_eq!((distinct_n(&["", " "], 1), distinct_n(&["a b"], 3)), (None, None));
        assert_eq!(distinct_n(&["a b"], 0), None);
        assert_eq!(distinct_n(&["a b"], usize::MAX), None);
    }

    #[test]
    fn what_stood_there_before_is_repeated() {
        // abcd bcda cdab dabc abcd: one of five.
        assert_eq!(repetition("a b c d a b c d"), 0.2);
        assert_eq!(repetition("no no no no no no"), 2.0 / 3.0);
        assert_eq!(repetition("我不知道我不知道"), 0.2);
        assert_eq!(repetition("a b c d e f g"), 0.0);
        assert_eq!((repetition(""), repetition("no no no")), (0.0, 0.0));
    }

    #[test]
    fn words_are_found_with_spaces_and_without() {
        let found = |text| words(text).collect::<Vec<_>>();
        assert_eq!(found("The  Cat's\nhat."), ["The", "Cat's", "hat."]);
        assert_eq!(found("我用GPT写 code。"), ["我", "用", "GPT", "写", "code。"]);
        assert!(found(" \u{3000} ").is_empty());
    }
}
