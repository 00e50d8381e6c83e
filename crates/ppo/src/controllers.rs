//! What adapts to how a run goes: the prices of leaving the reference, of certainty and of costs, the learning
//! rate, and the scale of scores.

use std::borrow::Cow;

use rein_data::log::Metrics;
use serde::{Deserialize, Serialize};

use crate::config::PpoConfig;
use crate::constraints::{Constraints, MultiplierState};
use crate::exploration::EntropyController;
use crate::hyperparameters::Hyperparameters;
use crate::kl::KlController;
use crate::rollout::Row;
use crate::scores::{RunningMoments, ScoreConfig, ScoreRules};
use crate::stability::KlRate;

/// All that adapts.
#[derive(Clone, Debug)]
pub(crate) struct Controllers {
    kl: KlController,
    entropy: EntropyController,
    rate: Option<KlRate>,
    scores: ScoreRules,
    constraints: Constraints,
}

/// What has to be saved of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ControllersState {
    kl_coefficient: f64,
    #[serde(default)]
    entropy_coefficient: f64,
    #[serde(default = "one")]
    rate_scale: f64,
    #[serde(default)]
    scores: RunningMoments,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    constraints: Vec<MultiplierState>,
}

fn one() -> f64 {
    1.0
}

impl Controllers {
    pub(crate) fn new(config: &PpoConfig, constraints: Constraints) -> Self {
        Self {
            kl: KlController::new(config.kl),
            entropy: EntropyController::new(config.entropy_coefficient),
            rate: config.kl_rate.map(KlRate::new),
            scores: ScoreRules::new(config.scores),
            constraints,
        }
    }

    pub(crate) fn state(&self) -> ControllersState {
        ControllersState {
            kl_coefficient: self.kl.coefficient(),
            entropy_coefficient: self.entropy.coefficient(),
            rate_scale: self.rate.map_or(1.0, |it| it.scale()),
            scores: self.scores.moments(),
            constraints: self.constraints.state(),
        }
    }

    pub(crate) fn restore(&mut self, state: ControllersState) {
        self.kl.restore(state.kl_coefficient);
        self.entropy.restore(state.entropy_coefficient);
        self.rate.iter_mut().for_each(|it| it.restore(state.rate_scale));
        self.scores.restore(state.scores);
        self.constraints.restore(&state.constraints);
    }

    /// The numbers of a step, counted from 0.
    pub(crate) fn at(&self, config: &PpoConfig, step: usize) -> Hyperparameters {
        let scheduled = config.at(step);
        Hyperparameters {
            learning_rate: scheduled.learning_rate * self.rate.map_or(1.0, |it| it.scale()),
            kl_coefficient: self.kl.coefficient(),
            entropy_coefficient: self.entropy.coefficient(),
            ..scheduled
        }
    }

    /// A step's rows with the scores that it learns from.
    pub(crate) fn scored<'a>(&mut self, rows: &'a [Row]) -> Cow<'a, [Row]> {
        let rows = self.limited(rows);
        if self.scores.config() == ScoreConfig::default() {
            return rows;
        }
        let raw: Vec<f64> = rows.iter().map(|row| f64::from(row.score)).collect();
        self.scores.observe(&raw);
        let mut rows = rows.into_owned();
        for row in &mut rows {
            let score = self.scores.apply(f64::from(row.score), row.logprobs.len());
            row.score = score as f32;
            let factor = self.scores.factor();
            row.turn_scores.iter_mut().for_each(|it| *it = (f64::from(*it) * factor) as f32);
        }
        Cow::Owned(rows)
    }

    /// A step's rows with costs taken off their scores.
    fn limited<'a>(&self, rows: &'a [Row]) -> Cow<'a, [Row]> {
        if self.constraints.is_empty() {
            return Cow::Borrowed(rows);
        }
        let mut rows = rows.to_vec();
        for row in &mut rows {
            let (score, factor) = self.constraints.apply(f64::from(row.score), &row.part_scores);
            row.score = score as f32;
            row.turn_scores.iter_mut().for_each(|it| *it = (f64::from(*it) * factor) as f32);
        }
        Cow::Owned(rows)
    }

    /// Hears what a step cost in which the policy could learn.
    pub(crate) fn observe_costs(&mut self, rows: &[Row], metrics: &mut Metrics) {
        self.constraints.observe(rows.iter().map(|row| row.part_scores.as_slice()));
        self.constraints.describe_costs(metrics);
    }

    /// The limits of the run.
    pub(crate) fn constraints(&self) -> &Constraints {
        &self.constraints
    }

    /// Hears of a step that learned: of how many completions, what was told of it, and how far it has led, in
    /// nats a token.
    pub(crate) fn observe(&mut self, n_rows: usize, told: &Metrics, distance: Option<f64>) {
        if let Some(kl) = told.get("objective/kl") {
            self.kl.observe(kl, n_rows);
        }
        if let Some(entropy) = told.get("policy/entropy_avg") {
            self.entropy.observe(entropy);
        }
        if let (Some(rate), Some(distance)) = (&mut self.rate, distance) {
            rate.observe(distance);
        }
    }

    /// What has changed by itself.
    pub(crate) fn describe(&self, config: &PpoConfig, metrics: &mut Metrics) {
        if !config.entropy_coefficient.is_none() {
            metrics.push("entropy_coef", self.entropy.coefficient());
        }
        if config.scores.normalization != crate::scores::Normalization::None {
            metrics.push("scores/running_mean", self.scores.moments().mean);
            metrics.push("scores/running_std", self.scores.moments().std());
        }
        self.constraints.describe_multipliers(metrics);
    }
}
