//! Learning rates by step.

use serde::{Deserialize, Serialize};

/// How the learning rate changes over a stage, with transformers' names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// The same all the time, without a warm-up.
    Constant,
    /// A warm-up, then the same all the time.
    ConstantWithWarmup,
    /// A warm-up, then down to zero in a line.
    #[default]
    Linear,
    /// A warm-up, then down to zero along half a cosine.
    Cosine,
    /// A warm-up, then down to `min_lr_rate` of the highest rate along half a cosine.
    CosineWithMinLr,
}

impl Schedule {
    /// The factor of the learning rate at `step`, counted from 0: transformers' schedules, in which
    /// a warm-up begins at zero. `floor` is where [`Schedule::CosineWithMinLr`] ends.
    pub fn factor(self, step: usize, n_warmup: usize, n_steps: usize, floor: f64) -> f64 {
        if self != Self::Constant && step < n_warmup {
            return step as f64 / n_warmup as f64;
        }
        let n_left = n_steps.saturating_sub(n_warmup).max(1);
        let share = step.saturating_sub(n_warmup) as f64 / n_left as f64;
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * share).cos());
        match self {
            Self::Constant | Self::ConstantWithWarmup => 1.0,
            Self::Linear => (1.0 - share).max(0.0),
            Self::Cosine => cosine.max(0.0),
            Self::CosineWithMinLr => cosine * (1.0 - floor) + floor,
        }
    }
}
