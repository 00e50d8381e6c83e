//! Losses of completions with grades.

use burn::prelude::*;
use burn::tensor::activation::log_sigmoid;
use rein_model::backend::LmBackend;

use crate::RewardError;
use crate::encoding::Scored;
use crate::logistic::sigmoid;
use crate::objective::{GradeLoss, LossConfig};

/// How grades are read.
#[derive(Clone, Debug, PartialEq)]
pub enum Grades {
    /// As deviations from the mean of those that are trained on.
    Standard {
        /// The mean.
        mean: f64,
        /// The standard deviation.
        std: f64,
    },
    /// As places among these, from the lowest to the highest.
    Levels(Vec<f32>),
}

/// Levels that an ordinal loss can tell apart, at most.
const MOST_LEVELS: usize = 100;

impl Grades {
    /// Grades as they are.
    pub const NONE: Self = Self::Standard { mean: 0.0, std: 1.0 };

    /// How these are read.
    ///
    /// # Errors
    /// Grades outside of their range, all equal, or of too many levels.
    pub fn of(rows: &[Scored], config: &LossConfig) -> Result<Self, RewardError> {
        let refuse = |reason: String| Err(RewardError::Invalid(reason));
        if let Some([low, high]) = config.score_range {
            let is_out = |row: &&Scored| !(low..=high).contains(&row.score);
            let n_out = rows.iter().filter(is_out).count();
            if let Some(first) = rows.iter().find(is_out) {
                return refuse(format!(
                    "{n_out} of {} scores lie outside of `reward.loss.score_range` = [{low}, {high}], the first is \
                     {}; mend the rows or the range",
                    rows.len(),
                    first.score
                ));
            }
        }
        let mut levels: Vec<f32> = rows.iter().map(|row| row.score).collect();
        levels.sort_by(f32::total_cmp);
        levels.dedup();
        if levels.len() < 2 {
            return refuse("all scores are the same; a reward model needs better and worse".into());
        }
        if config.score != GradeLoss::Ordinal {
            return Ok(Self::standard_of(rows));
        }
        if levels.len() > MOST_LEVELS {
            let found = levels.len();
            return refuse(format!(
                "`reward.loss.score` = \"ordinal\" is for at most {MOST_LEVELS} levels, but there are {found} \
                 different scores; round them, or use \"mse\" or \"huber\""
            ));
        }
        Ok(Self::Levels(levels))
    }

    fn standard_of(rows: &[Scored]) -> Self {
        let count = rows.len() as f64;
        let mean = rows.iter().map(|row| f64::from(row.score)).sum::<f64>() / count;
        let square = |row: &Scored| (f64::from(row.score) - mean).powi(2);
        Self::Standard { mean, std: (rows.iter().map(square).sum::<f64>() / count).sqrt() }
    }

    /// The grade in deviations from the mean.
    pub(crate) fn standard(&self, score: f32) -> f32 {
        match self {
            Self::Standard { mean, std } => ((f64::from(score) - mean) / std) as f32,
            Self::Levels(_) => score,
        }
    }

    /// The grade's place among the levels; the nearest of one that nobody gave in training.
    pub(crate) fn level(&self, score: f32) -> usize {
        let Self::Levels(levels) = self else { return 0 };
        let distance = |level: &usize| (levels[*level] - score).abs();
        let nearest = (0..levels.len()).min_by(|a, b| distance(a).total_cmp(&distance(b)));
        nearest.unwrap_or(0)
    }
}

/// `(s − y)²`, all `[rows]`.
pub fn squared<B: LmBackend>(scores: Tensor<B, 1>, targets: Tensor<B, 1>) -> Tensor<B, 1> {
    (scores - targets).square()
}

/// `½ e²` where the error `e = s − y` is at most `δ`, else `δ (|e| − ½ δ)` (Huber, 1964), all `[rows]`. As in PyTorch,
/// it is half of [`squared`] for small errors.
pub fn huber<B: LmBackend>(
    scores: Tensor<B, 1>,
    targets: Tensor<B, 1>,
    delta: f64,
) -> Tensor<B, 1> {
    let size = (scores - targets).abs();
    // With m = min(|e|, δ) both are m |e| − ½ m².
    let near = size.clone().clamp_max(delta);
    let far = size - near.clone();
    near.clone().square() * 0.5 + far * delta
}

