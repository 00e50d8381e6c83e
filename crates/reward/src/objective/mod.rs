//! What a batch of judgements costs, by the scores that a model gives to its rows.

mod config;
mod learned;
mod seen;

use burn::prelude::*;
use burn::tensor::activation::log_sigmoid;
use rein_model::backend::LmBackend;
use serde_json::{Map, Value, json};

use crate::RewardError;
use crate::encoding::{Judgements, Label, Pair, Ranking, Scored};
use crate::grades::{self, Grades, Thresholds};
use crate::loss::{binary, centring, differences};
use crate::rankings;
use crate::ties::davidson;
use crate::train::RewardConfig;

pub use self::config::{Balance, GradeLoss, LossConfig, PositiveWeight, RankingLoss, Ties};
pub(crate) use self::learned::Numbers;
pub(crate) use self::seen::Seen;

/// Where a reward model's `config.json` says what it was trained on.
const KEY: &str = "reward_objective";

/// What a run's judgements cost: its settings, what follows from the judgements that are trained on, and the few
/// numbers that are learned beside the model.
#[derive(Clone, Debug)]
pub struct Objective {
    config: LossConfig,
    center: f64,
    /// The mean weight of a judgement that is trained on, by which weights are divided.
    mean_weight: f32,
    /// What the loss of a good completion is multiplied by.
    positive_weight: f32,
    grades: Grades,
    numbers: Numbers,
}

impl Objective {
    /// The objective of these judgements.
    ///
    /// # Errors
    /// Judgements that nothing can be learned from: none, labels of one kind only, grades that are all equal or
    /// outside of their range.
    pub fn new(config: &RewardConfig, train: &Judgements) -> Result<Self, RewardError> {
        check(train)?;
        let loss = &config.loss;
        let grades = match train {
            Judgements::Scores(scores) => Grades::of(scores, loss)?,
            _ => Grades::NONE,
        };
        let weights = train.weights();
        let mean_weight = weights.iter().sum::<f64>() / weights.len() as f64;
        Ok(Self {
            config: loss.clone(),
            center: config.center_rewards_coefficient,
            mean_weight: mean_weight as f32,
            positive_weight: loss.positive_weight_of(train),
            numbers: Numbers::new(initial(loss, train, &grades)),
            grades,
        })
    }

    /// `ln ν` of Davidson's ties, as far as it is learned.
    fn ln_nu(&self) -> f64 {
        let given = self.config.tie_nu.map(f64::ln);
        given.unwrap_or_else(|| self.numbers.values().first().copied().unwrap_or(0.0))
    }

    fn thresholds(&self) -> Thresholds {
        Thresholds::of(self.numbers.values())
    }

    fn weight(&self, weight: Option<f32>) -> f32 {
        weight.unwrap_or(1.0) / self.mean_weight
    }

    /// The probability that a pair's loss aims at: what people said, smoothed.
    fn target(&self, pair: &Pair) -> f32 {
        let said = pair.chosen_probability.unwrap_or(1.0);
        let smoothing = self.config.label_smoothing as f32;
        if smoothing == 0.0 || self.is_tie(pair) {
            return said;
        }
        (1.0 - smoothing) * said + smoothing * (1.0 - said)
    }

    fn is_tie(&self, pair: &Pair) -> bool {
        self.config.ties == Ties::Davidson && pair.chosen_probability == Some(0.5)
    }

    /// Learns the numbers beside the model from the scores that a whole batch got; `rate` is that of the step, as
    /// a share of the highest.
    pub(crate) fn learn(&mut self, batch: &Judgements, seen: &Seen, rate: f64) {
        let gradient = self.gradient(batch, seen.scores());
        self.numbers.update(&gradient, rate);
    }

    /// The gradient of the batch's mean loss to the learned numbers, in closed form; `scores` hold a list for each
    /// judgement. Empty where only the model learns.
    pub fn gradient(&self, batch: &Judgements, scores: &[Vec<f32>]) -> Vec<f64> {
        let mut sum = vec![0.0; self.numbers.values().len()];
        if sum.is_empty() {
            return sum;
        }
        let mut add = |values: &[f64], weight: f32| {
            for (sum, value) in sum.iter_mut().zip(values) {
                *sum += f64::from(weight) * value / scores.len() as f64;
            }
        };
        match batch {
            Judgements::Pairs(pairs) => {
                for (pair, scores) in pairs.iter().zip(scores) {
                    let margin = pair.margin.unwrap_or(0.0);
                    let difference = f64::from(scores[0] - scores[1] - margin);
                    let slope = davidson_slope(difference, self.ln_nu(), self.is_tie(pair));
                    add(&[slope], self.weight(pair.weight));
                }
            }
            Judgements::Rankings(all) => {
                for (ranking, scores) in all.iter().zip(scores) {
                    let slope = rankings::tie_slope(&ranking.ranks, scores, self.ln_nu());
                    add(&[slope], self.weight(ranking.weight));
                }
            }
            Judgements::Scores(all) => {
                let thresholds = self.thresholds();
                for (row, scores) in all.iter().zip(scores) {
                    let level = self.grades.level(row.score);
                    let slopes = thresholds.slopes(level, f64::from(scores[0]));
                    add(&slopes, self.weight(row.weight));
                }
            }
            Judgements::Labels(_) => {}
        }
        sum
    }

