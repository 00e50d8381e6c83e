use std::collections::HashSet;

use rein_data::example::Completion;
use serde::{Deserialize, Serialize};

use super::{Fault, Refusal, Rule};
use crate::Verdict;

/// What repeated words cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RepetitionConfig {
    /// Words in a row that are compared with others.
    pub n: usize,
    /// The score of a text that repeats itself all the time.
    pub penalty: f64,
}

/// Takes off the share of n-grams of words that stood in the text before, times `penalty`:
/// `penalty · (1 − distinct / all)`. Words are compared without regard to capital letters.
#[derive(Clone, Debug)]
pub struct Repetition(RepetitionConfig);

impl Default for RepetitionConfig {
    fn default() -> Self {
        Self { n: 3, penalty: -1.0 }
    }
}

impl RepetitionConfig {
    /// The rule.
    ///
    /// # Errors
    /// An n-gram of no words; a penalty that is none.
    pub fn build(&self) -> Result<Repetition, Refusal> {
        if self.n == 0 {
            return Err(Refusal::new("n", "must be above 0"));
        }
        if !(self.penalty < 0.0 && self.penalty.is_finite()) {
            return Err(Refusal::new("penalty", "must be below 0"));
        }
        Ok(Repetition(self.clone()))
    }
}

impl Rule for Repetition {
    fn judge(&self, completion: &Completion) -> Result<Verdict, Fault> {
        let RepetitionConfig { n, penalty } = self.0;
        let text = completion.text.to_lowercase();
        let words: Vec<&str> = text.split_whitespace().collect();
        let count = (words.len() + 1).saturating_sub(n);
        if count == 0 {
            return Ok(Verdict::new(0.0, format!("fewer than {n} words")));
        }
        let distinct = words.windows(n).collect::<HashSet<_>>().len();
        let repeated = count - distinct;
        let share = repeated as f64 / count as f64;
        // `+ 0.0` makes a zero of a negative one.
        Ok(Verdict::new(
            penalty * share + 0.0,
            format!("{repeated} of {count} {n}-grams are repeated"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_n_grams_are_counted() {
        let judge = |n, text: &str| {
            let rule = RepetitionConfig { n, penalty: -2.0 }.build().expect("is a rule");
            let completion = Completion { text: text.into(), ..Completion::default() };
            let Verdict { score, reason, .. } = rule.judge(&completion).expect("judges");
            (score, reason)
        };
        // ab bc ca ab bc: two of five stood there before.
        assert_eq!(judge(2, "a b c A b c"), (-0.8, "2 of 5 2-grams are repeated".into()));
        assert_eq!(judge(1, "no no no no"), (-1.5, "3 of 4 1-grams are repeated".into()));
        let (score, reason) = judge(3, "all of it new");
        assert!(score == 0.0 && score.is_sign_positive() && reason.starts_with("0 of 2"));
        assert_eq!(judge(3, "too short"), (0.0, "fewer than 3 words".into()));
        assert!(RepetitionConfig { n: 0, penalty: -1.0 }.build().is_err());
        assert!(RepetitionConfig { n: 1, penalty: 1.0 }.build().is_err());
    }
}
