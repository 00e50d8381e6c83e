//! The stages of a run, in order. Each is a few calls into the library crates.

mod asked;
mod coloured;
mod compare;
mod dpo;
mod evaluate;
mod feedback;
mod judge;
mod own_samples;
mod people;
mod personal;
mod reference;
mod reward;
mod rl;
mod rounds;
mod search;
mod sft;

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use rein_data::log::RunLog;
use rein_data::run_dir::RunDir;
use rein_data::seed::Seed;
use rein_data::stage::{Context, Interrupt, Outcome};
use rein_data::workers::Workers;
use rein_model::backend::LmAutodiffBackend;
use rein_model::checkpoint::MODEL;
use rein_model::weights::RandomWeights;
use rein_model::{CausalLm, load_causal_lm};

use crate::commands::launcher;
use crate::config::{Answers, Stage};
use crate::setup::Setup;
use crate::world::Judgements;

pub(crate) use asked::{Asked, Chosen, Counts, Judged, JudgedReply};
pub(crate) use coloured::ShownToken;
pub(crate) use compare::Versus;
#[cfg(test)]
pub(crate) use evaluate::Diversity;
pub(crate) use evaluate::{
    BestOf, COMPARISONS, CategoryMeans, CategoryReport, Evaluation, ModelReport, PeopleReport,
    RegressionReport, Shown,
};
pub(crate) use feedback::PROJECT;
pub(crate) use judge::{Agreement, JudgeReport};
pub(crate) use people::{OWN, People, PersonReport};
pub(crate) use rounds::{Attacked, History, Past, RoundReport, later_config};

/// A run in progress on one backend.
pub(crate) struct Session<B: LmAutodiffBackend> {
    pub(crate) setup: Setup,
    pub(crate) run: RunDir,
    pub(crate) log: RunLog,
    pub(crate) interrupt: Interrupt,
    pub(crate) workers: Workers,
    pub(crate) device: B::Device,
    /// The rounds before this one.
    pub(crate) past: Past,
}

/// How far a run got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// All stages are done.
    Finished,
    /// Somebody asked to stop; it can be resumed.
    Interrupted,
}

impl<B: LmAutodiffBackend> Session<B> {
    /// A run of one process that nobody can ask to stop, without rounds before it.
    pub(crate) fn alone(setup: Setup, run: RunDir, log: RunLog, device: &B::Device) -> Self {
        let (interrupt, workers) = (Interrupt::default(), Workers::default());
        Self { setup, run, log, interrupt, workers, device: device.clone(), past: Past::default() }
    }

    /// Runs these stages; those that are done already are passed over.
    pub(crate) fn run(&mut self, stages: &[Stage]) -> Result<Ended> {
        for stage in stages {
            self.log.spend_on(stage.name())?;
            let outcome = match stage {
                Stage::Sft => self.sft()?,
                Stage::Feedback => self.feedback()?,
                Stage::Reward => self.reward()?,
                Stage::Dpo => self.dpo()?,
                Stage::Rl => self.rl()?,
                Stage::Evaluate => self.evaluate()?,
            };
            if outcome == Outcome::Interrupted {
                return Ok(Ended::Interrupted);
            }
        }
        self.log.spent()?;
        Ok(Ended::Finished)
    }

    /// Each round draws anew, but for what they are measured with.
    fn seed(&self, stage: Stage) -> Seed {
        let seed = Seed::new(self.setup.config.seed).child(stage.name());
        match self.past.name() {
            Some(round) if stage != Stage::Evaluate => seed.child(&round),
            _ => seed,
        }
    }

    /// Whether people are asked about the policy's own replies.
    fn asks(&self) -> bool {
        matches!(self.setup.world.judgements, Judgements::Simulated)
            || self.answers_by() == Answers::People
    }

    fn context(&mut self) -> Context<'_> {
        let Self { run, log, interrupt, workers, .. } = self;
        Context { run, log, interrupt, workers }
    }

    /// The model as it is before any stage.
    fn initial_model(&self) -> Result<CausalLm<B>> {
        Ok(match &self.setup.folders.model {
            Some(folder) => load_causal_lm(folder, &self.device)?,
            None => {
                let seed = Seed::new(self.setup.config.seed).child("model");
                let mut weights = RandomWeights::new(&self.setup.model, seed);
                CausalLm::new(&self.setup.model, &mut weights, &self.device)?
            }
        })
    }

    /// The fine-tuned model, from which others are measured: what the stage left, or the pretrained model
    /// where the run doesn't fine-tune.
    fn sft_folder(&self) -> Result<Option<PathBuf>> {
        if let Some(folder) = self.past.fine_tuned() {
            return Ok(Some(folder.to_path_buf()));
        }
        Ok(self.result(Stage::Sft)?.or_else(|| self.setup.folders.model.clone()))
    }

    /// The fine-tuned model, for a stage that can't do without.
    fn sft_model(&self) -> Result<PathBuf> {
        self.sft_folder()?.ok_or_else(|| self.missing(Stage::Sft, "model"))
    }

    /// What reinforcement learning begins with: in a later round, the policy of those before; DPO's result where the config's `stages` have it, or else the
    /// fine-tuned model. The config decides, and not what the run happens to have, so that the reference of
    /// a resumed run is that of the first start.
    fn policy_to_optimize(&self) -> Result<PathBuf> {
        if let Some(policy) = self.past.policy() {
            return Ok(policy.to_path_buf());
        }
        if !self.setup.config.stages.contains(&Stage::Dpo) {
            return self.sft_model();
        }
        self.result(Stage::Dpo)?.ok_or_else(|| self.missing(Stage::Dpo, "policy of DPO"))
    }

    /// The reward model: the config's, or what its stage left.
    fn reward_folder(&self) -> Result<Option<PathBuf>> {
        match &self.setup.folders.reward_model {
            Some(folder) => Ok(Some(folder.clone())),
            None => self.result(Stage::Reward),
        }
    }

    /// The folder of the model that a stage left, if it is done.
    fn result(&self, stage: Stage) -> Result<Option<PathBuf>> {
        let finished = self.run.finished(stage.name())?;
        let checkpoints = self.run.checkpoints(stage.name());
        Ok(finished.map(|finished| checkpoints.path(finished.step).join(MODEL)))
    }

    fn missing(&self, stage: Stage, what: &str) -> anyhow::Error {
        let flag = match stage {
            Stage::Sft => ", or start a run with `--model DIR`",
            Stage::Reward => ", or start a run with `--reward-model DIR`",
            Stage::Feedback | Stage::Dpo | Stage::Rl | Stage::Evaluate => "",
        };
        let (run, stage) = (self.run.root().display(), stage.name());
        anyhow!("{run}: no {what} yet; run `{} {stage} --run {run}` first{flag}", launcher())
    }
}
