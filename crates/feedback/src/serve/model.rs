//! The model that answers in live mode and behind the chat interface. Whoever runs one implements [`Model`]; this crate
//! knows texts and numbers only.

use std::fmt::Debug;
use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use crate::store::Lesson;

/// A message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// What was said.
    pub content: String,
}

/// What a model is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// The conversation so far.
    pub messages: Vec<Message>,
    /// How many answers are sampled, side by side.
    pub n: usize,
    /// Settings that whoever asks changes.
    pub wishes: Wishes,
}

/// Settings of sampling; what is left out is the model's own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wishes {
    /// Divides the logits; 0 takes the most probable token.
    pub temperature: Option<f64>,
    /// The probability of the tokens that are sampled from.
    pub top_p: Option<f64>,
    /// The longest answer, in tokens.
    pub max_tokens: Option<usize>,
    /// Texts that end an answer.
    pub stop: Vec<String>,
    /// What random numbers follow from.
    pub seed: Option<u64>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampled {
    /// All of it.
    pub text: String,
    /// Whether it ended by itself.
    pub finished: bool,
    /// Its tokens.
    pub n_tokens: usize,
    /// The mean entropy of what its tokens were drawn from, in nats.
    pub entropy: Option<f64>,
    /// What a reward model thinks of it; higher is better.
    pub score: Option<f64>,
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq)]
pub struct Answers {
    /// As many as were asked for.
    pub samples: Vec<Sampled>,
    /// Tokens of the conversation.
    pub n_prompt_tokens: usize,
    /// By how much the models of a reward ensemble disagree on the difference of the first two, as a standard deviation.
    pub disagreement: Option<f64>,
}

impl Answers {
    /// The answer of the highest score; the first without scores.
    pub fn best(&self) -> usize {
        let score = |place: &usize| self.samples[*place].score.unwrap_or(f64::NEG_INFINITY);
        let best_first = |a: &usize, b: &usize| score(a).total_cmp(&score(b)).then(b.cmp(a));
        (0..self.samples.len()).max_by(best_first).unwrap_or(0)
    }

    /// The mean entropy of all answers.
    pub fn entropy(&self) -> Option<f64> {
        let known: Vec<f64> = self.samples.iter().filter_map(|it| it.entropy).collect();
        (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
    }
}

/// A model that answers while people wait. Methods are called from several threads, and may take their time.
pub trait Model: Debug + Send + Sync {
    /// What it is called.
    fn name(&self) -> String;

    /// Whether a chat template renders what it is asked: then that is kept as a conversation, so that whoever learns from the
    /// answers reads what the model read.
    fn reads_messages(&self) -> bool {
        false
    }

    /// Samples answers, and tells each piece of the answer at a place as it comes; `Break` ends them early. An error is a
    /// sentence for whoever asked.
    fn answer(
        &self,
        ask: &Ask,
        tell: &mut dyn FnMut(usize, &str) -> ControlFlow<()>,
    ) -> Result<Answers, String>;

    /// Lets the scores of the answers that follow be what all these lessons make of them, the newest last. What it was taught
    /// before and isn't among them was taken back.
    fn learn(&self, lessons: &[Lesson]) -> Result<(), String>;
}

/// When live mode asks for a judgement: where the model or its reward isn't sure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AskWhen {
    /// The reward ensemble's disagreement from which on it asks.
    pub disagreement: Option<f64>,
    /// The mean entropy of the answers, in nats a token, from which on it asks.
    pub entropy: Option<f64>,
}

impl AskWhen {
    /// Whether a judgement of these answers is worth somebody's time. Nobody can prefer one of two equal texts.
    pub fn asks(&self, answers: &Answers) -> bool {
        let [first, second, ..] = answers.samples.as_slice() else { return false };
        let crosses = |value: Option<f64>, threshold: Option<f64>| {
            value.zip(threshold).is_some_and(|(value, threshold)| value >= threshold)
        };
        first.text != second.text
            && (crosses(answers.disagreement, self.disagreement)
                || crosses(answers.entropy(), self.entropy))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(texts: [&str; 2], scores: [Option<f64>; 2], disagreement: f64) -> Answers {
        let sample = |place: usize| Sampled {
            text: texts[place].into(),
            finished: true,
            n_tokens: 3,
            entropy: Some(1.0 + place as f64),
            score: scores[place],
        };
        Answers {
            samples: vec![sample(0), sample(1)],
            n_prompt_tokens: 2,
            disagreement: Some(disagreement),
        }
    }

    #[test]
    fn it_asks_where_something_crosses_its_threshold_and_not_otherwise() {
        let by = |disagreement, entropy| AskWhen { disagreement, entropy };
        let differ = answers(["a", "b"], [None; 2], 0.4);
        assert!(by(Some(0.4), None).asks(&differ));
        assert!(!by(Some(0.41), None).asks(&differ));
        assert!(by(Some(0.41), Some(1.5)).asks(&differ));
        assert!(!by(None, Some(1.51)).asks(&differ));
        assert!(!by(None, None).asks(&differ));
        assert!(!by(Some(0.0), None).asks(&answers(["a", "a"], [None; 2], 9.0)));
        let unsure = Answers { disagreement: None, ..differ };
        assert!(!by(Some(0.0), None).asks(&unsure), "without an ensemble nothing disagrees");
    }

    #[test]
    fn the_best_is_the_one_of_the_highest_score_or_the_first() {
        assert_eq!(answers(["a", "b"], [Some(1.0), Some(2.0)], 0.0).best(), 1);
        assert_eq!(answers(["a", "b"], [Some(1.0), Some(1.0)], 0.0).best(), 0);
        assert_eq!(answers(["a", "b"], [None, None], 0.0).best(), 0);
    }
}
