use regex::Regex;
use rein_data::example::Completion;
use rein_data::text_rules::expression;
use serde::{Deserialize, Serialize};

use super::keywords::kept;
use super::{Fault, Refusal, Rule};
use crate::Verdict;

/// Regular expressions that completions shall match, and that they shall not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PatternConfig {
    /// Each must match somewhere.
    pub must_match: Vec<String>,
    /// None may match anywhere.
    pub must_not_match: Vec<String>,
    /// Whether the score is the share of expressions that are as they shall be, instead of 1 for all of
    /// them and 0 otherwise.
    pub partial: bool,
}

/// Holds texts against regular expressions, in time that grows with the text's length only.
#[derive(Clone, Debug)]
pub struct Pattern {
    required: Vec<Regex>,
    forbidden: Vec<Regex>,
    partial: bool,
}

impl PatternConfig {
    /// The rule.
    ///
    /// # Errors
    /// No expression, or one that can't be used.
    pub fn build(&self) -> Result<Pattern, Refusal> {
        let compile = |key: &'static str, rules: &[String]| {
            let compile = |rule: &String| {
                expression(rule)
                    .map_err(|error| Refusal::new(key, format!("holds no rule: {error}")))
            };
            rules.iter().map(compile).collect::<Result<Vec<_>, _>>()
        };
        let required = compile("must_match", &self.must_match)?;
        let forbidden = compile("must_not_match", &self.must_not_match)?;
        if required.is_empty() && forbidden.is_empty() {
            let reason = "is missing, and so is `must_not_match`; give one at least";
            return Err(Refusal::new("must_match", reason));
        }
        Ok(Pattern { required, forbidden, partial: self.partial })
    }
}

impl Rule for Pattern {
    fn judge(&self, completion: &Completion) -> Result<Verdict, Fault> {
        let Self { required, forbidden, partial } = self;
        let text = &completion.text;
        let missing = required.iter().filter(|it| !it.is_match(text));
        let missing = missing.map(|it| format!("`{it}` matches nowhere"));
        let found = forbidden.iter().filter_map(|it| Some((it, it.find(text)?)));
        let found = found.map(|(it, place)| {
            format!("`{it}` matches at {}", text[..place.start()].chars().count() + 1)
        });
        let broken: Vec<String> = missing.chain(found).collect();
        Ok(kept(
            &broken,
            required.len() + forbidden.len(),
            *partial,
            "all expressions as they shall be",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(config: &PatternConfig, text: &str) -> Verdict {
        let completion = Completion { text: text.into(), ..Completion::default() };
        config.build().expect("is a rule").judge(&completion).expect("judges")
    }

    #[test]
    fn expressions_are_matched_or_not() {
        let config = PatternConfig {
            must_match: vec!["^[A-Z]".into(), r"\.$".into()],
            must_not_match: vec![r"\d{3,}".into()],
            partial: false,
        };
        assert_eq!(judge(&config, "Call me.").score, 1.0);
        let broken = judge(&config, "Süß 12345");
        assert_eq!(
            (broken.score, &*broken.reason),
            (0.0, r"`\.$` matches nowhere; `\d{3,}` matches at 5")
        );
        let share = judge(&PatternConfig { partial: true, ..config }, "Call 12345").score;
        assert!((share - 1.0 / 3.0).abs() < 1e-6);
    }

    #[test]
    fn what_is_no_expression_is_told_by_its_key() {
        let config =
            PatternConfig { must_not_match: vec!["(a".into()], ..PatternConfig::default() };
        let refusal = config.build().expect_err("is refused").to_string();
        let want =
            "`must_not_match` holds no rule: `(a` is not a regular expression: unclosed group";
        assert_eq!(refusal, want);
        assert!(PatternConfig::default().build().is_err());
    }

    #[test]
    fn hostile_expressions_take_no_longer_than_others() {
        let config =
            PatternConfig { must_match: vec!["(a*)*b".into()], ..PatternConfig::default() };
        assert_eq!(judge(&config, &"a".repeat(100_000)).score, 0.0);
    }
}
