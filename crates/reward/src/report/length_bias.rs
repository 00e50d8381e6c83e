use serde::Serialize;

use super::statistics::{Correlation, Z, spearman};
use crate::logistic::sigmoid;

/// How much length counts: for people and for the model, in pairs of completions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LengthBias {
    /// How people's choices follow from length.
    pub of_people: Option<Coefficient>,
    /// How the model's choices do.
    pub of_model: Option<Coefficient>,
    /// Rank correlation of scores and lengths over all completions.
    pub correlation: Option<Correlation>,
}

/// The slope of a logistic regression without intercept of who wins on `(l_a − l_b) / (l_a + l_b)`, divided by its
/// deviation: log-odds of the longer one for each deviation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Coefficient {
    /// The slope; 0 where length doesn't count.
    pub value: f64,
    /// Lower end of its 95 % interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Two completions of which people prefer the first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contest {
    pub(super) lengths: [f64; 2],
    pub(super) margin: f64,
}

impl LengthBias {
    pub(super) fn of(contests: &[Contest], scores: &[f32], lengths: &[usize]) -> Self {
        let relative = |it: &Contest| match it.lengths {
            [first, second] if first + second > 0.0 => (first - second) / (first + second),
            _ => 0.0,
        };
        let mut people: Vec<f64> = contests.iter().map(relative).collect();
        let square = people.iter().map(|it| it * it).sum::<f64>() / people.len() as f64;
        people.iter_mut().for_each(|it| *it /= square.sqrt());
        let chosen = |(it, contest): (&f64, &Contest)| if contest.margin < 0.0 { -it } else { *it };
        let model: Vec<f64> = people.iter().zip(contests).map(chosen).collect();
        let scores: Vec<f64> = scores.iter().map(|it| f64::from(*it)).collect();
        let lengths: Vec<f64> = lengths.iter().map(|it| *it as f64).collect();
        Self {
            of_people: Coefficient::of(&people),
            of_model: Coefficient::of(&model),
            correlation: spearman(&scores, &lengths),
        }
    }
}

impl Coefficient {
    /// Of the regressor of each contest, seen from its winner. A ridge of 0.01 keeps it finite where the longer one
    /// always wins; `None` where lengths don't differ.
    fn of(regressors: &[f64]) -> Option<Self> {
        const RIDGE: f64 = 0.01;
        if !regressors.iter().all(|it| it.is_finite()) || regressors.iter().all(|it| *it == 0.0) {
            return None;
        }
        let (mut value, mut curvature) = (0.0, 1.0);
        for _ in 0..50 {
            let slope = |x: &f64| x * sigmoid(-value * x);
            let bend = |x: &f64| x * x * sigmoid(value * x) * sigmoid(-value * x);
            let gradient: f64 = regressors.iter().map(slope).sum::<f64>() - RIDGE * value;
            curvature = regressors.iter().map(bend).sum::<f64>() + RIDGE;
            // A step of Newton's, no longer than what keeps it from running away.
            value += (gradient / curvature).clamp(-1.0, 1.0);
        }
        let half = Z / curvature.sqrt();
        Some(Self { value, low: value - half, high: value + half })
    }
}
