//! The rules that configs can name.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::{
    CommandConfig, EndpointConfig, ExactAnswerConfig, FormatConfig, JsonConfig, KeywordsConfig,
    LanguageConfig, LengthConfig, NumericAnswerConfig, PatternConfig, Post, RepetitionConfig, Rule,
};

/// A rule, by its kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum RuleConfig {
    /// How long.
    Length(LengthConfig),
    /// What matches.
    Regex(PatternConfig),
    /// Which parts.
    Format(FormatConfig),
    /// The right text.
    ExactAnswer(ExactAnswerConfig),
    /// The right number.
    NumericAnswer(NumericAnswerConfig),
    /// Which words.
    Keywords(KeywordsConfig),
    /// How repetitive.
    Repetition(RepetitionConfig),
    /// In which language.
    Language(LanguageConfig),
    /// JSON, of a schema.
    Json(JsonConfig),
    /// What a program says.
    Command(CommandConfig),
    /// What an endpoint says.
    Http(EndpointConfig),
}

/// A key of a rule that means nothing, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The key.
    pub key: &'static str,
    /// What it must be, or what is wrong with it: a sentence about the key.
    pub reason: String,
}

impl Refusal {
    pub(super) fn new(key: &'static str, reason: impl Into<String>) -> Self {
        Self { key, reason: reason.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.key, self.reason)
    }
}

impl std::error::Error for Refusal {}

impl RuleConfig {
    /// As configs have it, and as metrics call a rule without a name of its own.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Length(_) => "length",
            Self::Regex(_) => "regex",
            Self::Format(_) => "format",
            Self::ExactAnswer(_) => "exact_answer",
            Self::NumericAnswer(_) => "numeric_answer",
            Self::Keywords(_) => "keywords",
            Self::Repetition(_) => "repetition",
            Self::Language(_) => "language",
            Self::Json(_) => "json",
            Self::Command(_) => "command",
            Self::Http(_) => "http",
        }
    }

    /// The score of a completion that is as it shall be; unknown where others say what the score is.
    pub fn best(&self) -> Option<f32> {
        match self {
            Self::Length(_) | Self::Repetition(_) => Some(0.0),
            Self::Command(_) | Self::Http(_) => None,
            _ => Some(1.0),
        }
    }

    /// The columns of prompts that the rule reads.
    pub fn columns(&self) -> &[String] {
        match self {
            Self::ExactAnswer(rule) => std::slice::from_ref(&rule.column),
            Self::NumericAnswer(rule) => std::slice::from_ref(&rule.column),
            Self::Command(rule) => &rule.columns,
            Self::Http(rule) => &rule.columns,
            _ => &[],
        }
    }

    /// The rule; an endpoint is asked through `client`.
    ///
    /// # Errors
    /// What can't be a rule.
    pub fn build(&self, client: &Arc<dyn Post>) -> Result<Arc<dyn Rule>, Refusal> {
        Ok(match self {
            Self::Length(rule) => Arc::new(rule.build()?),
            Self::Regex(rule) => Arc::new(rule.build()?),
            Self::Format(rule) => Arc::new(rule.build()?),
            Self::ExactAnswer(rule) => Arc::new(rule.build()?),
            Self::NumericAnswer(rule) => Arc::new(rule.build()?),
            Self::Keywords(rule) => Arc::new(rule.build()?),
            Self::Repetition(rule) => Arc::new(rule.build()?),
            Self::Language(rule) => Arc::new(rule.build()?),
            Self::Json(rule) => Arc::new(rule.build()?),
            Self::Command(rule) => Arc::new(rule.build()?),
            Self::Http(rule) => Arc::new(rule.build(client.clone())?),
        })
    }
}
