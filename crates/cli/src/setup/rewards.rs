use anyhow::{Context, Result, ensure};
use rein_model::guard::fits;
use rein_reward::RewardKind;
use rein_reward::inverse::FeatureReward;
use rein_reward::meta::Person;

use super::{Setup, pretrained};
use crate::config::Stage;

impl Setup {
    /// An attacker writes single prompts.
    pub(super) fn check_red_team(&self) -> Result<()> {
        let attacks = self.config.rounds.as_ref().is_some_and(|it| it.red_team.is_some());
        ensure!(
            !(attacks && self.config.repeats() && self.world.has_chats()),
            "`loop.red_team` writes single prompts, and these are conversations; leave it out"
        );
        Ok(())
    }

    /// Refuses rewards whose files aren't there, or don't belong to the run's model.
    pub(super) fn check_rewards(&self) -> Result<()> {
        let asked = self.config.stages.contains(&Stage::Rl);
        for source in self.config.rl.rewards.iter().filter(|_| asked) {
            source.person.as_ref().map(|it| Person::load(it)).transpose()?;
            match &source.kind {
                RewardKind::LogRatio(it) => {
                    for folder in [&it.policy, &it.base].into_iter().flatten() {
                        let (_, model) = pretrained(folder)?;
                        fits(&model, &self.tokenizer)
                            .with_context(|| folder.display().to_string())?;
                    }
                }
                RewardKind::Features(it) => {
                    it.path.as_ref().map(|it| FeatureReward::load(it)).transpose()?;
                }
                RewardKind::Model | RewardKind::Gold | RewardKind::Rule(_) => {}
            }
        }
        Ok(())
    }
}
