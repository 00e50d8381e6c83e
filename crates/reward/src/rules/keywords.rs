use regex::Regex;
use rein_data::example::Completion;
use rein_data::text_rules::expression;
use serde::{Deserialize, Serialize};

use super::{Fault, Refusal, Rule};
use crate::Verdict;

/// Words that completions shall have, and that they shall not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeywordsConfig {
    /// Each must be there. May be several words.
    pub required: Vec<String>,
    /// None may be there.
    pub forbidden: Vec<String>,
    /// Whether a word within another doesn't count: `art` is not in `start`.
    pub whole_words: bool,
    /// Whether capital letters are like others.
    pub ignore_case: bool,
    /// Whether the score is the share of words that are as they shall be, instead of 1 for all of them and
    /// 0 otherwise.
    pub partial: bool,
}

/// Looks for words.
#[derive(Clone, Debug)]
pub struct Keywords {
    required: Vec<Word>,
    forbidden: Vec<Word>,
    partial: bool,
}

#[derive(Clone, Debug)]
struct Word {
    text: String,
    expression: Regex,
}

impl Default for KeywordsConfig {
    fn default() -> Self {
        let (required, forbidden) = (Vec::new(), Vec::new());
        Self { required, forbidden, whole_words: true, ignore_case: true, partial: false }
    }
}

impl KeywordsConfig {
    /// The rule.
    ///
    /// # Errors
    /// No words, or an empty one.
    pub fn build(&self) -> Result<Keywords, Refusal> {
        let words = |key: &'static str, texts: &[String]| {
            texts.iter().map(|text| self.word(key, text)).collect::<Result<Vec<_>, _>>()
        };
        let required = words("required", &self.required)?;
        let forbidden = words("forbidden", &self.forbidden)?;
        if required.is_empty() && forbidden.is_empty() {
            let reason = "is missing, and so is `forbidden`; give one at least";
            return Err(Refusal::new("required", reason));
        }
        Ok(Keywords { required, forbidden, partial: self.partial })
    }

    fn word(&self, key: &'static str, text: &str) -> Result<Word, Refusal> {
        if text.trim().is_empty() {
            return Err(Refusal::new(key, "holds an empty word"));
        }
        let case = if self.ignore_case { "(?i)" } else { "" };
        let [begin, end] =
            if self.whole_words { [r"\b{start-half}", r"\b{end-half}"] } else { [""; 2] };
        let rule = format!("{case}{begin}{}{end}", regex::escape(text));
        let expression = expression(&rule).map_err(|error| Refusal::new(key, error.to_string()))?;
        Ok(Word { text: text.to_owned(), expression })
    }
}

impl Rule for Keywords {
    fn judge(&self, completion: &Completion) -> Result<Verdict, Fault> {
        let Self { required, forbidden, partial } = self;
        let has = |word: &&Word| word.expression.is_match(&completion.text);
        let missing = required.iter().filter(|it| !has(it));
        let missing = missing.map(|it| format!("\"{}\" is missing", it.text));
        let found = forbidden.iter().filter(has).map(|it| format!("\"{}\" is there", it.text));
        let broken: Vec<String> = missing.chain(found).collect();
        Ok(kept(&broken, required.len() + forbidden.len(), *partial, "all words as they shall be"))
    }
}

/// The verdict where some of `count` demands are broken, and why; `fine` where none is.
pub(super) fn kept(broken: &[String], count: usize, partial: bool, fine: &str) -> Verdict {
    if broken.is_empty() {
        return Verdict::new(1.0, fine);
    }
    let share = if partial { (count - broken.len()) as f64 / count as f64 } else { 0.0 };
    Verdict::new(share, broken.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(config: &KeywordsConfig, text: &str) -> Verdict {
        let completion = Completion { text: text.into(), ..Completion::default() };
        config.build().expect("is a rule").judge(&completion).expect("judges")
    }

    #[test]
    fn words_are_looked_for_as_a_whole() {
        let config = KeywordsConfig {
            required: vec!["art".into(), "C++".into()],
            forbidden: vec!["thank you".into()],
            ..KeywordsConfig::default()
        };
        assert_eq!(judge(&config, "The ART of C++.").score, 1.0);
        let broken = judge(&config, "start with c+++ … Thank you!");
        assert_eq!(&*broken.reason, "\"art\" is missing; \"thank you\" is there");
        assert_eq!(
            judge(&KeywordsConfig { whole_words: false, ..config.clone() }, "start c++").score,
            1.0
        );
        assert_eq!(
            judge(&KeywordsConfig { ignore_case: false, ..config.clone() }, "ART, C++").score,
            0.0
        );
        let share = judge(&KeywordsConfig { partial: true, ..config }, "art, thank you").score;
        assert!((share - 1.0 / 3.0).abs() < 1e-6);
    }

    #[test]
    fn no_words_are_no_rule() {
        let refusal = |config: KeywordsConfig| config.build().expect_err("is refused").to_string();
        assert!(refusal(KeywordsConfig::default()).starts_with("`required` is missing"));
        let empty = KeywordsConfig { forbidden: vec![" ".into()], ..KeywordsConfig::default() };
        assert_eq!(refusal(empty), "`forbidden` holds an empty word");
    }
}
