//! How far a reward model can be trusted: where it agrees with people, how sure it may be, and whether it likes length.

mod calibration;
mod length_bias;
mod statistics;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::encoding::Judgements;
use crate::evaluate::{Share, agreement};
use crate::rankings::pairs;

pub use self::calibration::Calibration;
pub use self::length_bias::{Coefficient, LengthBias};
pub use self::statistics::{Correlation, mean_interval, spearman};

use self::length_bias::Contest;

/// What a reward model made of judgements that it hasn't seen.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Judgements.
    pub n_judgements: usize,
    /// How often it agrees with people, see [`agreement`].
    pub accuracy: Accuracy,
    /// The same for each category.
    pub categories: BTreeMap<String, Accuracy>,
    /// Of rankings: how often the best completion has the highest score.
    pub best_of: Option<Accuracy>,
    /// The mean of the categories' accuracies, or of their [`best_of`](Self::best_of) where there is one: RewardBench's score.
    pub mean_of_categories: Option<f64>,
    /// How well its probabilities hold; nothing of grades, which have none.
    pub calibration: Option<Calibration>,
    /// Accuracy by the size of the scores' difference (of labels: of the score), in quarters.
    pub by_margin: Vec<Band>,
    /// Accuracy where the better completion is longer, shorter, or as long.
    pub by_length: BTreeMap<&'static str, Accuracy>,
    /// How much it likes length.
    pub length: LengthBias,
    /// Of grades: the rank correlation of scores and grades.
    pub correlation: Option<Correlation>,
}

/// A share with its 95 % Wilson interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Accuracy {
    /// The share.
    pub value: f64,
    /// The interval's lower end.
    pub low: f64,
    /// The interval's upper end.
    pub high: f64,
    /// Cases.
    pub n_cases: usize,
}

/// Accuracy within a band of margins.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Band {
    /// The smallest margin.
    pub from: f64,
    /// The largest margin.
    pub to: f64,
    /// How often the model is right there.
    pub accuracy: Accuracy,
}

impl From<Share> for Accuracy {
    fn from(share: Share) -> Self {
        let (low, high) = share.interval();
        Self { value: share.value(), low, high, n_cases: share.n_cases }
    }
}

/// Looks at scores as they come from the model, not normalised, a list for each judgement; `lengths` are those of the
/// completions, and `categories` name one for each judgement, or are empty.
pub fn report(
    judgements: &Judgements,
    scores: &[Vec<f32>],
    lengths: &[Vec<usize>],
    categories: &[String],
) -> Report {
    let outcomes = outcomes(judgements, scores, lengths);
    let by_category = by_category(judgements, scores, categories);
    let best_of = best_of(judgements, scores);
    let means: Vec<f64> = match best_of {
        Some(_) => {
            let of =
                |(part, scores): &(Judgements, Vec<Vec<f32>>)| crate::report::best_of(part, scores);
            by_category.values().filter_map(of).map(|share| share.value()).collect()
        }
        None => {
            by_category.values().map(|(part, scores)| agreement(part, scores).value()).collect()
        }
    };
    let means: Vec<f64> = means.into_iter().filter(|it| it.is_finite()).collect();
    let mean = || means.iter().sum::<f64>() / means.len() as f64;
    Report {
        n_judgements: judgements.len(),
        accuracy: agreement(judgements, scores).into(),
        categories: by_category
            .iter()
            .map(|(name, (part, scores))| (name.clone(), agreement(part, scores).into()))
            .collect(),
        best_of: best_of.map(Accuracy::from),
        mean_of_categories: (!means.is_empty()).then(mean),
        calibration: probabilities(judgements, &outcomes).and_then(|it| Calibration::of(&it)),
        by_margin: by_margin(&outcomes),
        by_length: by_length(&outcomes),
        length: LengthBias::of(&contests(&outcomes), &scores.concat(), &lengths.concat()),
        correlation: correlation(judgements, scores),
    }
}

/// A comparison of two completions, or of one with 0, by what people said.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    /// By how much the score of what people prefer is higher.
    margin: f64,
    /// How probable it is that they prefer it.
    said: f64,
    /// The lengths of both completions, if there are two: that of the preferred one first.
    lengths: Option<[f64; 2]>,
}

impl Outcome {
    fn share(outcomes: impl Iterator<Item = Self>) -> Share {
        let point = |it: Self| match it.margin {
            margin if margin > 0.0 => 1.0,
            0.0 => 0.5,
            _ => 0.0,
        };
        let points: Vec<f64> = outcomes.map(point).collect();
        Share { n_right: points.iter().sum(), n_cases: points.len() }
    }
}

