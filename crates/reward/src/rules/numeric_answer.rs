use rein_data::example::Completion;
use serde::{Deserialize, Serialize};

use super::exact_answer::{no_tag, place_problem, texts};
use super::fault::shortened;
use super::number::answer;
use super::tagged::within;
use super::{Fault, Refusal, Rule};
use crate::Verdict;

/// Which number is right.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NumericAnswerConfig {
    /// The column of the prompt's row that holds the right number, or a solution that ends with it, or a
    /// list of those that are right.
    pub column: String,
    /// Only what stands in the last `<tag>…</tag>` is looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
}

/// 1 for a completion whose [answer](super::answer) is the right number, 0 for any other. Numbers are
/// compared exactly, however they are written: as those of GSM8K (Cobbe et al., 2021), say, where the answer
/// stands behind `####`.
#[derive(Clone, Debug)]
pub struct NumericAnswer(NumericAnswerConfig);

impl Default for NumericAnswerConfig {
    fn default() -> Self {
        Self { column: "answer".into(), tag: None }
    }
}

impl NumericAnswerConfig {
    /// The rule.
    ///
    /// # Errors
    /// A column or a tag without a name.
    pub fn build(&self) -> Result<NumericAnswer, Refusal> {
        place_problem(&self.column, self.tag.as_deref())?;
        Ok(NumericAnswer(self.clone()))
    }
}

impl Rule for NumericAnswer {
    fn judge(&self, completion: &Completion) -> Result<Verdict, Fault> {
        let NumericAnswerConfig { column, tag } = &self.0;
        let truths = texts(completion, column)?;
        let truths = truths.iter().map(|text| {
            answer(text).map_err(|_| Fault::Column {
                column: column.clone(),
                found: shortened(text),
                wanted: "number",
            })
        });
        let truths = truths.collect::<Result<Vec<_>, _>>()?;
        let Some(text) = within(completion, tag.as_deref()) else {
            return Ok(Verdict::of(false, no_tag(tag.as_deref())));
        };
        let (number, given) = match answer(text) {
            Ok(answer) => answer,
            Err(reason) => return Ok(Verdict::of(false, reason)),
        };
        let is_right = truths.iter().any(|(truth, _)| *truth == number);
        let given = shortened(&given);
        let reason =
            if is_right { given } else { format!("{given}, not {}", shortened(&truths[0].1)) };
        Ok(Verdict::of(is_right, reason))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn judge(answer: Value, text: &str) -> Result<Verdict, Fault> {
        let Value::Object(columns) = json!({ "answer": answer }) else { unreachable!("is one") };
        let (text, columns) = (text.into(), columns.into());
        let completion = Completion { text, columns, ..Completion::default() };
        NumericAnswerConfig::default().build().expect("is a rule").judge(&completion)
    }

    #[test]
    fn the_number_counts_however_it_is_written() {
        let solution =
            "She sold 48/2 = <<48/2=24>>24 clips in May.\nAltogether 48+24 = 72.\n#### 72";
        for right in ["#### 72.0", "So 72 clips.", r"Thus $\boxed{72}$", "$72", solution] {
            assert_eq!(judge(json!(solution), right).expect("judges").score, 1.0, "{right}");
        }
        for wrong in ["#### 27", "#### 73", "-72", "720", "7.2", "72.5", "none", "24 #### x", ""] {
            assert_eq!(judge(json!(solution), wrong).expect("judges").score, 0.0, "{wrong}");
        }
        assert_eq!(judge(json!(0.1), "1/10").expect("judges").score, 1.0);
        assert_eq!(judge(json!(["1,000", 2]), "2.0").expect("judges").score, 1.0);
        assert_eq!(judge(json!(72), "#### 27").expect("judges").reason, "27, not 72");
    }

    #[test]
    fn a_truth_without_a_number_is_a_fault() {
        let fault = judge(json!("many"), "3").expect_err("is refused").to_string();
        assert_eq!(fault, "the column `answer` holds many, which is no number");
    }
}
