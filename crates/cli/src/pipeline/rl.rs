use anyhow::{Result, ensure};
use rein_data::encoding::TokenRow;
use rein_data::example::Completion;
use rein_data::helpdesk::gold;
use rein_data::stage::{Outcome, drive};
use rein_model::backend::LmAutodiffBackend;
use rein_model::{load_causal_lm, load_scalar_model};
use rein_ppo::ActorCritic;
use rein_ppo::train::{Ppo, Prompts};
use rein_reward::{LearnedReward, Reward, RewardError};

use super::Session;
use crate::config::Stage;
use crate::world::Parts;

impl<B: LmAutodiffBackend> Session<B> {
    /// Optimises the reward model's scores, beginning at the fine-tuned model; the value model
    /// begins as the reward model.
    pub(super) fn rl(&mut self) -> Result<Outcome> {
        let config = self.setup.config.rl.clone();
        let (cadence, n_steps) = (config.checkpoints.clone(), config.steps);
        let imitated = config
            .ptx
            .map(|ptx| self.imitated(n_steps * config.epochs * config.minibatches * ptx.rows))
            .transpose()?;
        let reward_folder =
            self.reward_folder()?.ok_or_else(|| self.missing(Stage::Reward, "reward model"))?;
        let actors = ActorCritic {
            policy: load_causal_lm::<B>(&self.sft_model()?, &self.device)?,
            value: if config.advantage.needs_values() {
                Some(load_scalar_model::<B>(&reward_folder, &self.device)?)
            } else {
                None
            },
        };
        let reward = LearnedReward::<B::InnerBackend>::load(
            &reward_folder,
            config.micro_batch_rows,
            &self.device,
        )?
        .with_precision(config.precision.frozen);
        let Parts { train, heldout } = self.setup.world.prompts.clone();
        let mut stage = Ppo::<B>::new(
            config,
            actors,
            Box::new(reward),
            self.setup.tokenizer.clone(),
            Prompts { train, heldout },
            self.seed(Stage::Rl),
            &self.device,
        )?
        .with_workers(&self.workers);
        if let Some(rows) = imitated {
            stage = stage.with_demonstrations(rows)?;
        }
        if self.setup.world.has_gold() {
            stage.watch(Box::new(Gold));
        }
        Ok(drive(&mut self.context(), Stage::Rl.name(), &mut stage, n_steps, &cadence)?)
    }

    /// The demonstrations that `rl.ptx` imitates, of which no more are read than are used.
    fn imitated(&self, n_used: usize) -> Result<Vec<TokenRow>> {
        let train = &self.setup.rows.train;
        ensure!(!train.is_empty(), "`rl.ptx` imitates demonstrations, and these data have none");
        Ok((0..train.len().min(n_used)).map(|row| train.row(row)).collect::<Result<_, _>>()?)
    }
}

/// The truth of the help-desk world, to measure with; nothing learns from it.
#[derive(Debug)]
pub(super) struct Gold;

impl Reward for Gold {
    fn name(&self) -> &'static str {
        "gold"
    }

    fn score(&self, completions: &[Completion]) -> Result<Vec<f32>, RewardError> {
        let judge = |it: &Completion| gold::judge(&it.prompt, &it.text, it.finished).total();
        Ok(completions.iter().map(judge).collect())
    }
}
