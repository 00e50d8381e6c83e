use serde::{Deserialize, Serialize};

use crate::encoding::Judgements;

/// What judgements cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LossConfig {
    /// How probable it is taken to be that a pair's judgement is wrong, from 0 to below 0.5.
    pub label_smoothing: f64,
    /// How pairs count of which neither side is better.
    pub ties: Ties,
    /// Davidson's `ν`; learned if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tie_nu: Option<f64>,
    /// The loss of rankings.
    pub ranking: RankingLoss,
    /// The loss of scores.
    pub score: GradeLoss,
    /// Where the Huber loss becomes a line, in deviations of the scores.
    pub huber_delta: f64,
    /// The lowest and the highest score that there can be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score_range: Option<[f32; 2]>,
    /// What the loss of a completion that is labelled good is multiplied by.
    pub positive_weight: PositiveWeight,
}

/// How pairs count of which neither side is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ties {
    /// Half for each side.
    Half,
    /// As a third outcome, whose probability falls as scores differ (Davidson, 1970).
    Davidson,
}

/// The loss of several completions of one prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RankingLoss {
    /// The mean loss of all pairs (Ouyang et al., 2022).
    AllPairs,
    /// One choice after the other (Plackett, 1975; Luce, 1959).
    PlackettLuce,
}

/// The loss of scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GradeLoss {
    /// The square of the error, in deviations.
    Mse,
    /// The same, but for large errors their size (Huber, 1964).
    Huber,
    /// The logarithm of the score's probability in a cumulative logit model (McCullagh, 1980).
    Ordinal,
}

/// What the loss of a good completion is multiplied by.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PositiveWeight {
    /// This.
    Number(f32),
    /// What follows from the labels.
    Counted(Balance),
}

/// A weight that follows from the labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// Bad completions for each good one, so that both kinds weigh the same.
    Balanced,
}

impl Default for LossConfig {
    fn default() -> Self {
        Self {
            label_smoothing: 0.0,
            ties: Ties::Half,
            tie_nu: None,
            ranking: RankingLoss::AllPairs,
            score: GradeLoss::Mse,
            huber_delta: 1.0,
            score_range: None,
            positive_weight: PositiveWeight::Number(1.0),
        }
    }
}

impl LossConfig {
    /// What is wrong with these settings.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut refuse = |is_wrong: bool, problem: &str| {
            if is_wrong {
                problems.push(format!("`reward.loss.{problem}"));
            }
        };
        let smoothing = self.label_smoothing;
        refuse(!(0.0..0.5).contains(&smoothing), "label_smoothing` must be within 0..0.5");
        let is_positive = |it: f64| it > 0.0 && it.is_finite();
        refuse(self.tie_nu.is_some_and(|it| !is_positive(it)), "tie_nu` must be above 0");
        refuse(
            self.tie_nu.is_some() && self.ties == Ties::Half,
            "tie_nu` belongs to `reward.loss.ties` = \"davidson\"",
        );
        refuse(
            self.ties == Ties::Davidson && self.ranking == RankingLoss::PlackettLuce,
            "ties` = \"davidson\" goes with `reward.loss.ranking` = \"all_pairs\"",
        );
        refuse(!is_positive(self.huber_delta), "huber_delta` must be above 0");
        let is_range = |[low, high]: [f32; 2]| low < high && low.is_finite() && high.is_finite();
        refuse(
            self.score_range.is_some_and(|it| !is_range(it)),
            "score_range` must be two numbers, the lower one first",
        );
        if let PositiveWeight::Number(weight) = self.positive_weight {
            refuse(!is_positive(f64::from(weight)), "positive_weight` must be above 0");
        }
        problems
    }

    /// What good completions are weighed with among these.
    pub(crate) fn positive_weight_of(&self, judgements: &Judgements) -> f32 {
        match (self.positive_weight, judgements) {
            (PositiveWeight::Number(weight), _) => weight,
            (PositiveWeight::Counted(Balance::Balanced), Judgements::Labels(labels)) => {
                let n_good = labels.iter().filter(|label| label.is_good).count();
                (labels.len() - n_good) as f32 / n_good as f32
            }
            _ => 1.0,
        }
    }
}
