//! What an evaluation comes to.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rein_data::checkpoint::write_atomically;
use rein_data::diversity::{distinct_n, refusal, repetition, self_bleu};
use rein_data::example::Completion;
use rein_data::run_dir::RunDir;
use serde::{Deserialize, Serialize};

use super::{BestOf, CategoryReport, PeopleReport, RegressionReport};
use crate::pipeline::asked::Asked;
use crate::pipeline::coloured::ShownToken;
use crate::pipeline::compare::Versus;
use crate::pipeline::judge::JudgeReport;

/// What an evaluation found, kept in the run's `evaluation.json`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Evaluation {
    /// Before, after fine-tuning, after DPO, after reinforcement learning; as far as the run got.
    pub(crate) models: Vec<ModelReport>,
    /// How well the reward model judges.
    pub(crate) judge: Option<JudgeReport>,
    /// Each policy against the fine-tuned model, the newest one against what it began with and what the config names.
    #[serde(default)]
    pub(crate) versus: Vec<Versus>,
    /// What people were asked in this round, and what they said.
    #[serde(default)]
    pub(crate) asked: Option<Asked>,
    /// What the reward model's choice among several replies of the fine-tuned model comes to, by their number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) best_of: Vec<BestOf>,
    /// The models by category of the prompts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) categories: Vec<CategoryReport>,
    /// How far people are who compare the newest policy with the fine-tuned model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) people: Option<PeopleReport>,
    /// What came of the regression suite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) regression: Option<RegressionReport>,
}

/// One model on held-out prompts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ModelReport {
    /// `before`, `SFT`, `best of 16`, `DPO`, or the algorithm, as in `PPO`.
    pub(crate) name: String,
    /// Where it lies; a new model before any stage lies nowhere, nor does the best of several replies.
    pub(crate) folder: Option<PathBuf>,
    /// Nats per token of held-out demonstrations.
    pub(crate) heldout_loss: Option<f64>,
    /// Mean score of the reward model.
    pub(crate) reward: Option<f64>,
    /// Mean gold reward, where the truth is known.
    pub(crate) gold: Option<f64>,
    /// Standard deviation of the gold reward.
    pub(crate) gold_std: Option<f64>,
    /// What the judges say that the config names, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) judges: Vec<Judged>,
    /// Nats per reply between this model and the fine-tuned one; of the best of several replies, at most.
    pub(crate) kl: f64,
    /// Share of replies that end properly; where the truth isn't known, that end by themselves.
    pub(crate) ends: f64,
    /// Tokens per reply.
    pub(crate) length: f64,
    /// How much the replies repeat each other and themselves.
    #[serde(default)]
    pub(crate) diversity: Diversity,
    /// Replies to the same prompts for each model.
    pub(crate) samples: Vec<Shown>,
}

/// What a judge says of a model's replies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Judged {
    /// The judge's name.
    pub(crate) by: String,
    /// Its mean score.
    pub(crate) mean: f64,
    /// Replies that it couldn't judge, which have its default as their score.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) n_failed: usize,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// How much replies repeat each other and themselves.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Diversity {
    /// Distinct words, and pairs of words, of all (Li et al., 2016).
    pub(crate) distinct_1: Option<f64>,
    pub(crate) distinct_2: Option<f64>,
    /// Mean BLEU of each reply against the others (Zhu et al., 2018).
    pub(crate) self_bleu: Option<f64>,
    /// Share of a reply's four-word sequences that stood in it before.
    pub(crate) repetition: f64,
    /// Share of replies that refuse to answer, by their phrases.
    pub(crate) refusals: f64,
}

impl Diversity {
    pub(super) fn of(completions: &[Completion]) -> Self {
        let texts: Vec<&str> = completions.iter().map(|it| it.text.as_str()).collect();
        let share = |of: &dyn Fn(&str) -> f64| {
            texts.iter().map(|text| of(text)).sum::<f64>() / texts.len().max(1) as f64
        };
        Self {
            distinct_1: distinct_n(&texts, 1),
            distinct_2: distinct_n(&texts, 2),
            self_bleu: self_bleu(&texts),
            repetition: share(&|text| repetition(text)),
            refusals: share(&|text| f64::from(u8::from(refusal(text)))),
        }
    }
}

/// A reply to read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Shown {
    pub(crate) prompt: String,
    pub(crate) reply: String,
    pub(crate) finished: bool,
    pub(crate) reward: Option<f64>,
    pub(crate) gold: Option<f64>,
    /// Of a policy, the reply token by token.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tokens: Vec<ShownToken>,
}

const FILE: &str = "evaluation.json";

impl Evaluation {
    /// Reads what an evaluation of a run found.
    pub(crate) fn load(run: &RunDir) -> Result<Self> {
        let path = Self::path(run);
        let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
        serde_json::from_slice(&bytes).with_context(|| path.display().to_string())
    }

    /// Where a run keeps it.
    pub(super) fn path(run: &RunDir) -> PathBuf {
        run.file(FILE)
    }

    pub(super) fn save(&self, path: &Path) -> Result<()> {
        Ok(write_atomically(path, &serde_json::to_vec_pretty(self)?)?)
    }
}
