//! A policy for each of some people, by what their own answers tell of their tastes.
//!
//! The run's reward model knows in which ways people differ ([`rein_reward::meta`]); a few answers of a person give it the
//! person's head. What that head says picks among replies of the run's policy, or the policy goes on learning it, in an adapter
//! of the person's own: one more round, with one person's reward. It begins with the
//! fine-tuned model, or with the run's policy.

mod known;
mod own;
mod report;

use std::path::PathBuf;

use anyhow::{Result, bail};
use rein_data::example::Completion;
use rein_model::backend::LmAutodiffBackend;
use rein_model::{ScalarModel, load_causal_lm, load_scalar_model};
use rein_reward::meta::Personal;

use self::known::Known;
use super::rounds::OpenLog;
use super::{Ended, History, Session, Versus};
use crate::config::{PeopleConfig, PersonalStart, Stage};

pub(crate) use report::{OWN, People, PersonReport};

/// Prompts by whose replies a person chooses where to begin.
const N_TRIED: usize = 64;

/// What all people begin with.
struct Common<B: LmAutodiffBackend> {
    /// The reward model that knows people.
    reward: PathBuf,
    model: ScalarModel<B::InnerBackend>,
    personal: Personal,
    /// The fine-tuned model, and the run's policy.
    starts: [Start; 2],
}

/// A model from which a person's own policy may begin.
struct Start {
    folder: PathBuf,
    /// Its replies to the held-out prompts.
    heldout: Vec<Completion>,
    /// As many to each as a person's reward picks from: to some training prompts, and once somebody needs them to the held-out
    /// ones.
    tried: Vec<Completion>,
    candidates: Vec<Completion>,
}

impl<B: LmAutodiffBackend> Session<B> {
    /// Gives people rewards, and policies, of their own. Those who have them already, by the same answers and settings, are
    /// passed over.
    pub(crate) fn align(&mut self, config: &PeopleConfig, open: OpenLog<'_>) -> Result<Ended> {
        if self.workers.count() > 1 {
            let run = self.run.root().display();
            bail!(
                "`personal` is done by one process: `rein personal --run {run}`, without `mpirun`"
            );
        }
        let people = self.clients(config)?;
        self.log.note(format!("personal: {} people", people.len()));
        let mut common = self.common(config)?;
        let mut reports = Vec::new();
        for known in &people {
            let report = self.align_person(known, config, &mut common, open)?;
            let Some(report) = report else { return Ok(Ended::Interrupted) };
            self.log.note(format!("personal: {}", report.line()));
            reports.push(report);
        }
        People { people: reports }.save(self.run.root())?;
        Ok(Ended::Finished)
    }

    fn common(&self, config: &PeopleConfig) -> Result<Common<B>> {
        let root = self.run.root();
        let history = History::load(root)?;
        let best = history.best();
        let policy = match best {
            Some(best) => root.join(&best.policy),
            None => self.result(Stage::Rl)?.map_or_else(|| self.sft_model(), Ok)?,
        };
        let reward = match best.and_then(|it| it.reward_model.as_ref()) {
            Some(reward) => root.join(reward),
            None => {
                self.reward_folder()?.ok_or_else(|| self.missing(Stage::Reward, "reward model"))?
            }
        };
        let model = load_scalar_model(&reward, &self.device)?;
        let personal = Personal::load(&reward, &model.head())?;
        let starts = [self.start(self.sft_model()?, config)?, self.start(policy, config)?];
        Ok(Common { reward, model, personal, starts })
    }

    fn start(&self, folder: PathBuf, config: &PeopleConfig) -> Result<Start> {
        let model = load_causal_lm(&folder, &self.device)?;
        let heldout = self.complete(&model, 1)?;
        let train = &self.setup.world.prompts.train;
        let n_tried = if config.start == PersonalStart::Best { N_TRIED } else { 0 };
        let tried = self.replies(&model, &train[..n_tried.min(train.len())], config.samples)?;
        Ok(Start { folder, heldout, tried, candidates: Vec::new() })
    }
}
