//! The numbers of one step, after schedules, controllers and guards have spoken.

use crate::config::PpoConfig;

/// The numbers of one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hyperparameters {
    /// The step, counted from 0.
    pub step: usize,
    /// Of both optimisers.
    pub learning_rate: f64,
    /// Divides the logits, when sampling and when scoring alike.
    pub temperature: f32,
    /// Discount of a token's reward per token before it.
    pub gamma: f32,
    /// Decay of GAE.
    pub lambda: f32,
    /// Reward that a nat from the reference costs.
    pub kl_coefficient: f64,
    /// What a nat of the policy's entropy is worth.
    pub entropy_coefficient: f64,
}

impl PpoConfig {
    /// What the settings alone say of a step, counted from 0, before anything adapts.
    pub fn at(&self, step: usize) -> Hyperparameters {
        Hyperparameters {
            step,
            learning_rate: self.optimizer.rate(step, self.steps),
            temperature: self.temperature.at(step),
            gamma: self.gamma.at(step),
            lambda: self.lambda.at(step),
            kl_coefficient: self.kl.initial(),
            entropy_coefficient: self.entropy_coefficient.initial(),
        }
    }

    /// [`at`](Self::at) the end of the run, for what must not change from step to step: evaluations.
    pub fn at_the_end(&self) -> Hyperparameters {
        self.at(self.steps)
    }
}
