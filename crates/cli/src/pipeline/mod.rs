//! The stages of a run, in order. Each is a few calls into the library crates.

mod evaluate;
mod feedback;
mod judge;
mod reward;
mod rl;
mod sft;

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use rein_data::log::RunLog;
use rein_data::run_dir::RunDir;
use rein_data::seed::Seed;
use rein_data::stage::{Context, Interrupt, Outcome};
use rein_model::backend::LmAutodiffBackend;
use rein_model::checkpoint::MODEL;
use rein_model::weights::RandomWeights;
use rein_model::{CausalLm, load_causal_lm};

use crate::config::{ModelSource, Stage};
use crate::setup::Setup;

pub(crate) use evaluate::{Evaluation, ModelReport};
pub(crate) use judge::{Agreement, JudgeReport};

/// A run in progress on one backend.
pub(crate) struct Session<B: LmAutodiffBackend> {
    pub(crate) setup: Setup,
    pub(crate) run: RunDir,
    pub(crate) log: RunLog,
    pub(crate) interrupt: Interrupt,
    pub(crate) device: B::Device,
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
    /// Runs these stages; those that are done already are passed over.
    pub(crate) fn run(&mut self, stages: &[Stage]) -> Result<Ended> {
        for stage in stages {
            let outcome = match stage {
                Stage::Sft => self.sft()?,
                Stage::Feedback => self.feedback()?,
                Stage::Reward => self.reward()?,
                Stage::Rl => self.rl()?,
                Stage::Evaluate => self.evaluate()?,
            };
            if outcome == Outcome::Interrupted {
                return Ok(Ended::Interrupted);
            }
        }
        Ok(Ended::Finished)
    }

    fn seed(&self, stage: Stage) -> Seed {
        Seed::new(self.setup.config.seed).child(stage.name())
    }

    fn context(&mut self) -> Context<'_> {
        Context { run: &self.run, log: &mut self.log, interrupt: &self.interrupt }
    }

    /// The model as it is before any stage.
    fn initial_model(&self) -> Result<CausalLm<B>> {
        Ok(match &self.setup.config.model {
            ModelSource::Pretrained { path } => load_causal_lm(path, &self.device)?,
            ModelSource::New(_) => {
                let seed = Seed::new(self.setup.config.seed).child("model");
                let mut weights = RandomWeights::new(&self.setup.model, seed);
                CausalLm::new(&self.setup.model, &mut weights, &self.device)?
            }
        })
    }

    /// The folder of the fine-tuned model: the stage's result, or the pretrained model where the run
    /// doesn't fine-tune.
    fn sft_model(&self) -> Result<PathBuf> {
        match (self.result(Stage::Sft)?, &self.setup.config.model) {
            (Some(folder), _) => Ok(folder),
            (None, ModelSource::Pretrained { path }) => Ok(path.clone()),
            (None, ModelSource::New(_)) => Err(self.missing(Stage::Sft, "model", "--model DIR")),
        }
    }

    /// The folder of the model that a stage left, if it is done.
    fn result(&self, stage: Stage) -> Result<Option<PathBuf>> {
        let finished = self.run.finished(stage.name())?;
        let checkpoints = self.run.checkpoints(stage.name());
        Ok(finished.map(|finished| checkpoints.path(finished.step).join(MODEL)))
    }

    fn missing(&self, stage: Stage, what: &str, flag: &str) -> anyhow::Error {
        let (run, stage) = (self.run.root().display(), stage.name());
        anyhow!(
            "{run}: no {what} yet; run `rein {stage} --run {run}` first, or name one with `{flag}`"
        )
    }
}