fn outcomes(judgements: &Judgements, scores: &[Vec<f32>], lengths: &[Vec<usize>]) -> Vec<Outcome> {
    let between = |judgement: usize, [better, worse]: [usize; 2], said: f32| {
        let (scores, lengths) = (&scores[judgement], &lengths[judgement]);
        let sides = if said < 0.5 { [worse, better] } else { [better, worse] };
        Outcome {
            margin: f64::from(scores[sides[0]]) - f64::from(scores[sides[1]]),
            said: f64::from(said.max(1.0 - said)),
            lengths: Some(sides.map(|side| lengths[side] as f64)),
        }
    };
    match judgements {
        Judgements::Pairs(all) => {
            let said = all.iter().map(|pair| pair.chosen_probability.unwrap_or(1.0));
            let decided = said.enumerate().filter(|(_, said)| *said != 0.5);
            decided.map(|(judgement, said)| between(judgement, [0, 1], said)).collect()
        }
        Judgements::Rankings(all) => {
            let of = |(judgement, ranks): (usize, &Vec<u32>)| {
                let decided = pairs(ranks).into_iter().filter(|[a, b]| ranks[*a] != ranks[*b]);
                decided.map(|sides| between(judgement, sides, 1.0)).collect::<Vec<_>>()
            };
            all.iter().map(|it| &it.ranks).enumerate().flat_map(of).collect()
        }
        Judgements::Labels(all) => {
            let of = |(is_good, score): (bool, f32)| {
                let margin = f64::from(if is_good { score } else { -score });
                Outcome { margin, said: 1.0, lengths: None }
            };
            let scores = scores.iter().map(|it| it[0]);
            all.iter().map(|it| it.is_good).zip(scores).map(of).collect()
        }
        Judgements::Scores(_) => Vec::new(),
    }
}

/// The model's probabilities of what people said, and theirs.
fn probabilities(judgements: &Judgements, outcomes: &[Outcome]) -> Option<Vec<(f64, f64)>> {
    let is_graded = matches!(judgements, Judgements::Scores(_));
    (!is_graded).then(|| outcomes.iter().map(|it| (it.margin, it.said)).collect())
}

fn contests(outcomes: &[Outcome]) -> Vec<Contest> {
    let contest = |it: &Outcome| it.lengths.map(|lengths| Contest { lengths, margin: it.margin });
    outcomes.iter().filter_map(contest).collect()
}

/// The judgements of each category, and their scores.
fn by_category(
    judgements: &Judgements,
    scores: &[Vec<f32>],
    categories: &[String],
) -> BTreeMap<String, (Judgements, Vec<Vec<f32>>)> {
    let mut places: BTreeMap<&String, Vec<usize>> = BTreeMap::new();
    for (place, category) in categories.iter().enumerate() {
        places.entry(category).or_default().push(place);
    }
    let part = |(category, places): (&String, Vec<usize>)| {
        let scores = places.iter().map(|place| scores[*place].clone()).collect();
        (category.clone(), (judgements.select(places), scores))
    };
    places.into_iter().map(part).collect()
}

/// How often the best of a ranking has the highest score. Of several that share it, the best one's chance counts.
fn best_of(judgements: &Judgements, scores: &[Vec<f32>]) -> Option<Share> {
    let Judgements::Rankings(all) = judgements else { return None };
    let mut share = Share { n_right: 0.0, n_cases: 0 };
    for (ranking, scores) in all.iter().zip(scores) {
        let best = ranking.ranks.iter().min();
        let is_best = |place: &usize| Some(&ranking.ranks[*place]) == best;
        if (0..scores.len()).all(|place| is_best(&place)) {
            continue;
        }
        let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let leaders: Vec<usize> = (0..scores.len()).filter(|it| scores[*it] == highest).collect();
        let n_best = leaders.iter().filter(|it| is_best(it)).count();
        share.n_right +=
            if leaders.is_empty() { 0.0 } else { n_best as f64 / leaders.len() as f64 };
        share.n_cases += 1;
    }
    Some(share)
}

/// Accuracy by quarters of the margin's size.
fn by_margin(outcomes: &[Outcome]) -> Vec<Band> {
    const N_BANDS: usize = 4;
    let size = |it: &Outcome| it.margin.abs();
    let mut sorted: Vec<Outcome> =
        outcomes.iter().filter(|it| it.margin.is_finite()).copied().collect();
    sorted.sort_by(|a, b| size(a).total_cmp(&size(b)));
    let border = |band: usize| band * sorted.len() / N_BANDS;
    let band = |number| sorted.get(border(number)..border(number + 1)).filter(|it| !it.is_empty());
    let told = |band: &[Outcome]| Band {
        from: size(&band[0]),
        to: size(&band[band.len() - 1]),
        accuracy: Outcome::share(band.iter().copied()).into(),
    };
    (0..N_BANDS).filter_map(band).map(told).collect()
}

fn by_length(outcomes: &[Outcome]) -> BTreeMap<&'static str, Accuracy> {
    let kind = |[better, worse]: [f64; 2]| match better.total_cmp(&worse) {
        std::cmp::Ordering::Greater => "better is longer",
        std::cmp::Ordering::Less => "better is shorter",
        std::cmp::Ordering::Equal => "of one length",
    };
    let of = |name: &'static str| {
        let those = outcomes.iter().filter(|it| it.lengths.map(kind) == Some(name)).copied();
        let share = Outcome::share(those);
        (share.n_cases > 0).then(|| (name, Accuracy::from(share)))
    };
    ["better is longer", "better is shorter", "of one length"].into_iter().filter_map(of).collect()
}

fn correlation(judgements: &Judgements, scores: &[Vec<f32>]) -> Option<Correlation> {
    let Judgements::Scores(all) = judgements else { return None };
    let grades: Vec<f64> = all.iter().map(|it| f64::from(it.score)).collect();
    let scores: Vec<f64> = scores.iter().map(|it| f64::from(it[0])).collect();
    spearman(&scores, &grades)
}

#[cfg(test)]
mod tests;
