//! A target that learns not to fall for what was found.

use std::path::{Path, PathBuf};

use anyhow::Result;
use rein_data::seed::Seed;
use rein_model::backend::LmAutodiffBackend;
use rein_model::{ScalarModel, load_causal_lm};
use rein_ppo::ActorCritic;
use rein_ppo::config::PpoConfig;
use rein_ppo::rollout::Prompt;
use rein_ppo::train::{Ppo, Prompts};
use rein_reward::{Mixture, Reward, Weighted};
use serde::Serialize;

use super::campaign::cadence;
use super::place::Place;
use crate::inference::tokenizer_of;

/// How a target learns.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Hardening {
    pub(crate) target: PathBuf,
    pub(crate) rl: PpoConfig,
    /// What a violation costs.
    pub(crate) penalty: f32,
    pub(crate) seed: u64,
    /// Users' prompts.
    #[serde(skip)]
    pub(crate) prompts: Vec<String>,
    /// Prompts that led to violations.
    pub(crate) attacks: Vec<String>,
}

impl Hardening {
    /// Reinforcement learning as `rl` says it, of what rewards are given to it alone.
    pub(crate) fn config(rl: &PpoConfig, steps: usize) -> PpoConfig {
        PpoConfig {
            steps,
            rewards: Vec::new(),
            constraints: Vec::new(),
            ptx: None,
            eval_prompts: 0,
            checkpoints: cadence(),
            ..rl.clone()
        }
    }

    /// Goes on with the target's reinforcement learning, half of the prompts being attacks: `reward`, if there is one,
    /// less the price of violations, at the price of leaving the target. None if somebody asked to stop.
    pub(crate) fn run<B: LmAutodiffBackend>(
        &self,
        reward: Option<Box<dyn Reward>>,
        violation: Box<dyn Reward>,
        place: &mut Place,
        device: &B::Device,
    ) -> Result<Option<PathBuf>> {
        let tokenizer = tokenizer_of(&self.target)?;
        let mut parts = vec![Weighted { weight: -self.penalty, reward: violation }];
        parts.extend(reward.map(|reward| Weighted { weight: 1.0, reward }));
        let asked = mixed(&self.prompts, &self.attacks);
        let train = asked.iter().map(|it| Prompt::encode(it, &tokenizer)).collect();
        let seed = Seed::new(self.seed).child("harden");
        let mut stage = Ppo::<B>::new(
            self.rl.clone(),
            actors(&self.target, &self.rl, seed, device)?,
            Box::new(Mixture::new(parts)?),
            tokenizer,
            Prompts { train, heldout: Vec::new() },
            seed,
            device,
        )?;
        place.drive("harden", &mut stage, self.rl.steps, &self.rl.checkpoints)
    }
}

/// The target, and a value model that begins as it, where advantages ask for one.
fn actors<B: LmAutodiffBackend>(
    target: &Path,
    rl: &PpoConfig,
    seed: Seed,
    device: &B::Device,
) -> Result<ActorCritic<B>> {
    let load = || load_causal_lm::<B>(target, device);
    let value = || -> Result<ScalarModel<B>> {
        let model = ScalarModel::from_causal_lm(load()?, seed.child("value"), device)?;
        Ok(model.expecting_nothing(device))
    };
    let value = rl.has_value_model().then(value).transpose()?;
    Ok(ActorCritic { policy: load()?, value })
}

/// Users' prompts and as many attacks, which are repeated until they are.
pub(crate) fn mixed<T: Clone>(prompts: &[T], attacks: &[T]) -> Vec<T> {
    let n_attacks = if attacks.is_empty() { 0 } else { prompts.len().max(attacks.len()) };
    prompts.iter().chain(attacks.iter().cycle().take(n_attacks)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_what_is_asked_are_attacks() {
        let texts = |all: &[&str]| all.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        let prompts = texts(&["a", "b", "c"]);
        assert_eq!(mixed(&prompts, &texts(&["x", "y"])), texts(&["a", "b", "c", "x", "y", "x"]));
        assert_eq!(mixed(&prompts, &[]), prompts);
    }
}
