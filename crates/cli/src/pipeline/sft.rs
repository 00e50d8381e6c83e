use anyhow::Result;
use rein_data::stage::{Outcome, drive};
use rein_model::backend::LmAutodiffBackend;
use rein_model::sft::Sft;

use super::Session;
use crate::config::Stage;

impl<B: LmAutodiffBackend> Session<B> {
    /// Imitates demonstrations.
    pub(super) fn sft(&mut self) -> Result<Outcome> {
        let setup = &self.setup;
        let config = setup.config.sft.clone();
        let cadence = config.checkpoints.clone();
        let mut stage = Sft::<B>::new(
            config,
            self.initial_model()?,
            Some(setup.tokenizer.clone()),
            setup.rows.clone(),
            self.seed(Stage::Sft),
            &self.device,
        )?
        .with_workers(&self.workers);
        let n_steps = stage.n_steps();
        Ok(drive(&mut self.context(), Stage::Sft.name(), &mut stage, n_steps, &cadence)?)
    }
}
