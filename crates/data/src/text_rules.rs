//! What a text must hold, and what it must not.

use regex::Regex;

use crate::DataError;

/// Regular expressions on the text of a completion. Looking takes time that grows with the text's
/// length only, whatever the expressions are.
#[derive(Clone, Debug, Default)]
pub struct TextRules {
    required: Vec<Regex>,
    forbidden: Vec<Regex>,
}

impl TextRules {
    /// Each of `required` must match somewhere in the text, and none of `forbidden`; nor may one of
    /// `banned` stand in it as it is.
    ///
    /// # Errors
    /// An expression that isn't one, or that is too large; look-around and backreferences are unknown.
    pub fn new(
        required: &[String],
        forbidden: &[String],
        banned: &[String],
    ) -> Result<Self, DataError> {
        let banned = banned.iter().map(|text| expression(&regex::escape(text)));
        Ok(Self {
            required: required.iter().map(|rule| expression(rule)).collect::<Result<_, _>>()?,
            forbidden: forbidden
                .iter()
                .map(|rule| expression(rule))
                .chain(banned)
                .collect::<Result<_, _>>()?,
        })
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.required.is_empty() && self.forbidden.is_empty()
    }

    /// Whether a text keeps all rules.
    pub fn allow(&self, text: &str) -> bool {
        self.required.iter().all(|rule| rule.is_match(text))
            && !self.forbidden.iter().any(|rule| rule.is_match(text))
    }
}

/// A regular expression that takes time in proportion to the text it looks at.
///
/// # Errors
/// What is none, or too large; look-around and backreferences are unknown.
pub fn expression(rule: &str) -> Result<Regex, DataError> {
    Regex::new(rule).map_err(|error| {
        // The library draws an arrow below the place; its last line says what is wrong.
        let reason = error.to_string();
        let reason = reason.lines().last().unwrap_or_default();
        let reason = reason.strip_prefix("error: ").unwrap_or(reason);
        DataError::Invalid(format!("`{rule}` is not a regular expression: {reason}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(required: &[&str], forbidden: &[&str], banned: &[&str]) -> TextRules {
        let owned = |texts: &[&str]| texts.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        TextRules::new(&owned(required), &owned(forbidden), &owned(banned)).expect("compile")
    }

    #[test]
    fn all_rules_are_kept_or_the_text_is_refused() {
        let rules = rules(&["^[A-Z]", "\\.$"], &["(?i)sorry", "\\d{4,}"], &["a+b"]);
        assert!(rules.allow("Call 911."));
        for text in ["call 911.", "Call 911", "I am SORRY.", "Call 91100.", "X = a+b."] {
            assert!(!rules.allow(text), "{text}");
        }
        assert!(rules.allow("Write aab."), "what is banned is no expression");
        assert!(TextRules::default().is_empty() && TextRules::default().allow(""));
    }

    #[test]
    fn what_is_no_expression_is_told() {
        let error = |rule: &str| {
            TextRules::new(&[rule.to_owned()], &[], &[]).expect_err("is refused").to_string()
        };
        assert_eq!(error("(a"), "`(a` is not a regular expression: unclosed group");
        assert!(error("(?=a)").contains("look-around"));
        assert!(error("(a{1000}){1000}").contains("size limit"));
    }

    #[test]
    fn hostile_expressions_take_no_longer_than_others() {
        let text = "a".repeat(100_000);
        assert!(!rules(&["(a*)*b"], &[], &[]).allow(&text));
    }
}
