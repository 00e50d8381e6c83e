use std::collections::HashMap;

use rein_data::example::Completion;

use crate::{Reward, RewardError};

/// 1 for a completion that is the one right answer to its prompt and ended by itself, 0 for any other.
#[derive(Clone, Debug)]
pub struct ExactMatch {
    answers: HashMap<String, String>,
}

impl ExactMatch {
    /// The answers to prompts, in pairs of a prompt and its answer. Of several for one prompt, the last counts.
    pub fn new(answers: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { answers: answers.into_iter().collect() }
    }

    fn judge(&self, completion: &Completion) -> Result<f32, RewardError> {
        let Completion { prompt, text, finished, .. } = completion;
        let answer = self.answers.get(prompt).ok_or_else(|| {
            RewardError::Invalid(format!("no answer is known to the prompt {prompt:?}"))
        })?;
        Ok(f32::from(u8::from(*finished && text == answer)))
    }
}

impl Reward for ExactMatch {
    fn name(&self) -> &'static str {
        "exact_match"
    }

    /// # Errors
    /// A prompt without an answer.
    fn score(&self, completions: &[Completion]) -> Result<Vec<f32>, RewardError> {
        completions.iter().map(|it| self.judge(it)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completion(prompt: &str, text: &str, finished: bool) -> Completion {
        let (prompt, text) = (prompt.into(), text.into());
        Completion { prompt, text, finished, ..Completion::default() }
    }

    #[test]
    fn only_the_whole_answer_counts() {
        let answers = [("7+5=", "12"), ("1+1=", "2")];
        let reward = ExactMatch::new(answers.map(|(a, b)| (a.to_owned(), b.to_owned())));
        let completions = [
            completion("7+5=", "12", true),
            completion("7+5=", "12", false),
            completion("7+5=", "2", true),
            completion("1+1=", "2", true),
            completion("1+1=", " 2", true),
        ];
        assert_eq!(reward.score(&completions).expect("known"), [1.0, 0.0, 0.0, 1.0, 0.0]);
        let unknown = reward.score(&[completion("9+9=", "18", true)]).expect_err("is refused");
        assert_eq!(unknown.to_string(), "no answer is known to the prompt \"9+9=\"");
    }
}
