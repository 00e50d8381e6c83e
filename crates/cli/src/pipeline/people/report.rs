//! What came of people, kept in the run's `people.json`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rein_data::checkpoint::write_atomically;
use serde::{Deserialize, Serialize};

use super::super::{Agreement, Versus};
use crate::config::PersonalPolicy;

const FILE: &str = "people.json";
const REPORT: &str = "report.json";

/// What policies are called.
pub(super) const FINE_TUNED: &str = "SFT";
pub(super) const POOLED: &str = "run's policy";
pub(crate) const OWN: &str = "own policy";

/// People, in order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct People {
    pub(crate) people: Vec<PersonReport>,
}

/// One person.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct PersonReport {
    pub(crate) name: String,
    /// Answers by which the person is known.
    pub(crate) answers: usize,
    /// How often what they prefer is told right, of held-out pairs; and what everybody's reward would tell.
    pub(crate) told_right: Option<Agreement>,
    pub(crate) told_right_before: Option<Agreement>,
    /// The person, for `--person`, within the run's folder.
    pub(crate) person: PathBuf,
    /// What the person's reward is used for.
    pub(crate) kind: PersonalPolicy,
    /// Their policy, if one was trained.
    pub(crate) policy: Option<PathBuf>,
    /// The run's policy and the person's own against the fine-tuned model, and against each other; `gold` is what a simulated
    /// person truly likes, `reward` the person's reward.
    pub(crate) versus: Vec<Versus>,
}

impl People {
    /// Of the run in this folder; empty if nobody was looked at.
    pub(crate) fn load(root: &Path) -> Result<Self> {
        Ok(read(&root.join(FILE))?.unwrap_or_default())
    }

    pub(super) fn save(&self, root: &Path) -> Result<()> {
        Ok(write_atomically(&root.join(FILE), &serde_json::to_vec_pretty(self)?)?)
    }

    /// Means over people of how often the run's policy and people's own beat the fine-tuned model.
    pub(crate) fn mean_wins(&self) -> [Option<f64>; 2] {
        [POOLED, OWN].map(|model| {
            let rates: Option<Vec<f64>> =
                self.people.iter().map(|it| Some(it.over_fine_tuned(model)?.rate)).collect();
            let rates = rates.filter(|it| !it.is_empty())?;
            Some(rates.iter().sum::<f64>() / rates.len() as f64)
        })
    }
}

impl PersonReport {
    pub(super) fn load(folder: &Path) -> Result<Option<Self>> {
        read(&folder.join(REPORT))
    }

    pub(super) fn save(&self, folder: &Path) -> Result<()> {
        Ok(write_atomically(&folder.join(REPORT), &serde_json::to_vec_pretty(self)?)?)
    }

    /// How often the run's policy beats the fine-tuned model.
    pub(crate) fn pooled(&self) -> Option<&Versus> {
        self.over_fine_tuned(POOLED)
    }

    /// How often the person's own policy does.
    pub(crate) fn own(&self) -> Option<&Versus> {
        self.over_fine_tuned(OWN)
    }

    /// By the truth where it is known.
    fn over_fine_tuned(&self, model: &str) -> Option<&Versus> {
        self.versus.iter().find(|it| it.model == model && it.against == FINE_TUNED)
    }

    /// In a line.
    pub(super) fn line(&self) -> String {
        let percent = |it: f64| format!("{:.1} %", 100.0 * it);
        let mut line = format!("{}, by {} answers", self.name, self.answers);
        if let Some(right) = &self.told_right {
            line += &format!(", told right on {} of held-out pairs", percent(right.accuracy));
        }
        if let (Some(pooled), Some(own)) = (self.pooled(), self.own()) {
            let [pooled, own] = [pooled, own].map(|it| percent(it.rate));
            line += &format!("; wins over SFT {own}, the run's policy {pooled}");
        }
        line
    }
}

fn read<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<Option<T>> {
    if !path.exists() {
        return Ok(None);
    }
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    serde_json::from_slice(&bytes).map(Some).with_context(|| path.display().to_string())
}
