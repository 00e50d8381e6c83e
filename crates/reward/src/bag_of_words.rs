//! A judge that counts words: the baseline that a reward model should beat.
//!
//! Logistic regression on the difference of two replies' word counts. Words of the prompt cancel,
//! and order is invisible, so what this judge can't tell is what needs a language model.

use std::collections::HashMap;

use rein_data::example::Preference;

/// A linear judge of replies by their words.
#[derive(Clone, Debug)]
pub struct BagOfWords {
    weights: HashMap<String, f64>,
}

/// Passes over the pairs; enough to converge on a few thousand.
const N_PASSES: usize = 200;
const LEARNING_RATE: f64 = 0.3;
const WEIGHT_DECAY: f64 = 1e-4;

impl BagOfWords {
    /// Fits the judge to preference pairs by gradient descent on the Bradley-Terry loss.
    pub fn fit(pairs: &[Preference]) -> Self {
        let mut vocabulary = HashMap::new();
        let mut differences: Vec<HashMap<usize, f64>> = Vec::with_capacity(pairs.len());
        for pair in pairs {
            let mut difference = HashMap::new();
            for (text, sign) in [(&pair.chosen, 1.0), (&pair.rejected, -1.0)] {
                for word in words(text) {
                    let next = vocabulary.len();
                    let index = *vocabulary.entry(word).or_insert(next);
                    *difference.entry(index).or_insert(0.0) += sign;
                }
            }
            differences.push(difference);
        }
        let weights = descend(&differences, vocabulary.len());
        Self {
            weights: vocabulary.into_iter().map(|(word, index)| (word, weights[index])).collect(),
        }
    }

    /// The score of a reply; only differences between replies to one prompt mean something.
    pub fn score(&self, text: &str) -> f32 {
        words(text).filter_map(|word| self.weights.get(&word)).sum::<f64>() as f32
    }
}

fn descend(differences: &[HashMap<usize, f64>], n_words: usize) -> Vec<f64> {
    // In the order of their indices, so that the sum doesn't depend on the map's order.
    let rows: Vec<Vec<(usize, f64)>> = differences
        .iter()
        .map(|difference| {
            let mut row: Vec<_> =
                difference.iter().map(|(index, count)| (*index, *count)).collect();
            row.sort_unstable_by_key(|(index, _)| *index);
            row
        })
        .collect();
    let mut weights = vec![0.0; n_words];
    for _ in 0..N_PASSES {
        let mut gradient: Vec<f64> = weights.iter().map(|weight| -WEIGHT_DECAY * weight).collect();
        for row in &rows {
            let score: f64 = row.iter().map(|(index, count)| weights[*index] * count).sum();
            let surprise = 1.0 / (1.0 + score.exp()) / rows.len() as f64;
            for (index, count) in row {
                gradient[*index] += surprise * count;
            }
        }
        for (weight, slope) in weights.iter_mut().zip(gradient) {
            *weight += LEARNING_RATE * slope;
        }
    }
    weights
}

/// Words in lower case, and marks as words of their own.
pub(crate) fn words(text: &str) -> impl Iterator<Item = String> {
    let spaced: String = text
        .chars()
        .flat_map(|mark| {
            let apart = !mark.is_alphanumeric() && !mark.is_whitespace();
            let space = apart.then_some(' ');
            space.into_iter().chain(mark.to_lowercase()).chain(space)
        })
        .collect();
    spaced.split_whitespace().map(str::to_owned).collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(chosen: &str, rejected: &str) -> Preference {
        Preference {
            prompt: String::new(),
            chosen: chosen.into(),
            rejected: rejected.into(),
            margin: None,
            chosen_finished: true,
            rejected_finished: true,
        }
    }

    #[test]
    fn words_that_please_get_weight_and_order_is_invisible() {
        let judge = BagOfWords::fit(&[pair("a good day", "a bad day"), pair("Good!", "bad.")]);
        assert!(judge.score("good") > judge.score("bad"));
        assert_eq!(judge.score("the good, the bad"), judge.score("bad the, good the"));
    }
}
