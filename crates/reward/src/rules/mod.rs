//! Rewards that follow from rules: no model judges, and nothing is learned.
//!
//! A [`Rule`] gives each completion a score and says why. [`RuleConfig`] has those that configs can name:
//! about a text's [length](Length), [repetitions](Repetition), [language](Language), [words](Keywords),
//! [expressions](Pattern) and [form](Format); about its [answer](ExactAnswer), [as a number](NumericAnswer);
//! about [JSON](Json); and those that ask a [program](Command) or an [endpoint](Endpoint). [`RuleReward`]
//! makes a [`Reward`](crate::Reward) of a rule, and holds up whatever a rule can do wrong: what it can't
//! judge is a [`Fault`].

mod command;
mod config;
mod endpoint;
mod exact_answer;
mod exact_match;
mod fault;
mod format;
mod json;
mod keywords;
mod language;
mod length;
mod number;
mod numeric_answer;
mod pattern;
mod process;
mod repetition;
mod reply;
mod rule_reward;
mod tagged;

use rein_data::example::Completion;

use crate::Verdict;

pub use command::{Command, CommandConfig};
pub use config::{Refusal, RuleConfig};
pub use endpoint::{Endpoint, EndpointConfig, Post, PostError, Posted, Received};
pub use exact_answer::{ExactAnswer, ExactAnswerConfig};
pub use exact_match::ExactMatch;
pub use fault::Fault;
pub use format::{Format, FormatConfig};
pub use json::{Json, JsonConfig, SchemaSource};
pub use keywords::{Keywords, KeywordsConfig};
pub use language::{Language, LanguageConfig};
pub use length::{Length, LengthConfig, LengthUnit};
pub use number::{Number, answer};
pub use numeric_answer::{NumericAnswer, NumericAnswerConfig};
pub use pattern::{Pattern, PatternConfig};
pub use repetition::{Repetition, RepetitionConfig};
pub use rule_reward::{OnError, RuleReward};

/// Judges completions and explains itself. The open set of this module.
///
/// A rule may panic, hang or give what isn't a number: a [`RuleReward`] tells of it.
pub trait Rule: Send + Sync {
    /// What it says of a completion.
    ///
    /// # Errors
    /// A completion that it can't judge.
    fn judge(&self, completion: &Completion) -> Result<Verdict, Fault>;

    /// What it says of several, in their order. Rules that ask somebody else do it once for all.
    fn judge_all(&self, completions: &[Completion]) -> Vec<Result<Verdict, Fault>> {
        completions.iter().map(|it| self.judge(it)).collect()
    }
}
