use rein_data::example::Completion;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fault::shortened;
use super::tagged::{is_name, within};
use super::{Fault, Refusal, Rule};
use crate::Verdict;

/// Which answer is right, and how it is compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExactAnswerConfig {
    /// The column of the prompt's row that holds the right answer, or a list of those that are right.
    pub column: String,
    /// Only what stands in the last `<tag>…</tag>` is the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Whether capital letters are like others.
    pub ignore_case: bool,
    /// Whether white space counts as one space between words and as nothing around them.
    pub ignore_space: bool,
}

/// 1 for a completion that is the right answer, 0 for any other.
#[derive(Clone, Debug)]
pub struct ExactAnswer(ExactAnswerConfig);

impl Default for ExactAnswerConfig {
    fn default() -> Self {
        Self { column: "answer".into(), tag: None, ignore_case: false, ignore_space: true }
    }
}

impl ExactAnswerConfig {
    /// The rule.
    ///
    /// # Errors
    /// A column or a tag without a name.
    pub fn build(&self) -> Result<ExactAnswer, Refusal> {
        place_problem(&self.column, self.tag.as_deref())?;
        Ok(ExactAnswer(self.clone()))
    }

    fn normal(&self, text: &str) -> String {
        let text = if self.ignore_case { text.to_lowercase() } else { text.to_owned() };
        if !self.ignore_space {
            return text;
        }
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

impl Rule for ExactAnswer {
    fn judge(&self, completion: &Completion) -> Result<Verdict, Fault> {
        let Self(config) = self;
        let right = texts(completion, &config.column)?;
        let Some(given) = within(completion, config.tag.as_deref()) else {
            return Ok(Verdict::of(false, no_tag(config.tag.as_deref())));
        };
        let is_right = right.iter().any(|it| config.normal(it) == config.normal(given));
        let (given, right) = (shortened(given), shortened(&right[0]));
        let reason =
            if is_right { format!("{given:?}") } else { format!("{given:?}, not {right:?}") };
        Ok(Verdict::of(is_right, reason))
    }
}

/// Refuses names that no column or tag can have.
pub(super) fn place_problem(column: &str, tag: Option<&str>) -> Result<(), Refusal> {
    if column.is_empty() {
        return Err(Refusal::new("column", "must name a column of the prompts"));
    }
    match tag {
        Some(tag) if !is_name(tag) => {
            Err(Refusal::new("tag", format!("is {tag:?}, which is no name; leave out brackets")))
        }
        _ => Ok(()),
    }
}

/// Why there is no answer where a tag should be.
pub(super) fn no_tag(tag: Option<&str>) -> String {
    format!("no <{0}>…</{0}>", tag.unwrap_or_default())
}

/// What stands in a column, as texts: one, or those of a list.
pub(super) fn texts(completion: &Completion, column: &str) -> Result<Vec<String>, Fault> {
    let value = completion.columns.get(column).ok_or_else(|| Fault::NoColumn(column.to_owned()))?;
    let values = match value {
        Value::Array(values) => values.as_slice(),
        one => std::slice::from_ref(one),
    };
    let texts = values.iter().map(|it| match it {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(is_true) => Some(is_true.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    });
    let texts: Option<Vec<String>> = texts.collect();
    texts.filter(|it| !it.is_empty()).ok_or_else(|| Fault::Column {
        column: column.to_owned(),
        found: shortened(&value.to_string()),
        wanted: "text, number or list of them",
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn judge(config: &ExactAnswerConfig, answer: Value, text: &str) -> Result<Verdict, Fault> {
        let Value::Object(columns) = json!({ "answer": answer }) else { unreachable!("is one") };
        let (text, columns) = (text.into(), columns.into());
        let completion = Completion { text, columns, ..Completion::default() };
        config.build().expect("is a rule").judge(&completion)
    }

    #[test]
    fn answers_are_compared_as_asked() {
        let config = ExactAnswerConfig::default();
        let right = |config: &ExactAnswerConfig, text: &str| {
            judge(config, json!(["New York", "NYC"]), text).expect("judges").score == 1.0
        };
        assert!(right(&config, " New  York\n") && right(&config, "NYC"));
        assert!(!right(&config, "new york") && !right(&config, "New York City"));
        let case = ExactAnswerConfig { ignore_case: true, ..config.clone() };
        assert!(right(&case, "nyc"));
        let strict = ExactAnswerConfig { ignore_space: false, ..config.clone() };
        assert!(right(&strict, "NYC") && !right(&strict, "NYC "));
        let tagged = ExactAnswerConfig { tag: Some("answer".into()), ..config.clone() };
        assert!(right(&tagged, "<answer>LA</answer> or <answer>NYC</answer>"));
        let open = judge(&tagged, json!("NYC"), "NYC").expect("judges");
        assert_eq!((open.score, &*open.reason), (0.0, "no <answer>…</answer>"));
        assert_eq!(judge(&config, json!(true), "true").expect("judges").score, 1.0);
        assert_eq!(judge(&config, json!("a"), "b").expect("judges").reason, "\"b\", not \"a\"");
    }

    #[test]
    fn columns_that_hold_no_answer_are_faults() {
        let config = ExactAnswerConfig::default();
        let fault = |answer| judge(&config, answer, "a").expect_err("is refused").to_string();
        let want = "the column `answer` holds {\"a\":1}, which is no text, number or list of them";
        assert_eq!(fault(json!({"a": 1})), want);
        assert!(fault(json!([])).contains("holds []") && fault(json!(null)).contains("holds null"));
        let other = ExactAnswerConfig { column: "truth".into(), ..config };
        let missing = judge(&other, json!("a"), "a").expect_err("is refused");
        assert_eq!(missing, Fault::NoColumn("truth".into()));
        assert!(ExactAnswerConfig { column: String::new(), ..other.clone() }.build().is_err());
        assert!(ExactAnswerConfig { tag: Some("<a>".into()), ..other }.build().is_err());
    }
}
