/// What a reward says of a completion.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// How good it is; higher is better.
    pub score: f32,
    /// Why, in a few words; nothing where the reward can't tell.
    pub reason: String,
    /// Whether the completion couldn't be judged: then the score is one that was agreed on, and the reason
    /// says what went wrong.
    pub failed: bool,
}

impl Verdict {
    /// A score and the reason for it.
    pub fn new(score: f64, reason: impl Into<String>) -> Self {
        Self { score: score as f32, reason: reason.into(), failed: false }
    }

    /// 1 for what is right, 0 for what isn't.
    pub fn of(is_right: bool, reason: impl Into<String>) -> Self {
        Self::new(f64::from(u8::from(is_right)), reason)
    }
}

impl From<f32> for Verdict {
    fn from(score: f32) -> Self {
        Self { score, reason: String::new(), failed: false }
    }
}
