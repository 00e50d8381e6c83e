//! What a round knows of those before it.

use std::path::{Path, PathBuf};

use anyhow::Result;
use rein_model::backend::LmAutodiffBackend;

use super::super::Session;
use crate::config::RewardStart;

/// The rounds before one. Of the first round, none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Past(Option<Earlier>);

/// What earlier rounds left behind.
#[derive(Clone, Debug)]
pub(crate) struct Earlier {
    /// This round's number, from 2 on.
    pub(crate) number: usize,
    /// The folder of the whole run.
    pub(crate) root: PathBuf,
    /// The fine-tuned model, from which all rounds are measured.
    pub(crate) fine_tuned: PathBuf,
    /// What this round begins with.
    pub(crate) policy: PathBuf,
    /// The policies of the rounds before, each with its name.
    pub(crate) policies: Vec<(String, PathBuf)>,
    /// The reward model of the round before.
    pub(crate) reward: Option<PathBuf>,
}

impl Past {
    /// Of a round after others.
    pub(crate) fn of(earlier: Earlier) -> Self {
        Self(Some(earlier))
    }

    /// Whether there were rounds before.
    pub(crate) fn is_later(&self) -> bool {
        self.0.is_some()
    }

    /// A later round's name.
    pub(crate) fn name(&self) -> Option<String> {
        self.0.as_ref().map(|it| super::name(it.number))
    }

    pub(crate) fn fine_tuned(&self) -> Option<&Path> {
        self.0.as_ref().map(|it| it.fine_tuned.as_path())
    }

    /// What the round begins with.
    pub(crate) fn policy(&self) -> Option<&Path> {
        self.0.as_ref().map(|it| it.policy.as_path())
    }

    /// What the policy in a folder is called, if it is of a round before.
    pub(crate) fn name_of(&self, folder: &Path) -> Option<&str> {
        self.policies().iter().find(|(_, it)| it == folder).map(|(name, _)| name.as_str())
    }

    /// The policies of the rounds before, each with its name.
    pub(crate) fn policies(&self) -> &[(String, PathBuf)] {
        self.0.as_ref().map_or(&[], |it| &it.policies)
    }
}

impl<B: LmAutodiffBackend> Session<B> {
    /// The folder of the whole run.
    pub(crate) fn root(&self) -> &Path {
        self.past.0.as_ref().map_or(self.run.root(), |it| &it.root)
    }

    /// The policy whose replies people compare: the fine-tuned model, and what later rounds begin with.
    pub(crate) fn current_policy(&self) -> Result<PathBuf> {
        self.past.policy().map_or_else(|| self.sft_model(), |it| Ok(it.to_path_buf()))
    }

    /// The reward model that this round's one begins as, if it goes on with one.
    pub(crate) fn continued_reward(&self) -> Option<&Path> {
        let start = self.setup.config.rounds.as_ref().map(|it| it.reward);
        let earlier = self.past.0.as_ref().filter(|_| start == Some(RewardStart::Continued))?;
        earlier.reward.as_deref()
    }
}
