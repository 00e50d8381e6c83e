//! What can be wrong with settings.

use rein_reward::RewardSource;

use super::{KlPlacement, PpoConfig};
use crate::constraints::ConstraintConfig;
use crate::loss::PolicyLoss;
use crate::trpo::Trained;

impl PpoConfig {
    /// What is wrong with these settings.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.optimizer.problems("rl.optimizer");
        problems.extend(self.lora.iter().flat_map(|lora| lora.problems("rl.lora")));
        if self.lora.as_ref().is_some_and(|lora| lora.dropout > 0.0) {
            problems.push("`rl.lora.dropout` must be 0: the first ratio wouldn't be 1".into());
        }
        let counts = [
            ("steps", self.steps),
            ("prompts_per_step", self.prompts_per_step),
            ("samples_per_prompt", self.samples_per_prompt),
            ("max_new_tokens", self.max_new_tokens),
            ("epochs", self.epochs),
            ("minibatches", self.minibatches),
            ("micro_batch_rows", self.micro_batch_rows),
        ];
        for (key, _) in counts.iter().filter(|(_, count)| *count == 0) {
            problems.push(format!("`rl.{key}` must be above 0"));
        }
        if problems.is_empty() {
            problems.extend(self.indivisible());
        }
        let is_share = |value: f32| (0.0..=1.0).contains(&value);
        let is_positive = |value: f32| value > 0.0 && value.is_finite();
        for (key, value) in
            [("gamma", self.gamma), ("lambda", self.lambda), ("epsilon", self.epsilon.into())]
        {
            problems.extend(value.problems(&format!("rl.{key}"), is_share, "within 0..=1"));
        }
        problems.extend(self.temperature.problems("rl.temperature", is_positive, "above 0"));
        let positive = [("clip_range", self.clip_range), ("importance_cap", self.importance_cap)];
        for (key, _) in positive.iter().filter(|(_, value)| !is_positive(*value)) {
            problems.push(format!("`rl.{key}` must be above 0"));
        }
        problems.extend(RewardSource::problems(&self.rewards, "rl.rewards"));
        problems.extend(ConstraintConfig::problems(&self.constraints, "rl.constraints"));
        problems.extend(self.kl.problems());
        problems.extend(self.monitor.problems());
        problems.extend(self.entropy_coefficient.problems("rl.entropy_coefficient"));
        problems.extend(self.scores.problems("rl.scores"));
        problems.extend(self.ptx.iter().flat_map(|it| it.problems("rl.ptx")));
        problems.extend(self.kl_rate.iter().flat_map(|it| it.problems("rl.kl_rate")));
        problems.extend(self.guards.problems("rl.guards"));
        problems.extend(self.ema.iter().flat_map(|it| it.problems("rl.ema")));
        problems.extend(self.wrong_combinations());
        problems.extend(self.trpo.iter().flat_map(|it| it.problems("rl.trpo")));
        problems
    }

    fn wrong_combinations(&self) -> Vec<String> {
        let (region, needs_values) = (self.trpo.is_some(), self.advantage.needs_values());
        let asks_lora = self.trpo.is_some_and(|it| it.parameters == Trained::Lora);
        let rules = [
            (
                self.advantage.compares() && self.samples_per_prompt < 2,
                "`rl.samples_per_prompt` must be above 1: `rl.advantage` compares completions of a prompt",
            ),
            (
                self.policy_loss == PolicyLoss::Cispo && self.ratio_cap.is_none(),
                "`rl.ratio_cap` is missing: `rl.policy_loss` \"cispo\" cuts at it",
            ),
            (
                !self.constraints.is_empty()
                    && (self.checkpoints.use_best || self.checkpoints.patience > 0),
                "`rl.checkpoints.use_best` must be false and `patience` 0 with `rl.constraints`: evaluations are \
                 compared by their reward, whatever it costs",
            ),
            (self.ema.is_some() && self.lora.is_some(), "`rl.ema` can't be used with `rl.lora`"),
            (
                self.value_warmup_steps > 0 && !self.has_value_model(),
                "`rl.value_warmup_steps` must be 0: no value model learns apart from the policy",
            ),
            (
                self.value_head && !needs_values,
                "`rl.value_head` must be false: `rl.advantage` needs no values",
            ),
            (
                self.value_head && region,
                "`rl.value_head` must be false with `rl.trpo`: its step would move the values, too",
            ),
            (
                region && self.ptx.is_some(),
                "`rl.ptx` can't be used with `rl.trpo`, which has no loss",
            ),
            (
                region && !self.entropy_coefficient.is_none(),
                "`rl.entropy_coefficient` must be 0 with `rl.trpo`, which has no loss",
            ),
            (
                region && self.kl_placement == KlPlacement::Loss,
                "`rl.kl_placement` must be \"reward\" with `rl.trpo`, which has no loss",
            ),
            (
                asks_lora && self.lora.is_none(),
                "`rl.trpo.parameters` is \"lora\", but there is no `[rl.lora]` with adapters",
            ),
        ];
        let broken = rules.into_iter().filter(|(is_broken, _)| *is_broken);
        let broken = broken.map(|(_, problem)| problem.to_owned());
        broken.chain(self.advantage.problem()).chain(self.too_small()).collect()
    }

    fn too_small(&self) -> Vec<String> {
        let above = [
            ("clip_range_high", self.clip_range_high, 0.0),
            ("dual_clip", self.dual_clip, 1.0),
            ("ratio_cap", self.ratio_cap, 1.0),
        ];
        let is_broken = |value: Option<f32>, least: f32| {
            value.is_some_and(|it| !(it > least && it.is_finite()))
        };
        let broken = above.into_iter().filter(|(_, value, least)| is_broken(*value, *least));
        broken.map(|(key, _, least)| format!("`rl.{key}` must be above {least}")).collect()
    }

    fn indivisible(&self) -> Option<String> {
        let (rows, minibatches) = (self.rows_per_step(), self.minibatches);
        let (minibatch_rows, micro) = (self.minibatch_rows(), self.micro_batch_rows);
        if !rows.is_multiple_of(minibatches) {
            return Some(format!(
                "`rl.minibatches` ({minibatches}) does not divide the {rows} completions of a step \
                 (`rl.prompts_per_step` × `rl.samples_per_prompt`)"
            ));
        }
        (!minibatch_rows.is_multiple_of(micro)).then(|| {
            format!(
                "`rl.micro_batch_rows` ({micro}) does not divide the {minibatch_rows} completions \
                 of a minibatch"
            )
        })
    }
}
