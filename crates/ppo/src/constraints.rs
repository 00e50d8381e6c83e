//! Limits to what a policy may cost, kept by multipliers that adapt: Safe-RLHF (Dai et al., 2023).
//!
//! Costs are rewards of which there shall be little: parts of a mixture, mostly with the weight 0. The policy
//! is to have the most reward `r` of all whose mean cost is at most the limit, `max_π min_{λ≥0} E[r − λ (c − limit)]`.
//! So a step learns from
//!
//! `s = (r − Σ λᵢ cᵢ) / (1 + Σ λᵢ)`
//!
//! whose size doesn't grow with the multipliers, and each multiplier then follows its cost.

use rein_data::log::Metrics;
use rein_reward::Reward;
use serde::{Deserialize, Serialize};

use crate::PpoError;

/// A limit to a mean cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConstraintConfig {
    /// The name of the reward that says what completions cost, as metrics have it.
    pub cost: String,
    /// The most that completions may cost on average.
    pub limit: f64,
    /// How fast the multiplier's logarithm changes (`η`).
    #[serde(default = "defaults::learning_rate")]
    pub learning_rate: f64,
    /// The multiplier of the first step.
    #[serde(default = "defaults::initial")]
    pub initial: f64,
    /// The multiplier stays within these bounds.
    #[serde(default = "defaults::min")]
    pub min: f64,
    /// The largest multiplier.
    #[serde(default = "defaults::max")]
    pub max: f64,
    /// What a step's mean cost leaves of the moving mean before it: 0 for the last step's cost alone.
    #[serde(default = "defaults::decay")]
    pub decay: f64,
}

mod defaults {
    pub(super) fn learning_rate() -> f64 {
        0.1
    }
    pub(super) fn initial() -> f64 {
        1.0
    }
    pub(super) fn min() -> f64 {
        0.01
    }
    pub(super) fn max() -> f64 {
        5.0
    }
    pub(super) fn decay() -> f64 {
        0.5
    }
}

impl ConstraintConfig {
    /// A limit to the mean of the reward with this name.
    pub fn new(cost: impl Into<String>, limit: f64) -> Self {
        Self {
            cost: cost.into(),
            limit,
            learning_rate: defaults::learning_rate(),
            initial: defaults::initial(),
            min: defaults::min(),
            max: defaults::max(),
            decay: defaults::decay(),
        }
    }

    /// What is wrong with a list of them, which stands at `key`.
    pub fn problems(constraints: &[Self], key: &str) -> Vec<String> {
        let mut problems = Vec::new();
        for (place, it) in constraints.iter().enumerate() {
            let positive = |value: f64| value > 0.0 && value.is_finite();
            let within = it.min <= it.initial && it.initial <= it.max;
            let rules = [
                (it.limit.is_finite(), "limit", "a finite number"),
                (positive(it.learning_rate), "learning_rate", "above 0"),
                (positive(it.min) && it.max.is_finite(), "min", "above 0, and `max` finite"),
                (within, "initial", "within `min` and `max`"),
                ((0.0..1.0).contains(&it.decay), "decay", "within 0..1"),
            ];
            let broken = rules.into_iter().filter(|(fine, ..)| !fine);
            let cost = &it.cost;
            problems.extend(
                broken
                    .map(|(_, name, rule)| format!("`{key}.{name}` of \"{cost}\" must be {rule}")),
            );
            if constraints[..place].iter().any(|other| other.cost == it.cost) {
                problems.push(format!("`{key}` limits \"{cost}\" twice"));
            }
        }
        problems
    }
}

/// The limits of a run and their multipliers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Constraints(Vec<Constraint>);

#[derive(Clone, Debug, PartialEq)]
struct Constraint {
    config: ConstraintConfig,
    /// Which part of the reward it is.
    part: usize,
    state: MultiplierState,
}

/// All of a multiplier that has to be saved.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MultiplierState {
    /// `ln λ`
    log_multiplier: f64,
    /// The moving mean of the cost, once there was one.
    cost: Option<f64>,
}

