//! The stage within a checkpoint.

use std::path::Path;

use burn::module::AutodiffModule;
use rein_model::backend::LmAutodiffBackend;
use rein_model::checkpoint::{MODEL, read_state, save_with_tokenizer, write_state};
use rein_model::{Ema, load_causal_lm, save_causal_lm};
use rein_reward::overoptimization::Monitor;
use serde::{Deserialize, Serialize};

use super::Ppo;
use crate::PpoError;
use crate::controllers::ControllersState;
use crate::overlap::Ahead;
use crate::stability::GuardsState;

#[derive(Serialize, Deserialize)]
struct State {
    n_episodes: u64,
    #[serde(flatten)]
    controllers: ControllersState,
    #[serde(default)]
    guards: GuardsState,
    /// Of each reward that is watched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    monitors: Vec<Monitor>,
    /// Updates that the policy's average, if there is one, has taken in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    n_averaged: Option<u64>,
    /// The step whose completions were sampled ahead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ahead: Option<usize>,
}

impl<B: LmAutodiffBackend> Ppo<B> {
    pub(super) fn write(&self, folder: &Path) -> Result<(), PpoError> {
        self.learners.save(
            self.config.lora.as_ref(),
            &self.tokenizer,
            self.policy_folder(),
            folder,
        )?;
        if self.ema.is_some() {
            let tokenizer = Some(&self.tokenizer);
            save_with_tokenizer(&folder.join(MODEL), tokenizer, |folder| {
                save_causal_lm(&self.result(), folder)
            })?;
        }
        if let Some(ahead) = &self.ahead {
            ahead.save(folder)?;
        }
        let state = State {
            n_episodes: self.n_episodes,
            controllers: self.controllers.state(),
            guards: self.guards.state(),
            monitors: self.watched.iter().map(|it| it.monitor.clone()).collect(),
            n_averaged: self.ema.as_ref().map(Ema::n_updates),
            ahead: self.ahead.as_ref().map(|it| it.step),
        };
        Ok(write_state(folder, &state)?)
    }

    pub(super) fn read(&mut self, folder: &Path) -> Result<(), PpoError> {
        self.learners.restore(&self.config, self.policy_folder(), folder, &self.device)?;
        let state: State = read_state(folder)?;
        self.n_episodes = state.n_episodes;
        self.controllers.restore(state.controllers);
        self.guards.restore(state.guards);
        for (watched, monitor) in self.watched.iter_mut().zip(state.monitors) {
            watched.monitor = monitor;
        }
        if let Some(config) = self.config.ema {
            let average = load_causal_lm::<B>(&folder.join(MODEL), &self.device)?.valid();
            let n_updates = state.n_averaged.unwrap_or(0);
            self.ema = Some(Ema::resumed(config, &average, n_updates));
        }
        let shape = self.learners.policy.module().config();
        let ahead = state.ahead.filter(|_| self.config.overlap);
        let load = |step| Ahead::load(folder, step, self.config.rows_per_step(), shape);
        self.ahead = ahead.map(load).transpose()?;
        Ok(())
    }

    /// The folder of the policy that is trained, which is the stage's result unless that is an average.
    fn policy_folder(&self) -> &'static str {
        if self.config.ema.is_some() { TRAINED } else { MODEL }
    }
}

/// The folder of the policy as it is trained within a checkpoint whose result is its average.
const TRAINED: &str = "trained_model";