    /// What was learned beside the model, for its `config.json`.
    pub(crate) fn to_json(&self, train: &Judgements) -> Map<String, Value> {
        let told = match train {
            Judgements::Pairs(_) | Judgements::Rankings(_)
                if self.config.ties == Ties::Davidson =>
            {
                json!({ "ties": "davidson", "nu": self.ln_nu().exp() })
            }
            Judgements::Scores(_) => match &self.grades {
                Grades::Standard { mean, std } => json!({ "score_mean": mean, "score_std": std }),
                Grades::Levels(levels) => {
                    json!({ "levels": levels, "thresholds": self.thresholds().values() })
                }
            },
            _ => return Map::new(),
        };
        Map::from_iter([(KEY.to_owned(), told)])
    }

    /// The learned numbers and what their optimiser knows; none where only the model learns.
    pub(crate) fn numbers(&self) -> Option<&Numbers> {
        (!self.numbers.values().is_empty()).then_some(&self.numbers)
    }

    /// Goes on with these numbers.
    pub(crate) fn restore(&mut self, numbers: Option<Numbers>) {
        if let Some(numbers) = numbers {
            self.numbers = numbers;
        }
    }
}

/// `∂ℓ/∂ln ν` of one pair: how probable a tie is held, less whether it is one.
pub(crate) fn davidson_slope(difference: f64, ln_nu: f64, is_tie: bool) -> f64 {
    let decided = 2.0 * (difference / 2.0).cosh();
    let nu = ln_nu.exp();
    let tie = if decided.is_finite() { nu / (decided + nu) } else { 0.0 };
    tie - f64::from(u8::from(is_tie))
}

/// Where the learned numbers begin.
fn initial(config: &LossConfig, train: &Judgements, grades: &Grades) -> Vec<f64> {
    let learns_ties = config.ties == Ties::Davidson && config.tie_nu.is_none();
    match (train, grades) {
        (Judgements::Pairs(_), _) if learns_ties => vec![0.0],
        (Judgements::Rankings(_), _) if learns_ties && config.ranking == RankingLoss::AllPairs => {
            vec![0.0]
        }
        (Judgements::Scores(scores), Grades::Levels(levels)) => {
            let of = |row: &Scored| grades.level(row.score);
            Thresholds::fitting(levels.len(), scores.iter().map(of)).into_free()
        }
        _ => Vec::new(),
    }
}

/// The rows to score, in the order in which [`losses`] takes their scores: of pairs, all preferred ones come
/// first.
pub fn scored_rows(batch: &Judgements) -> Vec<&[u32]> {
    match batch {
        Judgements::Pairs(pairs) => {
            let chosen = pairs.iter().map(|pair| pair.chosen.as_slice());
            chosen.chain(pairs.iter().map(|pair| pair.rejected.as_slice())).collect()
        }
        _ => batch.rows(),
    }
}

/// The loss of each judgement, times its weight.
///
/// # Shapes
/// - `scores`: `[rows]`, of [`scored_rows`]
/// - returns: `[judgements]`
pub fn losses<B: LmBackend>(
    objective: &Objective,
    batch: &Judgements,
    scores: Tensor<B, 1>,
) -> Tensor<B, 1> {
    let device = scores.device();
    let numbers = |values: Vec<f32>| Tensor::from_data(values.as_slice(), &device);
    let losses = match batch {
        Judgements::Pairs(pairs) => pair_losses(objective, pairs, scores),
        Judgements::Labels(labels) => {
            let sign = |it: &Label| if it.is_good { 1.0 } else { -1.0 };
            binary(scores, numbers(labels.iter().map(sign).collect()))
        }
        Judgements::Rankings(all) => ranking_losses(objective, all, scores),
        Judgements::Scores(all) => grade_losses(objective, all, scores),
    };
    let weights = weights(objective, batch);
    if weights.iter().all(|it| *it == 1.0) { losses } else { losses * numbers(weights) }
}