impl Constraints {
    /// Limits to parts of a reward, before any step.
    ///
    /// # Errors
    /// A limit to something that isn't a part of it.
    pub fn new(configs: &[ConstraintConfig], reward: &dyn Reward) -> Result<Self, PpoError> {
        let names: Vec<&str> = reward.parts().iter().map(|it| it.reward.name()).collect();
        let one = |config: &ConstraintConfig| -> Result<Constraint, PpoError> {
            let part = names.iter().position(|name| *name == config.cost).ok_or_else(|| {
                let cost = &config.cost;
                let all = if names.is_empty() { "only one".into() } else { names.join(", ") };
                PpoError::Invalid(format!(
                    "`rl.constraints` limits \"{cost}\", but no such reward is asked ({all}): name it in \
                     `rl.rewards`, with the weight 0 if it shall only be limited"
                ))
            })?;
            let state = MultiplierState { log_multiplier: config.initial.ln(), cost: None };
            Ok(Constraint { config: config.clone(), part, state })
        };
        Ok(Self(configs.iter().map(one).collect::<Result<_, _>>()?))
    }

    /// Whether nothing is limited.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The multipliers as they are.
    pub fn multipliers(&self) -> Vec<f64> {
        self.0.iter().map(|it| it.state.log_multiplier.exp()).collect()
    }

    /// What a completion with these scores of the reward's parts counts for, and what a part of its score
    /// does: `(r − Σ λ c) / (1 + Σ λ)` and `1 / (1 + Σ λ)`.
    ///
    /// # Panics
    /// A completion of which costs aren't known.
    pub fn apply(&self, score: f64, part_scores: &[f32]) -> (f64, f64) {
        let costs = self.0.iter().map(|it| f64::from(part_scores[it.part]));
        let multipliers = self.multipliers();
        let price: f64 =
            multipliers.iter().zip(costs).map(|(multiplier, cost)| multiplier * cost).sum();
        let factor = 1.0 / (1.0 + multipliers.iter().sum::<f64>());
        ((score - price) * factor, factor)
    }

    /// Hears of a step that learned, by the scores of the reward's parts of each completion:
    /// `ln λ ← ln λ + η λ (C − limit)` with the moving mean `C` of the cost.
    pub fn observe<'a>(&mut self, part_scores: impl Iterator<Item = &'a [f32]> + Clone) {
        for Constraint { config, part, state } in &mut self.0 {
            let costs = part_scores.clone().map(|it| f64::from(it[*part]));
            let (sum, count) = costs.fold((0.0, 0.0), |(sum, count), it| (sum + it, count + 1.0));
            if count == 0.0 {
                continue;
            }
            let now = sum / count;
            let mean = state.cost.map_or(now, |before| now + config.decay * (before - now));
            let push = config.learning_rate * state.log_multiplier.exp() * (mean - config.limit);
            let log = state.log_multiplier + push;
            state.log_multiplier = log.clamp(config.min.ln(), config.max.ln());
            state.cost = Some(mean);
        }
    }

    /// What has to be saved, in the config's order.
    pub fn state(&self) -> Vec<MultiplierState> {
        self.0.iter().map(|it| it.state).collect()
    }

    /// Continues from what was saved; constraints that weren't there then begin anew.
    pub fn restore(&mut self, states: &[MultiplierState]) {
        self.0.iter_mut().zip(states).for_each(|(it, state)| it.state = *state);
    }

    /// The metrics of the means that are limited.
    pub(crate) fn metrics(&self) -> Vec<String> {
        self.0.iter().map(|it| format!("rewards/{}/mean", it.config.cost)).collect()
    }

    /// Each multiplier as it is now.
    pub(crate) fn describe_multipliers(&self, metrics: &mut Metrics) {
        for it in &self.0 {
            metrics.push(self.metric(it, "lambda"), it.state.log_multiplier.exp());
        }
    }

    /// The moving mean of each cost.
    pub(crate) fn describe_costs(&self, metrics: &mut Metrics) {
        for it in &self.0 {
            if let Some(cost) = it.state.cost {
                metrics.push(self.metric(it, "cost"), cost);
            }
        }
    }

    /// With the cost's name where there are several.
    fn metric(&self, constraint: &Constraint, what: &str) -> String {
        match self.0.len() {
            1 => format!("constraint/{what}"),
            _ => format!("constraint/{}/{what}", constraint.config.cost),
        }
    }
}

#[cfg(test)]
mod tests {
    use rein_data::example::Completion;
    use rein_reward::{Mixture, RewardError, Weighted};

