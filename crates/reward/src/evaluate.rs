//! How often a judge agrees with judgements it hasn't seen.

use crate::encoding::Judgements;
use crate::rankings::pairs;

/// A share with its uncertainty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// Cases that count.
    pub n_right: f64,
    /// All cases.
    pub n_cases: usize,
}

impl Share {
    /// The share itself; NaN without any cases.
    pub fn value(&self) -> f64 {
        self.n_right / self.n_cases as f64
    }

    /// The Wilson score interval (Wilson, 1927) at 95 %.
    pub fn interval(&self) -> (f64, f64) {
        const Z: f64 = 1.959_963_984_540_054;
        let n = self.n_cases as f64;
        let p = self.value();
        let center = (p + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
        let half = Z / (1.0 + Z * Z / n) * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
        (center - half, center + half)
    }
}

/// How often the preferred of two completions has the higher score; a tie counts half.
pub fn pair_accuracy(chosen: &[f32], rejected: &[f32]) -> Share {
    let point = |(chosen, rejected): (&f32, &f32)| match chosen.partial_cmp(rejected) {
        Some(std::cmp::Ordering::Greater) => 1.0,
        Some(std::cmp::Ordering::Equal) => 0.5,
        _ => 0.0,
    };
    let points = chosen.iter().zip(rejected).map(point);
    Share { n_right: points.sum(), n_cases: chosen.len() }
}

/// How often the score of a labelled completion has the label's sign.
pub fn label_accuracy(scores: &[f32], is_good: &[bool]) -> Share {
    let right = scores.iter().zip(is_good).filter(|(score, is_good)| (**score > 0.0) == **is_good);
    Share { n_right: right.count() as f64, n_cases: scores.len() }
}

/// How often scores, a list for each judgement, agree with what people said. Ties that people saw don't count. A
/// ranking counts once, by the share of its pairs that are in order; a grade is compared with the next one that
/// differs.
pub fn agreement(judgements: &Judgements, scores: &[Vec<f32>]) -> Share {
    match judgements {
        Judgements::Pairs(all) => {
            let sides = all.iter().zip(scores).filter_map(|(pair, scores)| {
                match pair.chosen_probability.unwrap_or(1.0) {
                    said if said > 0.5 => Some((scores[0], scores[1])),
                    said if said < 0.5 => Some((scores[1], scores[0])),
                    _ => None,
                }
            });
            let (better, worse): (Vec<f32>, Vec<f32>) = sides.unzip();
            pair_accuracy(&better, &worse)
        }
        Judgements::Labels(labels) => {
            let is_good: Vec<bool> = labels.iter().map(|label| label.is_good).collect();
            label_accuracy(&scores.concat(), &is_good)
        }
        Judgements::Rankings(all) => {
            let shares = all.iter().zip(scores).map(|(it, scores)| ranked(&it.ranks, scores));
            let shares: Vec<f64> =
                shares.filter(|it| it.n_cases > 0).map(|it| it.value()).collect();
            Share { n_right: shares.iter().sum(), n_cases: shares.len() }
        }
        Judgements::Scores(all) => {
            let (mut better, mut worse) = (Vec::new(), Vec::new());
            for place in 0..all.len() {
                let differs = |it: &usize| all[*it].score != all[place].score;
                let Some(other) = (place + 1..all.len()).find(differs) else { break };
                let is_higher = all[place].score > all[other].score;
                let (high, low) = if is_higher { (place, other) } else { (other, place) };
                better.push(scores[high][0]);
                worse.push(scores[low][0]);
            }
            pair_accuracy(&better, &worse)
        }
    }
}

/// How many pairs of a ranking are in order.
pub(crate) fn ranked(ranks: &[u32], scores: &[f32]) -> Share {
    let decided =
        pairs(ranks).into_iter().filter(|[better, worse]| ranks[*better] != ranks[*worse]);
    let (better, worse): (Vec<f32>, Vec<f32>) =
        decided.map(|[better, worse]| (scores[better], scores[worse])).unzip();
    pair_accuracy(&better, &worse)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::{Pair, Ranking, Scored};

    #[test]
    fn rankings_and_grades_agree_by_their_order() {
        let pair = |chosen_probability| Pair { chosen_probability, ..Pair::default() };
        let pairs = Judgements::Pairs([None, Some(0.5), Some(0.2)].map(pair).to_vec());
        let scores = [vec![1.0, 0.0], vec![0.0, 3.0], vec![1.0, 0.0]];
        assert_eq!(agreement(&pairs, &scores), Share { n_right: 1.0, n_cases: 2 });
        let ranking = Ranking { ranks: vec![2, 1, 2], ..Ranking::default() };
        let scores = [vec![0.0, 1.0, 2.0]];
        let one = agreement(&Judgements::Rankings(vec![ranking]), &scores);
        assert_eq!(one, Share { n_right: 0.5, n_cases: 1 }, "one of two pairs that aren't tied");
        let grades = [1.0, 1.0, 3.0, 2.0].map(|score| Scored { score, ..Scored::default() });
        let scores = [0.0, 5.0, 4.0, 1.0].map(|it| vec![it]);
        let share = agreement(&Judgements::Scores(grades.to_vec()), &scores);
        assert_eq!(share, Share { n_right: 2.0, n_cases: 3 });
    }

    #[test]
    fn wilson_intervals_are_those_of_the_textbook() {
        // 55 of 100: [0.452, 0.644]; 530 of 1000: [0.499, 0.561].
        for (n_right, n_cases, low, high) in
            [(55.0, 100, 0.452, 0.644), (530.0, 1000, 0.499, 0.561)]
        {
            let (got_low, got_high) = Share { n_right, n_cases }.interval();
            assert!((got_low - low).abs() < 5e-4 && (got_high - high).abs() < 5e-4);
        }
    }

    #[test]
    fn ties_and_nans_are_no_successes() {
        let accuracy = pair_accuracy(&[1.0, 0.0, 2.0, f32::NAN], &[0.0, 0.0, 3.0, 0.0]);
        assert_eq!((accuracy.n_right, accuracy.n_cases), (1.5, 4));
        assert_eq!(label_accuracy(&[1.0, -1.0, 0.0], &[true, true, false]).n_right, 2.0);
    }
}
