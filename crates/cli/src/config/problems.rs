//! Settings that parse and still can't be run.

use anyhow::{Result, bail};
use rein_feedback::aggregate::Aggregation;
use rein_reward::inverse::demonstrations::Sampler;
use rein_reward::{RewardKind, RewardSource};

use super::evaluate::{GOLD, REWARD};
use super::{Answers, Config, DataConfig, ModelSource, PeopleConfig, Stage};

impl Config {
    /// Fills in what follows from the rest, and refuses what can't be run.
    pub(super) fn resolve(mut self) -> Result<Self> {
        let mut possible = self.data.stages();
        let has_reward = self.reward_model.is_some() || !self.rl.asks_model();
        if has_reward && !possible.contains(&Stage::Rl) {
            possible.push(Stage::Rl);
        }
        let judges = possible.contains(&Stage::Reward) || self.feedback.store.is_some();
        let is_inverse = self.reward.demonstrations.is_some();
        for stage in [Stage::Reward, Stage::Rl] {
            if is_inverse && !possible.contains(&stage) {
                possible.push(stage);
            }
        }
        let of_store = self.feedback.store.is_some();
        let waits = self.rounds.as_ref().is_some_and(|it| it.answers == Answers::People);
        if waits {
            let missing = [Stage::Feedback, Stage::Reward, Stage::Rl];
            possible.extend(
                missing.into_iter().filter(|it| !possible.contains(it)).collect::<Vec<_>>(),
            );
        }
        if of_store {
            possible.retain(|stage| *stage != Stage::Feedback);
            let more = [Stage::Reward, Stage::Rl].into_iter().filter(|it| !possible.contains(it));
            possible.extend(more.collect::<Vec<_>>());
        }
        if self.stages.is_empty() {
            self.stages.clone_from(&possible);
            if is_inverse {
                self.stages.retain(|stage| *stage != Stage::Feedback);
            }
            if self.reward_model.is_some() {
                self.stages.retain(|stage| !matches!(stage, Stage::Feedback | Stage::Reward));
            }
        }
        // Done where it is asked for, and by the data that a reward model would be trained on.
        if judges {
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
                Stage::Feedback if self.feedback.store.is_some() => {
                    "`feedback.store` holds judgements already"
                }
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
        problems.extend(self.inverse_problems());
        problems.extend(self.pessimism_problems());
        problems.extend(self.data_problems());
        problems.extend(self.personal_problems());
        problems.extend(self.loop_problems());
        problems.extend(self.evaluate.problems());
        let feedback = &self.feedback;
        if feedback.project.is_some() && feedback.store.is_none() {
            problems.push("`feedback.project` needs a `feedback.store`".into());
        }
        let waits = self.rounds.as_ref().is_some_and(|it| it.answers == Answers::People);
        let asks_people = feedback.store.is_some() || waits;
        if let Some(cleaning) = &feedback.cleaning {
            if !asks_people {
                problems.push("`feedback.cleaning` needs a `feedback.store` or `loop.answers` = \"people\"; `rein feedback clean` cleans files".into());
            }
            if let Err(error) = cleaning.check() {
                problems.push(format!("`feedback.cleaning`: {error}"));
            }
        }
        if feedback.aggregation != Aggregation::Share && !asks_people {
            problems.push("`feedback.aggregation` needs a `feedback.store` or `loop.answers` = \"people\"; what simulated people say is counted".into());
        }
        let counts = [
            ("feedback.pairs", feedback.pairs),
            ("feedback.batch_pairs", feedback.batch_pairs),
            ("feedback.annotators", feedback.annotators),
            ("feedback.overlap", feedback.overlap as usize),
        ];
        for (key, _) in counts.iter().filter(|(_, count)| *count == 0) {
            problems.push(format!("`{key}` must be above 0"));
        }
        problems
    }

    fn loop_problems(&self) -> Vec<String> {
        let Some(rounds) = self.rounds.as_ref().filter(|_| self.repeats()) else {
            return Vec::new();
        };
        let mut problems = rounds.problems();
        let has_gold = matches!(self.data, DataConfig::Helpdesk { .. });
        let is_known = |name: &str| {
            name == REWARD
                || name == GOLD && has_gold
                || self.evaluate.judges.iter().any(|it| it.name() == name)
        };
        if let Some(name) = rounds.judge.as_ref().filter(|it| !is_known(it)) {
            problems.push(format!(
                "`loop.judge` is \"{name}\", but nobody is called that: name one of `evaluate.judges`"
            ));
        }
        let gives = !self.stages.contains(&Stage::Feedback);
        if gives && self.stages.contains(&Stage::Reward) && self.reward.max_judgements.is_none() {
            problems.push(
                "`loop` has nothing new to learn in later rounds: set `reward.max_judgements` to what the first \
                 one shall know, to which each adds `loop.pairs`"
                    .into(),
            );
        }
        problems
    }

    fn pessimism_problems(&self) -> Option<String> {
        let is_pessimistic = self.rl.rewards.iter().any(|it| it.pessimism.is_some());
        let has_heads = self.reward.ensemble.is_some() || self.reward_model.is_some();
        (is_pessimistic && !has_heads).then(|| {
            "`rl.rewards` holds a `pessimism`, but `reward.ensemble` isn't set: one head can't differ".into()
        })
    }

    fn reward_problems(&self) -> Vec<String> {
        let asks_gold = self.rl.rewards.iter().any(|it| it.kind == RewardKind::Gold);
        let gold = (asks_gold && !self.data.knows_truth()).then(|| {
            let reason = match self.data.population() {
                Some(_) => {
                    "with `data.population` people want different things, and none is the truth"
                }
                None => "only the help-desk world knows the truth",
            };
            format!("`rl.rewards` holds \"gold\", but {reason}")
        });
        let has_columns = matches!(self.data, DataConfig::Files(_));
        let columns = self.rl.columns().into_iter().filter(|_| !has_columns).map(|name| {
            format!(
                "`rl.rewards` reads the column `{name}`, but only prompts of `data.kind` \"files\" have columns"
            )
        });
        let measured = self.evaluate.columns().into_iter().filter(|_| !has_columns).map(|name| {
            format!(
                "`evaluate` reads the column `{name}`, but only prompts of `data.kind` \"files\" have columns"
            )
        });
        gold.into_iter().chain(columns).chain(measured).collect()
    }

    /// A new model says nothing before it is fine-tuned, and what nobody measures can't be limited.
    fn inverse_problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let config =
            self.reward.demonstrations.as_ref().filter(|_| self.stages.contains(&Stage::Reward));
        let is_new = matches!(self.model, ModelSource::New(_));
        if config.is_some_and(|it| it.sampler == Sampler::Initial) && is_new {
            problems.push(
                "`reward.demonstrations.sampler` is \"initial\", but a new model has nothing to say before it \
                 is fine-tuned: name a pretrained model (`--model DIR`), or set it to \"fine_tuned\" with \
                 `temperatures` above 1"
                    .into(),
            );
        }
        let rewards = self.rl.reward_sources();
        let has_no_base = |it: &RewardSource| matches!(&it.kind, RewardKind::LogRatio(source) if source.base.is_none());
        if is_new && rewards.iter().any(has_no_base) {
            problems.push(
                "`rl.rewards`: \"log_ratio\" needs a `base` where the run begins with a new model"
                    .into(),
            );
        }
        let has_model = self.rl.asks_model();
        for constraint in &self.rl.constraints {
            // A reward model may have parts of its own, which are known when it is loaded.
            if !has_model && rewards.iter().all(|it| it.kind.name() != constraint.cost) {
                let cost = &constraint.cost;
                problems.push(format!(
                    "`rl.constraints` limits \"{cost}\", which isn't among `rl.rewards`: name it there, with the \
                     weight 0 if it shall only be limited"
                ));
            }
        }
        problems
    }

