//! Settings that parse and still can't be run.

use anyhow::{Result, bail};
use rein_reward::RewardKind;

use super::{Config, DataConfig, Stage};

impl Config {
    /// Fills in what follows from the rest, and refuses what can't be run.
    pub(super) fn resolve(mut self) -> Result<Self> {
        let mut possible = self.data.stages();
        let has_reward = self.reward_model.is_some() || !self.rl.asks_model();
        if has_reward && !possible.contains(&Stage::Rl) {
            possible.push(Stage::Rl);
        }
        if self.stages.is_empty() {
            self.stages.clone_from(&possible);
            if self.reward_model.is_some() {
                self.stages.retain(|stage| !matches!(stage, Stage::Feedback | Stage::Reward));
            }
        }
        // Done where it is asked for, and by the data that a reward model would be trained on.
        if possible.contains(&Stage::Reward) {
            possible.push(Stage::Dpo);
        }
        self.stages.sort_unstable();
        self.stages.dedup();
        self.spread_precision();
        let problems = self.problems(&possible);
        if !problems.is_empty() {
            bail!("{}", problems.join("; "));
        }
        Ok(self)
    }

    /// Tells all stages in which precision they compute.
    fn spread_precision(&mut self) {
        let Self { sft, reward, dpo, rl, precision, .. } = self;
        sft.precision = precision.training;
        reward.precision = precision.training;
        dpo.precision = *precision;
        rl.precision = *precision;
        let of_rewards = [&mut reward.optimizer, &mut dpo.optimizer, &mut rl.optimizer];
        for optimizer in of_rewards.into_iter().chain([&mut sft.optimizer]) {
            optimizer.moments = precision.moments;
        }
    }

    fn problems(&self, possible: &[Stage]) -> Vec<String> {
        let mut problems = Vec::new();
        for stage in self.stages.iter().filter(|stage| !possible.contains(stage)) {
            let name = stage.name();
            let reason = match stage {
                Stage::Feedback => "only the help-desk world has simulated people",
                Stage::Rl => {
                    "nothing says what is good: name `data.preferences`, a `reward_model` or rules in \
                     `rl.rewards`"
                }
                _ => "nothing says what is good: name `data.preferences` or a `reward_model`",
            };
            problems.push(format!("`stages` holds \"{name}\", but {reason}"));
        }
        problems.extend(self.sft.problems());
        problems.extend(self.reward.problems());
        problems.extend(self.dpo.problems());
        problems.extend(self.rl.problems());
        problems.extend(self.reward_problems());
        problems.extend(self.data_problems());
        let feedback = &self.feedback;
        let counts = [
            ("feedback.pairs", feedback.pairs),
            ("feedback.batch_pairs", feedback.batch_pairs),
            ("feedback.annotators", feedback.annotators),
            ("feedback.overlap", feedback.overlap as usize),
            ("evaluate.prompts", self.evaluate.prompts),
            ("evaluate.best_of", self.evaluate.best_of),
        ];
        for (key, _) in counts.iter().filter(|(_, count)| *count == 0) {
            problems.push(format!("`{key}` must be above 0"));
        }
        problems
    }

    fn reward_problems(&self) -> Vec<String> {
        let asks_gold = self.rl.rewards.iter().any(|it| it.kind == RewardKind::Gold);
        let has_gold = matches!(self.data, DataConfig::Helpdesk { .. });
        let gold = (asks_gold && !has_gold).then(|| {
            "`rl.rewards` holds \"gold\", but only the help-desk world knows the truth".into()
        });
        let has_columns = matches!(self.data, DataConfig::Files(_));
        let columns = self.rl.columns().into_iter().filter(|_| !has_columns).map(|name| {
            format!(
                "`rl.rewards` reads the column `{name}`, but only prompts of `data.kind` \"files\" have columns"
            )
        });
        gold.into_iter().chain(columns).collect()
    }

    fn data_problems(&self) -> Option<String> {
        match &self.data {
            DataConfig::Helpdesk { demonstrations: 0, .. } => {
                Some("`data.demonstrations` must be above 0".into())
            }
            DataConfig::Labels { opening_words: 0, .. } => {
                Some("`data.opening_words` must be above 0".into())
            }
            DataConfig::Files(files) => files.problems(),
            DataConfig::Dialogues { heldout_share, .. } if !(0.0..1.0).contains(heldout_share) => {
                Some("`data.heldout_share` must be within 0..1".into())
            }
            _ => None,
        }
    }
}
