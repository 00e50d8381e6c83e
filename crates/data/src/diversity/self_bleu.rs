use std::collections::HashMap;

use super::words;

/// How many texts [`self_bleu`] compares at most.
pub const MAX_TEXTS: usize = 256;
/// The longest n-grams that are compared.
const MAX_N: usize = 4;
/// Matches that n-grams without any count for (method 1 of Chen and Cherry, 2014).
const EPSILON: f64 = 0.1;

/// How often each n-gram comes in a text.
type Counts<'a> = HashMap<&'a [&'a str], usize>;

/// How far texts repeat each other (Zhu et al., 2018): the mean BLEU of each with all others as references, from 0, if
/// they share no word, to 1.
///
/// BLEU of a text (Papineni et al., 2002) is `BP · (∏ pₙ)^{1/N}` for `n` = 1 … `N`. `pₙ` is the share of its n-grams
/// of [`words`] that a reference has, each counted no more often than in the reference that has it most. `BP` is
/// `e^{1 − r/c}` if the text's `c` words are fewer than the `r` of the reference nearest in length, else 1. `N` is 4,
/// or the number of words of a shorter text. Where no n-gram matches, 0.1 do; without a common word BLEU is 0.
///
/// Of more than [`MAX_TEXTS`] texts as many are compared, taken at equal distances in the order given. More texts have
/// more in common, so compare equal numbers. Texts without words don't count. None of fewer than two.
pub fn self_bleu<T: AsRef<str>>(texts: &[T]) -> Option<f64> {
    let texts: Vec<Vec<&str>> = texts.iter().map(|it| words(it.as_ref()).collect()).collect();
    let spoken: Vec<&[&str]> =
        texts.iter().filter(|it| !it.is_empty()).map(Vec::as_slice).collect();
    let n = spoken.len().min(MAX_TEXTS);
    let compared: Vec<&[&str]> = (0..n).map(|at| spoken[at * spoken.len() / n]).collect();
    let others = Others::of(&compared);
    let sum: f64 = (0..n).map(|at| others.bleu(at)).sum();
    (n > 1).then(|| sum / n as f64)
}

/// The most that texts have of an n-gram, with and without the one that has most.
#[derive(Clone, Copy, Debug, Default)]
struct Most {
    count: usize,
    text: usize,
    elsewhere: usize,
}

/// Texts that are each other's references.
struct Others<'a> {
    texts: &'a [&'a [&'a str]],
    /// By `n − 1`, then by text.
    counts: [Vec<Counts<'a>>; MAX_N],
    most: [HashMap<&'a [&'a str], Most>; MAX_N],
}

impl<'a> Others<'a> {
    fn of(texts: &'a [&'a [&'a str]]) -> Self {
        let counts = std::array::from_fn(|at| texts.iter().map(|it| count(it, at + 1)).collect());
        let most = counts.each_ref().map(|it: &Vec<Counts<'a>>| most(it));
        Self { texts, counts, most }
    }

    fn bleu(&self, text: usize) -> f64 {
        let n_words = self.texts[text].len();
        let n_max = n_words.min(MAX_N);
        let n_matches: Vec<usize> = (0..n_max).map(|at| self.n_matches(text, at)).collect();
        if n_matches.first().is_none_or(|it| *it == 0) {
            return 0.0;
        }
        let precision = |(at, n): (usize, &usize)| {
            let matches = if *n == 0 { EPSILON } else { *n as f64 };
            matches / (n_words - at) as f64
        };
        let logarithms: f64 = n_matches.iter().enumerate().map(|it| precision(it).ln()).sum();
        let too_short = 1.0 - self.nearest_length(text) as f64 / n_words as f64;
        (too_short.min(0.0) + logarithms / n_max as f64).exp()
    }

    /// Without comparing with each text in turn: the most that another text has is known.
    fn n_matches(&self, text: usize, at: usize) -> usize {
        let matches = |(gram, count): (&&[&str], &usize)| {
            let most = self.most[at].get(*gram).copied().unwrap_or_default();
            (*count).min(if most.text == text { most.elsewhere } else { most.count })
        };
        self.counts[at][text].iter().map(matches).sum()
    }

    /// The shorter one of two that are equally near.
    fn nearest_length(&self, text: usize) -> usize {
        let n_words = self.texts[text].len();
        let others = self.texts.iter().enumerate().filter(|(other, _)| *other != text);
        let lengths = others.map(|(_, words)| words.len());
        lengths.min_by_key(|it| (it.abs_diff(n_words), *it)).unwrap_or(n_words)
    }
}

fn count<'a>(words: &'a [&'a str], n: usize) -> Counts<'a> {
    let mut counts = Counts::new();
    for gram in words.windows(n) {
        *counts.entry(gram).or_default() += 1;
    }
    counts
}

fn most<'a>(counts: &[Counts<'a>]) -> HashMap<&'a [&'a str], Most> {
    let mut all: HashMap<&[&str], Most> = HashMap::new();
    for (text, counts) in counts.iter().enumerate() {
        for (gram, count) in counts {
            let most = all.entry(*gram).or_default();
            if *count > most.count {
                *most = Most { count: *count, text, elsewhere: most.count };
            } else {
                most.elsewhere = most.elsewhere.max(*count);
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::tests::{TEXTS, numbered};
    use super::*;

    fn assert_close(found: Option<f64>, want: f64) {
        assert!(found.is_some_and(|it| (it - want).abs() < 1e-12), "{found:?}, not {want}");
    }

    #[test]
    fn bleu_is_that_of_nltk() {
        // nltk 3.10.4: sentence_bleu(others, text, smoothing_function=SmoothingFunction().method1, auto_reweigh=True)
        let texts: Vec<Vec<&str>> = TEXTS.iter().map(|it| words(it).collect()).collect();
        let texts: Vec<&[&str]> = texts.iter().map(Vec::as_slice).collect();
        let others = Others::of(&texts);
        let want = [
            1.0,
            0.541_082_269_053_939_6,
            0.048_549_177_170_732_344,
            1.0,
            0.395_533_253_587_717_9,
            0.0,
        ];
        for (text, want) in want.into_iter().enumerate() {
            assert_close(Some(others.bleu(text)), want);
        }
        assert_close(self_bleu(&TEXTS), 0.497_527_449_968_731_66);
        let many: Vec<String> = (0..30).map(numbered).collect();
        assert_close(self_bleu(&many), 0.807_089_098_891_314_6);
        let unspaced = ["我不知道你在说什么", "我不知道他在哪里", "今天天气很好"];
        assert_close(self_bleu(&unspaced), 0.212_733_268_601_341_04);
    }

    #[test]
    fn texts_that_are_the_same_have_all_in_common() {
        assert_close(self_bleu(&["yes"; 9]), 1.0);
        assert_close(self_bleu(&["so it goes", "so it goes", ""]), 1.0);
        assert_close(self_bleu(&["one and two", "three or four"]), 0.0);
    }

    #[test]
    fn fewer_than_two_cannot_be_compared() {
        assert_eq!(self_bleu::<&str>(&[]), None);
        assert_eq!((self_bleu(&["alone"]), self_bleu(&["alone", "", " "])), (None, None));
    }

    #[test]
    fn of_many_texts_every_so_many_th_is_compared() {
        // Every second of 512 is the same, and each other one like no other.
        let mut texts: Vec<String> =
            (0..2 * MAX_TEXTS)
                .map(|it| {
                    if it % 2 == 0 { "the same again".into() } else { format!("a{it} b{it} c{it}") }
                })
                .collect();
        assert_close(self_bleu(&texts), 1.0);
        texts.rotate_left(1);
        assert_close(self_bleu(&texts), 0.0);
    }
}