    /// Only some data say who judged what.
    fn personal_problems(&self) -> Vec<String> {
        let mut problems: Vec<String> = self.people_problems().collect();
        let names_people = match &self.data {
            _ if self.rounds.as_ref().is_some_and(|it| it.answers == Answers::People) => true,
            DataConfig::Helpdesk { .. } => true,
            DataConfig::Files(files) => files.preferences.is_some(),
            DataConfig::Labels { .. } | DataConfig::Dialogues { .. } => false,
        };
        if self.reward.personal.is_some() && !names_people {
            problems.push(
                "`reward.personal` needs to know who judged what: a column `annotator` of `data.preferences`"
                    .into(),
            );
        }
        problems
    }

    fn people_problems(&self) -> impl Iterator<Item = String> {
        let of_config = self.personal.iter().flat_map(PeopleConfig::problems);
        let knows_people = self.reward.personal.is_some() || self.reward_model.is_some();
        let unknown = (self.personal.is_some() && !knows_people).then(|| {
            "`personal` needs to know in which ways people differ: set `reward.personal`, as by `--set reward.personal={}`"
                .into()
        });
        of_config.chain(unknown)
    }

    fn data_problems(&self) -> Option<String> {
        match &self.data {
            DataConfig::Helpdesk { demonstrations: 0, .. } => {
                Some("`data.demonstrations` must be above 0".into())
            }
            DataConfig::Helpdesk { expert_temperature: Some(it), .. }
                if !(*it > 0.0 && it.is_finite()) =>
            {
                Some("`data.expert_temperature` must be above 0".into())
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