    use super::*;

    struct Named(&'static str);

    impl Reward for Named {
        fn name(&self) -> &str {
            self.0
        }

        fn score(&self, completions: &[Completion]) -> Result<Vec<f32>, RewardError> {
            Ok(vec![0.0; completions.len()])
        }
    }

    fn mixture() -> Mixture {
        let part = |(name, weight)| Weighted { weight, reward: Box::new(Named(name)) };
        let parts = [("good", 1.0), ("harm", 0.0), ("length", 0.0)].map(part);
        Mixture::new(parts.into()).expect("mixes")
    }

    fn limited(configs: &[ConstraintConfig]) -> Constraints {
        Constraints::new(configs, &mixture()).expect("are parts")
    }

    #[test]
    fn scores_are_those_of_the_paper() {
        let configs = [
            ConstraintConfig { initial: 3.0, ..ConstraintConfig::new("length", 0.0) },
            ConstraintConfig { initial: 0.5, ..ConstraintConfig::new("harm", 0.0) },
        ];
        let constraints = limited(&configs);
        // (2 − 3 · 0.25 − 0.5 · 4) / (1 + 3.5)
        let (score, factor) = constraints.apply(2.0, &[2.0, 4.0, 0.25]);
        assert!((score - (-0.75 / 4.5)).abs() < 1e-12 && (factor - 1.0 / 4.5).abs() < 1e-12);
        assert_eq!(limited(&[]).apply(2.0, &[]), (2.0, 1.0));
    }

    #[test]
    fn multipliers_follow_the_moving_mean_of_their_cost() {
        let config = ConstraintConfig { decay: 0.75, ..ConstraintConfig::new("harm", 1.0) };
        let mut constraints = limited(&[config]);
        let rows = |cost: f32| [[0.0, cost, 0.0], [0.0, cost + 1.0, 0.0]];
        let observe = |constraints: &mut Constraints, cost| {
            constraints.observe(rows(cost).iter().map(<[f32; 3]>::as_slice));
            constraints.multipliers()[0].ln()
        };
        // Mean 3.5, 2.5 over the limit, and λ = 1: 0.1 · 2.5.
        let first = observe(&mut constraints, 3.0);
        assert!((first - 0.25).abs() < 1e-12);
        // 0.75 · 3.5 + 0.25 · 0.5 = 2.75.
        let second = observe(&mut constraints, 0.0);
        assert!((second - (first + 0.1 * first.exp() * 1.75)).abs() < 1e-12);
        let mut metrics = Metrics::default();
        constraints.describe_costs(&mut metrics);
        assert_eq!(metrics.get("constraint/cost"), Some(2.75));
        let saved = serde_json::to_string(&constraints.state()).expect("is plain JSON");
        let mut resumed = limited(&[constraints.0[0].config.clone()]);
        resumed.restore(&serde_json::from_str::<Vec<_>>(&saved).expect("reads"));
        assert_eq!(resumed, constraints);
        for _ in 0..200 {
            observe(&mut constraints, 50.0);
        }
        assert!((constraints.multipliers()[0] - 5.0).abs() < 1e-12, "never above its maximum");
        for _ in 0..200 {
            observe(&mut constraints, -50.0);
        }
        assert!((constraints.multipliers()[0] - 0.01).abs() < 1e-12, "never below its minimum");
    }

    #[test]
    fn what_cannot_be_limited_is_refused() {
        let error = Constraints::new(&[ConstraintConfig::new("cost", 0.0)], &mixture());
        let error = error.expect_err("is refused").to_string();
        assert!(error.contains("\"cost\"") && error.contains("(good, harm, length)"), "{error}");
        let bad =
            ConstraintConfig { initial: 9.0, decay: 1.0, ..ConstraintConfig::new("a", f64::NAN) };
        assert_eq!(
            ConstraintConfig::problems(&[bad, ConstraintConfig::new("a", 0.0)], "rl.constraints"),
            [
                "`rl.constraints.limit` of \"a\" must be a finite number",
                "`rl.constraints.initial` of \"a\" must be within `min` and `max`",
                "`rl.constraints.decay` of \"a\" must be within 0..1",
                "`rl.constraints` limits \"a\" twice",
            ]
        );
    }
}
