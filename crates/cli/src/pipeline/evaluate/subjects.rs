//! Which models are measured, and which of them are compared.

use std::path::PathBuf;

use anyhow::Result;
use rein_data::seed::Seed;
use rein_model::backend::LmAutodiffBackend;

use super::Session;
use crate::config::Stage;
use crate::pipeline::compare::{Replies, Versus};

/// The names of the model before any stage and of the fine-tuned one.
const BEFORE: &str = "before";
const SFT: &str = "SFT";

/// A model's name, and where it lies; a new model before any stage lies nowhere.
type Named = (String, Option<PathBuf>);

impl<B: LmAutodiffBackend> Session<B> {
    /// What the model is called from which distances are measured.
    pub(in crate::pipeline) fn fine_tuned_name(&self) -> Result<&'static str> {
        let is_tuned = self.past.is_later() || self.result(Stage::Sft)?.is_some();
        Ok(if is_tuned { SFT } else { BEFORE })
    }

    /// The models of the run and those that the config names beside; the run's newest policy stands last.
    pub(super) fn subjects(&self) -> Result<Vec<Named>> {
        let mut models = self.own_models()?;
        let newest = models.pop();
        models.extend(self.others());
        models.extend(newest);
        Ok(models)
    }

    /// What `evaluate.against` names.
    fn others(&self) -> impl Iterator<Item = Named> {
        let folders = self.setup.folders.against.iter().cloned().map(Some);
        let names = self.setup.config.evaluate.against.iter();
        names.map(|it| it.display().to_string()).zip(folders)
    }

    /// The models that the run has; in a later round, all policies so far.
    fn own_models(&self) -> Result<Vec<Named>> {
        let mut models = Vec::new();
        let named = |name: &str, folder: PathBuf| (name.to_owned(), Some(folder));
        match self.past.name() {
            Some(round) => {
                let fine_tuned = self.sft_model()?;
                if self.setup.folders.model.as_ref() != Some(&fine_tuned) {
                    models.push((BEFORE.to_owned(), None));
                }
                models.push(named(SFT, fine_tuned));
                let before = self.past.policies().iter();
                models.extend(before.map(|(name, folder)| named(name, folder.clone())));
                models.extend(self.result(Stage::Rl)?.map(|folder| named(&round, folder)));
            }
            None => {
                models.push((BEFORE.to_owned(), None));
                let algorithm = self.setup.config.rl.algorithm.title();
                let stages = [(SFT, Stage::Sft), ("DPO", Stage::Dpo), (algorithm, Stage::Rl)];
                for (name, stage) in stages {
                    models.extend(self.result(stage)?.map(|folder| named(name, folder)));
                }
            }
        }
        Ok(models)
    }

    /// Who is compared with whom.
    pub(super) fn rivals<'a>(&self, replies: &'a [Replies]) -> Result<Rivals<'a>> {
        let fine_tuned = self.fine_tuned_name()?;
        let names: Vec<String> = self.others().map(|(name, _)| name).collect();
        let (others, own): (Vec<&Replies>, Vec<&Replies>) =
            replies.iter().partition(|it| names.contains(&it.name));
        let place = own.iter().position(|it| it.name == fine_tuned);
        let policies = own[place.map_or(own.len(), |it| it + 1)..].to_vec();
        let began_with = self.past.policy().and_then(|folder| self.past.name_of(folder));
        let before =
            began_with.and_then(|name| policies.iter().find(|it| it.name == name).copied());
        let newest = own.last().copied();
        Ok(Rivals { fine_tuned: place.map(|it| own[it]), policies, before, newest, others })
    }
}

/// Who is compared with whom.
pub(super) struct Rivals<'a> {
    pub(super) fine_tuned: Option<&'a Replies>,
    /// What came after it, the newest last.
    pub(super) policies: Vec<&'a Replies>,
    /// The policy of an earlier round that the newest one began with.
    pub(super) before: Option<&'a Replies>,
    newest: Option<&'a Replies>,
    /// What the config names beside.
    others: Vec<&'a Replies>,
}

impl Rivals<'_> {
    /// Each policy of the run against the fine-tuned model, and the newest one against what it began with and against
    /// what the config names.
    pub(super) fn versus(&self, seed: Seed) -> Vec<Versus> {
        let first = self.policies.iter().filter_map(|it| Some((*it, self.fine_tuned?)));
        let then = self.before.iter().chain(&self.others);
        let then = then.filter_map(|it| Some((self.newest?, *it)));
        first.chain(then).flat_map(|(ours, theirs)| ours.against(theirs, seed)).collect()
    }
}
