//! What the rounds of a run came to, kept in its `rounds.json`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rein_data::checkpoint::write_atomically;
use serde::{Deserialize, Serialize};

use super::decide::Verdict;
use crate::pipeline::compare::Versus;
use crate::red_team::Measured;

const FILE: &str = "rounds.json";

/// The rounds that are done, the first first.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct History {
    pub(crate) rounds: Vec<RoundReport>,
}

/// One round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RoundReport {
    /// From 1 on.
    pub(crate) number: usize,
    /// Where it lies, within the run's folder; empty for the first round.
    pub(crate) folder: PathBuf,
    /// What it optimised, and what came of it, within the run's folder where they lie there.
    pub(crate) began_with: PathBuf,
    pub(crate) policy: PathBuf,
    pub(crate) reward_model: Option<PathBuf>,
    /// Pairs that people were asked about to train on, in this round and before.
    pub(crate) pairs: usize,
    /// Answers to them.
    pub(crate) answers: usize,
    /// Mean gold reward on held-out prompts, where the truth is known.
    pub(crate) gold: Option<f64>,
    /// Mean score of the round's reward model.
    pub(crate) reward: Option<f64>,
    /// Nats per reply from the fine-tuned model.
    pub(crate) kl: f64,
    /// How often the reward model judges held-out pairs right.
    pub(crate) accuracy: Option<f64>,
    /// Against the fine-tuned model and what the round began with, by what decides.
    pub(crate) against_fine_tuned: Versus,
    pub(crate) against_before: Versus,
    /// Learning rate of reinforcement learning.
    pub(crate) learning_rate: f64,
    /// What a fresh attacker came to against the round's policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) red_team: Option<Attacked>,
    pub(crate) verdict: Verdict,
}

/// An attacker before and after it learned against a policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Attacked {
    pub(crate) users: Measured,
    pub(crate) attacker: Measured,
}

impl History {
    /// Of the run in this folder; empty if no round is done.
    pub(crate) fn load(root: &Path) -> Result<Self> {
        let path = root.join(FILE);
        if !path.exists() {
            return Ok(Self::default());
        }
        let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
        serde_json::from_slice(&bytes).with_context(|| path.display().to_string())
    }

    pub(super) fn save(&self, root: &Path) -> Result<()> {
        Ok(write_atomically(&root.join(FILE), &serde_json::to_vec_pretty(self)?)?)
    }

    /// The last round that wasn't taken back.
    pub(crate) fn best(&self) -> Option<&RoundReport> {
        self.rounds.iter().rev().find(|it| it.verdict.keeps())
    }

    /// Rounds at the end that gained nothing.
    pub(super) fn n_stale(&self) -> usize {
        self.rounds.iter().rev().take_while(|it| !it.verdict.has_gained()).count()
    }

    /// How often a round was taken back.
    pub(super) fn n_taken_back(&self) -> usize {
        self.rounds.iter().filter(|it| !it.verdict.keeps()).count()
    }
}

/// A path as `rounds.json` has it: within the run's folder, if it lies there, so that runs can be moved.
pub(in crate::pipeline) fn within(root: &Path, path: &Path) -> PathBuf {
    path.strip_prefix(root).unwrap_or(path).to_path_buf()
}
