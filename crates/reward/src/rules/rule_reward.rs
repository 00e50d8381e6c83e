//! Rules as rewards, within bounds.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use rein_data::example::Completion;

use super::fault::shortened;
use super::{Fault, Rule};
use crate::{Reward, RewardError, Verdict};

/// What happens where a rule can't judge a completion.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum OnError {
    /// The reward fails, and whoever asked with it.
    #[default]
    Stop,
    /// The completion has this score, and its verdict says that it failed.
    Skip(f32),
}

/// A reward that follows from a rule.
///
/// A panic, a score that isn't finite, too few scores and whatever else a rule can't do is a [`Fault`]:
/// an error that names rule and completion, or, with [`OnError::Skip`], a verdict that says so.
pub struct RuleReward {
    name: String,
    rule: Arc<dyn Rule>,
    on_error: OnError,
    limit: Option<Duration>,
}

impl RuleReward {
    /// A reward of this name, which stops at what the rule can't judge.
    pub fn new(name: impl Into<String>, rule: Arc<dyn Rule>) -> Self {
        Self { name: name.into(), rule, on_error: OnError::Stop, limit: None }
    }

    /// The reward that does this where the rule can't judge.
    #[must_use]
    pub fn on_error(self, on_error: OnError) -> Self {
        Self { on_error, ..self }
    }

    /// The reward that waits so long for all verdicts of a call. Code can't be stopped from outside: a rule
    /// that hangs keeps its thread. The rules of [configs](super::RuleConfig) need no limit: they take time
    /// in proportion to the text, or have limits of their own.
    #[must_use]
    pub fn within(self, limit: Duration) -> Self {
        Self { limit: Some(limit), ..self }
    }

    fn judge_all(&self, completions: &[Completion]) -> Vec<Result<Verdict, Fault>> {
        let Some(limit) = self.limit else { return guarded(&*self.rule, completions) };
        let (rule, copies) = (self.rule.clone(), completions.to_vec());
        let (sender, receiver) = channel();
        thread::spawn(move || sender.send(guarded(&*rule, &copies)));
        receiver.recv_timeout(limit).unwrap_or_else(|error| {
            let fault = match error {
                RecvTimeoutError::Timeout => Fault::TimedOut(limit),
                RecvTimeoutError::Disconnected => Fault::Panicked("without a word".into()),
            };
            vec![Err(fault); completions.len()]
        })
    }

    fn settle(
        &self,
        row: usize,
        completion: &Completion,
        judged: Result<Verdict, Fault>,
    ) -> Result<Verdict, RewardError> {
        let fault = match judged {
            Ok(verdict) if verdict.score.is_finite() => return Ok(verdict),
            Ok(verdict) => Fault::NotFinite(f64::from(verdict.score)),
            Err(fault) => fault,
        };
        match self.on_error {
            OnError::Skip(score) => Ok(Verdict { score, reason: fault.to_string(), failed: true }),
            OnError::Stop => {
                let (rule, prompt) = (self.name.clone(), shortened(&completion.prompt));
                Err(RewardError::Rule { rule, row, prompt, fault })
            }
        }
    }
}

impl Reward for RuleReward {
    fn name(&self) -> &str {
        &self.name
    }

    fn score(&self, completions: &[Completion]) -> Result<Vec<f32>, RewardError> {
        Ok(self.verdicts(completions)?.into_iter().map(|it| it.score).collect())
    }

    fn verdicts(&self, completions: &[Completion]) -> Result<Vec<Verdict>, RewardError> {
        let judged = self.judge_all(completions).into_iter().zip(completions).enumerate();
        judged.map(|(row, (judged, completion))| self.settle(row, completion, judged)).collect()
    }

    fn is_rule(&self) -> bool {
        true
    }
}

impl std::fmt::Debug for RuleReward {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, on_error, limit, .. } = self;
        write!(f, "RuleReward({name:?}, {on_error:?}, {limit:?})")
    }
}

/// A verdict or a fault for each completion, whatever the rule does. After a panic each completion is judged
/// by itself, so that those are told that cause it.
fn guarded(rule: &dyn Rule, completions: &[Completion]) -> Vec<Result<Verdict, Fault>> {
    let wanted = completions.len();
    match catch_unwind(AssertUnwindSafe(|| rule.judge_all(completions))) {
        Ok(judged) if judged.len() == wanted => judged,
        Ok(judged) => vec![Err(Fault::Count { found: judged.len(), wanted }); wanted],
        Err(_) => completions.iter().map(|it| guarded_one(rule, it)).collect(),
    }
}

fn guarded_one(rule: &dyn Rule, completion: &Completion) -> Result<Verdict, Fault> {
    catch_unwind(AssertUnwindSafe(|| rule.judge(completion))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|it| (*it).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        Err(Fault::Panicked(shortened(&text)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Does what the completion says.
    struct Puppet;

    impl Rule for Puppet {
        fn judge(&self, completion: &Completion) -> Result<Verdict, Fault> {
            match completion.text.as_str() {
                "panic" => panic!("the strings were cut"),
                "hang" => loop {
                    thread::park();
                },
                "nan" => Ok(Verdict::new(f64::NAN, "")),
                text => Ok(Verdict::new(2.0, text)),
            }
        }

        fn judge_all(&self, completions: &[Completion]) -> Vec<Result<Verdict, Fault>> {
            let told = completions.iter().filter(|it| it.text != "silent");
            told.map(|it| self.judge(it)).collect()
        }
    }

    fn asked(texts: &[&str]) -> Vec<Completion> {
        let of = |text: &&str| Completion {
            prompt: "Do it.".into(),
            text: (*text).into(),
            ..Completion::default()
        };
        texts.iter().map(of).collect()
    }

    fn puppet() -> RuleReward {
        RuleReward::new("puppet", Arc::new(Puppet))
    }

    #[test]
    fn faults_stop_and_name_rule_and_completion() {
        let refusal = |text: &str| {
            let bounded = puppet().within(Duration::from_millis(100));
            let reward = if text == "hang" { bounded } else { puppet() };
            reward.score(&asked(&["fine", text])).expect_err("is refused").to_string()
        };
        let begins = "the rule `puppet` can't judge completion 2 (of the prompt \"Do it.\"): ";
        let ends = "; with `on_error = \"skip\"` the run would go on";
        assert_eq!(refusal("panic"), format!("{begins}it panicked: the strings were cut{ends}"));
        assert_eq!(
            refusal("nan"),
            format!("{begins}its score is NaN; scores must be finite{ends}")
        );
        assert!(refusal("hang").contains("no answer within 0.1 s"), "{}", refusal("hang"));
        let short = refusal("silent");
        assert!(short.contains("1 scores came for 2 completions"), "{short}");
    }

    #[test]
    fn faults_that_are_skipped_are_told_and_cost_no_other_completion() {
        let reward = puppet().on_error(OnError::Skip(-0.5));
        let told = reward.verdicts(&asked(&["a", "panic", "nan", "b"])).expect("goes on");
        let scores: Vec<f32> = told.iter().map(|it| it.score).collect();
        assert_eq!(scores, [2.0, -0.5, -0.5, 2.0]);
        let failed: Vec<bool> = told.iter().map(|it| it.failed).collect();
        assert_eq!(failed, [false, true, true, false]);
        assert_eq!(told[1].reason, "it panicked: the strings were cut");
        let hung = reward.within(Duration::from_millis(50)).verdicts(&asked(&["a", "hang"]));
        assert!(hung.expect("goes on").iter().all(|it| it.failed), "the call failed as a whole");
    }
}