/// The cumulative logit model (McCullagh, 1980): `P(level ≤ k) = σ(θ_k − s)`, and the loss is
///
/// `−log(σ(θ_k − s) − σ(θ_{k−1} − s)) = −log σ(θ_k − s) − log σ(s − θ_{k−1}) − log(1 − e^{θ_{k−1} − θ_k})`
///
/// with `θ_{−1} = −∞` below the first level and `∞` above the last one.
///
/// # Shapes
/// - `scores`, returns: `[rows]`; `levels`: one for each row, from 0
pub fn ordinal<B: LmBackend>(
    scores: Tensor<B, 1>,
    levels: &[usize],
    thresholds: &Thresholds,
) -> Tensor<B, 1> {
    /// As good as endless: the logarithm of its sigmoid is 0, and its slope, too.
    const FAR: f64 = 1e6;
    let device = scores.device();
    let [mut below, mut above, mut between] = [const { Vec::<f32>::new() }; 3];
    for level in levels {
        let [low, high] = thresholds.around(*level);
        below.push(low.unwrap_or(-FAR) as f32);
        above.push(high.unwrap_or(FAR) as f32);
        let gap = low.zip(high).map_or(0.0, |(low, high)| (-(low - high).exp()).ln_1p());
        between.push(gap as f32);
    }
    let numbers = |values: &[f32]| Tensor::<B, 1>::from_data(values, &device);
    let is_below = log_sigmoid(numbers(&above) - scores.clone());
    let is_above = log_sigmoid(scores - numbers(&below));
    (is_below + is_above + numbers(&between)).neg()
}

/// The borders between levels, which rise. What is learned is the first one and the logarithms of the others' distances
/// from the one before, so that they stay in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Thresholds(Vec<f64>);

impl Thresholds {
    /// Those that these free numbers stand for.
    pub fn of(free: &[f64]) -> Self {
        let mut last = 0.0;
        let threshold = |(place, free): (usize, &f64)| {
            last = if place == 0 { *free } else { last + free.exp() };
            last
        };
        Self(free.iter().enumerate().map(threshold).collect())
    }

    /// Those at which levels are as frequent as in these rows, where all scores are 0.
    pub fn fitting(n_levels: usize, rows: impl IntoIterator<Item = usize>) -> Self {
        let mut counts = vec![0.0_f64; n_levels];
        rows.into_iter().for_each(|level| counts[level] += 1.0);
        let total: f64 = counts.iter().sum();
        let mut n_below = 0.0;
        let logit = |count: &f64| {
            n_below += count;
            (n_below / (total - n_below)).ln()
        };
        Self(counts[..n_levels - 1].iter().map(logit).collect())
    }

    /// The borders, from the lowest.
    pub fn values(&self) -> &[f64] {
        &self.0
    }

    /// The free numbers.
    pub(crate) fn into_free(self) -> Vec<f64> {
        let distance = |pair: &[f64]| (pair[1] - pair[0]).ln();
        let first = self.0.first().copied();
        first.into_iter().chain(self.0.windows(2).map(distance)).collect()
    }

    /// The borders below and above a level.
    fn around(&self, level: usize) -> [Option<f64>; 2] {
        [level.checked_sub(1).and_then(|it| self.0.get(it)), self.0.get(level)]
            .map(Option::<&f64>::copied)
    }

    /// The slopes of a row's [`ordinal`] loss to the free numbers.
    pub(crate) fn slopes(&self, level: usize, score: f64) -> Vec<f64> {
        let mut slopes = vec![0.0; self.0.len()];
        let [low, high] = self.around(level);
        let apart = low.zip(high).map_or(0.0, |(low, high)| 1.0 / ((high - low).exp() - 1.0));
        if let Some(high) = high {
            slopes[level] = -sigmoid(score - high) - apart;
        }
        if let Some(low) = low {
            slopes[level - 1] = sigmoid(low - score) + apart;
        }
        // A free number moves its border and all above it.
        for place in (0..slopes.len().saturating_sub(1)).rev() {
            slopes[place] += slopes[place + 1];
        }
        for (place, pair) in self.0.windows(2).enumerate() {
            slopes[place + 1] *= pair[1] - pair[0];
        }
        slopes
    }
}