fn weights(objective: &Objective, batch: &Judgements) -> Vec<f32> {
    match batch {
        Judgements::Pairs(all) => all.iter().map(|it| objective.weight(it.weight)).collect(),
        Judgements::Labels(all) => {
            let balance = |it: &Label| if it.is_good { objective.positive_weight } else { 1.0 };
            all.iter().map(|it| objective.weight(it.weight) * balance(it)).collect()
        }
        Judgements::Rankings(all) => all.iter().map(|it| objective.weight(it.weight)).collect(),
        Judgements::Scores(all) => all.iter().map(|it| objective.weight(it.weight)).collect(),
    }
}

fn pair_losses<B: LmBackend>(
    objective: &Objective,
    pairs: &[Pair],
    scores: Tensor<B, 1>,
) -> Tensor<B, 1> {
    let device = scores.device();
    let numbers = |values: Vec<f32>| Tensor::from_data(values.as_slice(), &device);
    let margins = numbers(pairs.iter().map(|it| it.margin.unwrap_or(0.0)).collect());
    let chosen = scores.clone().narrow(0, 0, pairs.len());
    let rejected = scores.narrow(0, pairs.len(), pairs.len());
    let difference = differences(chosen.clone(), rejected.clone(), Some(margins));
    let targets: Vec<f32> = pairs.iter().map(|it| objective.target(it)).collect();
    let loss = match objective.config.ties {
        Ties::Half if targets.iter().all(|it| *it == 1.0) => log_sigmoid(difference).neg(),
        Ties::Half => crate::loss::soft(difference, numbers(targets)),
        Ties::Davidson => {
            let ties = pairs.iter().map(|it| f32::from(u8::from(objective.is_tie(it))));
            let ties = numbers(ties.collect());
            davidson(difference, numbers(targets), ties, objective.ln_nu())
        }
    };
    centring(loss, chosen, rejected, objective.center)
}

fn ranking_losses<B: LmBackend>(
    objective: &Objective,
    all: &[Ranking],
    scores: Tensor<B, 1>,
) -> Tensor<B, 1> {
    let ranks: Vec<&[u32]> = all.iter().map(|it| it.ranks.as_slice()).collect();
    let config = &objective.config;
    let loss = match config.ranking {
        RankingLoss::PlackettLuce => rankings::plackett_luce(scores.clone(), &ranks),
        RankingLoss::AllPairs => {
            let ln_nu = (config.ties == Ties::Davidson).then(|| objective.ln_nu());
            rankings::all_pairs(scores.clone(), &ranks, config.label_smoothing, ln_nu)
        }
    };
    if objective.center == 0.0 {
        return loss;
    }
    // Of a pair this is (chosen + rejected)², as elsewhere.
    loss + (rankings::mean(scores, &ranks) * 2.0).square() * objective.center
}

fn grade_losses<B: LmBackend>(
    objective: &Objective,
    all: &[Scored],
    scores: Tensor<B, 1>,
) -> Tensor<B, 1> {
    let device = scores.device();
    let numbers = |values: Vec<f32>| Tensor::from_data(values.as_slice(), &device);
    let targets = || numbers(all.iter().map(|it| objective.grades.standard(it.score)).collect());
    match objective.config.score {
        GradeLoss::Mse => grades::squared(scores, targets()),
        GradeLoss::Huber => grades::huber(scores, targets(), objective.config.huber_delta),
        GradeLoss::Ordinal => {
            let levels: Vec<usize> =
                all.iter().map(|it| objective.grades.level(it.score)).collect();
            grades::ordinal(scores, &levels, &objective.thresholds())
        }
    }
}

/// Refuses judgements that nothing can be learned from.
fn check(judgements: &Judgements) -> Result<(), RewardError> {
    let refuse = |reason: &str| Err(RewardError::Invalid(reason.to_owned()));
    match judgements {
        Judgements::Pairs(pairs) if pairs.is_empty() => refuse("there are no preference pairs"),
        Judgements::Labels(labels) if labels.is_empty() => refuse("there are no labels"),
        Judgements::Rankings(all) if all.is_empty() => refuse("there are no rankings"),
        Judgements::Scores(all) if all.is_empty() => refuse("there are no scores"),
        Judgements::Labels(labels)
            if labels.iter().all(|label| label.is_good == labels[0].is_good) =>
        {
            refuse("all labels are the same; a reward model needs good and bad completions")
        }
        _ => Ok(()),
    }
}
