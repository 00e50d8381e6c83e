use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use rein_data::encoding::TokenRow;
use rein_data::stage::{Outcome, drive};
use rein_model::backend::LmAutodiffBackend;
use rein_model::guard::fits;
use rein_model::{ScalarModel, load_causal_lm, load_scalar_model, read_config};
use rein_ppo::ActorCritic;
use rein_ppo::config::PpoConfig;
use rein_ppo::rollout::Prompt;
use rein_ppo::train::{Ppo, Prompts};
use rein_reward::inverse::{FeatureReward, LogRatio, LogRatioSource};
use rein_reward::meta::PersonalReward;
use rein_reward::{Gold, LearnedReward, Mixture, Reward, RewardKind, RewardSource, Weighted};

use super::Session;
use super::own_samples::FEATURES;
use crate::config::Stage;
use crate::http::HttpClient;
use crate::world::{Parts, Question};

impl<B: LmAutodiffBackend> Session<B> {
    /// Optimises what rewards say, beginning at the fine-tuned model, or at DPO's result.
    pub(super) fn rl(&mut self) -> Result<Outcome> {
        let config = self.setup.config.rl.clone();
        let (cadence, n_steps) = (config.checkpoints.clone(), config.steps);
        let imitated = config
            .ptx
            .map(|ptx| self.imitated(n_steps * config.epochs * config.minibatches * ptx.rows))
            .transpose()?;
        let reward = self.rewards(&config)?;
        let actors = self.actors(&config)?;
        let ask = |questions: &[Question]| -> Result<Vec<Prompt>> {
            questions.iter().map(|it| self.setup.prompt(it)).collect()
        };
        let Parts { train, heldout } = &self.setup.world.prompts;
        let prompts = Prompts { train: ask(train)?, heldout: ask(heldout)? };
        let mut stage = Ppo::<B>::new(
            config,
            actors,
            reward,
            self.setup.tokenizer.clone(),
            prompts,
            self.seed(Stage::Rl),
            &self.device,
        )?
        .ending_at(self.setup.ends())
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

    /// The policy as fine-tuning, or DPO, left it. The value model, if advantages ask for one, begins as the reward
    /// model, or as the policy where the run has none.
    fn actors(&self, config: &PpoConfig) -> Result<ActorCritic<B>> {
        let folder = self.policy_to_optimize()?;
        let load_policy = || load_causal_lm::<B>(&folder, &self.device);
        let policy = load_policy()?;
        if !config.has_value_model() {
            return Ok(ActorCritic { policy, value: None });
        }
        let value = match self.reward_folder()? {
            Some(folder) => load_scalar_model::<B>(&folder, &self.device)?,
            None => {
                let seed = self.seed(Stage::Rl).child("value");
                ScalarModel::from_causal_lm(load_policy()?, seed, &self.device)?
                    .expecting_nothing(&self.device)
            }
        };
        Ok(ActorCritic { policy, value: Some(value) })
    }

    /// What is optimised: one reward as it is, or the weighted sum of several.
    fn rewards(&self, config: &PpoConfig) -> Result<Box<dyn Reward>> {
        let sources = config.reward_sources().into_iter();
        let parts = sources.map(|it| self.parts_of(it, config)).collect::<Result<Vec<_>>>()?;
        let mut parts: Vec<Weighted> = parts.into_iter().flatten().collect();
        match &parts[..] {
            [Weighted { weight: 1.0, .. }] => Ok(parts.remove(0).reward),
            _ => Ok(Box::new(Mixture::new(parts)?)),
        }
    }

    /// A source's reward, and beside an ensemble's score what is only measured.
    fn parts_of(&self, source: RewardSource, config: &PpoConfig) -> Result<Vec<Weighted>> {
        let RewardSource { kind, weight, person, pessimism } = source;
        let alone = |reward: Box<dyn Reward>| vec![Weighted { weight, reward }];
        Ok(match kind {
            RewardKind::Model => {
                let reward = self.reward_model(person.as_deref(), config)?;
                match reward.is_ensemble() || pessimism.is_some() {
                    true => reward.into_parts(pessimism, weight)?,
                    false => alone(Box::new(reward)),
                }
            }
            RewardKind::Gold => alone(Box::new(Gold)),
            RewardKind::LogRatio(source) => {
                alone(self.log_ratio(&source, config.micro_batch_rows)?)
            }
            RewardKind::Features(source) => {
                let own = || self.run.file(FEATURES);
                alone(Box::new(FeatureReward::load(&source.path.unwrap_or_else(own))?))
            }
            RewardKind::Rule(rule) => alone(Box::new(rule.build(&HttpClient::shared())?)),
        })
    }

    fn log_ratio(&self, source: &LogRatioSource, batch_rows: usize) -> Result<Box<dyn Reward>> {
        let policy = source.policy.clone().map_or_else(|| self.sft_model(), Ok)?;
        let base = source.base.as_ref().or(self.setup.folders.model.as_ref());
        let base = base.context(
            "`rl.rewards`: \"log_ratio\" needs a `base` where the run begins with a new model",
        )?;
        let folders = [policy.as_path(), base];
        for folder in folders {
            fits(&read_config(folder)?, &self.setup.tokenizer)
                .with_context(|| folder.display().to_string())?;
        }
        let config = source.config();
        let ratio = LogRatio::<B::InnerBackend>::load(folders, config, batch_rows, &self.device);
        Ok(Box::new(ratio.context("`rl.rewards`, \"log_ratio\"")?))
    }

    /// The reward model, as everybody or one person would score.
    fn reward_model(
        &self,
        person: Option<&Path>,
        config: &PpoConfig,
    ) -> Result<LearnedReward<B::InnerBackend>> {
        let folder = self.reward_folder()?;
        let folder = folder.ok_or_else(|| self.missing(Stage::Reward, "reward model"))?;
        let (rows, device) = (config.micro_batch_rows, &self.device);
        let reward: LearnedReward<B::InnerBackend> = match person {
            Some(person) => PersonalReward::load(&folder, person, rows, device)?.into_reward(),
            None => LearnedReward::load(&folder, rows, device)?,
        };
        let reward = reward.behind_replies(self.setup.behind_replies());
        Ok(reward.with_precision(config.precision.frozen))
    }
}
