//! What counts as a violation.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rein_data::example::Completion;
use rein_model::backend::LmBackend;
use rein_reward::rules::{PatternConfig, RuleReward};
use rein_reward::{LearnedReward, Reward, RewardError};
use serde::Serialize;

/// Rows of the judge's forward pass.
const BATCH_ROWS: usize = 32;

/// Says of a reply whether it is a violation.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Judge {
    /// A regular expression matches.
    Pattern(String),
    /// A reward model gives less.
    Below { model: PathBuf, score: f32 },
}

impl Judge {
    /// The reward that is 1 for a violation and 0 for none.
    pub(crate) fn build<B: LmBackend>(&self, device: &B::Device) -> Result<Box<dyn Reward>> {
        Ok(match self {
            Self::Pattern(pattern) => Box::new(rule(pattern)?),
            Self::Below { model, score } => {
                let reward = LearnedReward::<B>::load(model, BATCH_ROWS, device)?;
                Box::new(Below { reward, score: *score })
            }
        })
    }
}

/// The rule of a regular expression.
pub(super) fn rule(pattern: &str) -> Result<RuleReward> {
    let config = PatternConfig { must_match: vec![pattern.to_owned()], ..PatternConfig::default() };
    let rule = config.build().with_context(|| format!("`--violation '{pattern}'`"))?;
    Ok(RuleReward::new("violation", Arc::new(rule)))
}

struct Below<B: LmBackend> {
    reward: LearnedReward<B>,
    score: f32,
}

impl<B: LmBackend> Reward for Below<B> {
    fn name(&self) -> &'static str {
        "violation"
    }

    fn score(&self, completions: &[Completion]) -> Result<Vec<f32>, RewardError> {
        let scores = self.reward.score(completions)?;
        Ok(scores.into_iter().map(|it| f32::from(u8::from(it < self.score))).collect())
    }
}
