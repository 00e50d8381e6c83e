//! How the next token is chosen.
//!
//! The order is that of transformers: repetition penalty, then (unless the best token is taken)
//! temperature, top-k, top-p, min-p. Each works on what the one before left.

use rand_chacha::ChaCha8Rng;
use rein_kernels::Precision;

use crate::ModelError;
use crate::config::ModelConfig;
use crate::drawing::{Weights, best, draw_any, draw_one, filter, without};
use crate::exploring::{explored, greedy};
use crate::sequences::completing;

/// How completions are sampled.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Completions are cut at this many tokens.
    pub max_new_tokens: usize,
    /// No completion ends before it has this many.
    pub min_new_tokens: usize,
    /// How a token is chosen.
    pub choice: Choice,
    /// Makes tokens that stand in the row already less probable: positive logits are divided by it,
    /// negative ones multiplied (Keskar et al., 2019). 1 changes nothing.
    pub repetition_penalty: f32,
    /// How often a token is drawn without asking the model: with this probability each of those that may be
    /// chosen (after penalties, filters and exclusions) is as probable as any other; of a greedy choice,
    /// all that aren't excluded (epsilon-greedy; Sutton and Barto, 2018, §2.2). 0 means never.
    pub epsilon: f32,
    /// Tokens that end a completion; the one that does is part of it.
    pub ends: Vec<u32>,
    /// Sequences that are never completed: their last token can't be chosen where the others stand
    /// before it, be it in the prompt (`bad_words_ids` of transformers).
    pub banned: Vec<Vec<u32>>,
    /// Sequences that each completion must hold; one that doesn't is refused.
    pub required: Vec<Vec<u32>>,
    /// How often a completion is sampled at most, as long as it is refused.
    pub attempts: usize,
    /// Rows decoded side by side.
    pub batch_rows: usize,
    /// What weights are rounded to while tokens are sampled, where [`obstacle`](crate::obstacle) finds
    /// none. Log-probabilities are then those of the rounded model.
    pub precision: Precision,
}

/// How a token is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Choice {
    /// The most probable one.
    Greedy,
    /// A random one, of those that pass.
    Random(Filters),
}

/// Which tokens a random choice is between.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Filters {
    /// Divides the logits.
    pub temperature: f32,
    /// Only the `k` most probable tokens, and those as probable as the last of them.
    pub top_k: Option<usize>,
    /// Only the most probable tokens that together reach this probability (Holtzman et al., 2020).
    pub top_p: f32,
    /// Only tokens at least this share as probable as the most probable one (Nguyen et al., 2024).
    pub min_p: f32,
}

impl Filters {
    /// All tokens, at this temperature.
    pub fn none(temperature: f32) -> Self {
        Self { temperature, top_k: None, top_p: 1.0, min_p: 0.0 }
    }

    fn pass_all(&self) -> bool {
        self.top_k.is_none() && self.top_p >= 1.0 && self.min_p <= 0.0
    }
}

/// A token that may be chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The token.
    pub token: u32,
    /// How probable its choice is.
    pub probability: f64,
}

/// A token that was chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drawn {
    /// The token.
    pub token: u32,
    /// What the model gave to it, in nats, at the temperature (1 where the best token is taken) and
    /// before penalties and filters: the number that training computes. Where
    /// [`epsilon`](Sampling::epsilon) is above 0, how probable this draw was, all told: the number that
    /// importance weights divide by.
    pub logprob: f32,
}

impl Sampling {
    /// Random tokens at this temperature, all of which may be chosen.
    pub fn at_temperature(temperature: f32) -> Self {
        Self::new(Choice::Random(Filters::none(temperature)))
    }

    /// The most probable tokens.
    pub fn greedy() -> Self {
        Self::new(Choice::Greedy)
    }

    fn new(choice: Choice) -> Self {
        Self {
            max_new_tokens: 64,
            min_new_tokens: 0,
            choice,
            repetition_penalty: 1.0,
            epsilon: 0.0,
            ends: Vec::new(),
            banned: Vec::new(),
            required: Vec::new(),
            attempts: 1,
            batch_rows: 32,
            precision: Precision::F32,
        }
    }

    /// Refuses settings that mean nothing, by name.
    pub fn check(&self) -> Result<(), ModelError> {
        let filters = match self.choice {
            Choice::Greedy => Filters::none(1.0),
            Choice::Random(filters) => filters,
        };
        let share = |value: f32| (0.0..=1.0).contains(&value);
        let positive = |value: f32| value > 0.0 && value.is_finite();
        let rules = [
            (positive(filters.temperature), "temperature", "above 0", filters.temperature),
            (filters.top_k != Some(0), "top_k", "above 0", 0.0),
            (share(filters.top_p), "top_p", "within 0..=1", filters.top_p),
            (share(filters.min_p), "min_p", "within 0..=1", filters.min_p),
            (share(self.epsilon), "epsilon", "within 0..=1", self.epsilon),
            (
                positive(self.repetition_penalty),
                "repetition_penalty",
                "above 0",
                self.repetition_penalty,
            ),
        ];
        if let Some((_, name, rule, value)) = rules.into_iter().find(|(fine, ..)| !fine) {
            return Err(ModelError::Invalid(format!("`{name}` is {value}; it must be {rule}")));
        }
        let empty = |sequences: &[Vec<u32>]| sequences.iter().any(Vec::is_empty);
        let is_certain = self.choice == Choice::Greedy && self.epsilon == 0.0;
        let problem = match self {
            _ if self.batch_rows == 0 => "`batch_rows` is 0; it must be above 0",
            _ if self.attempts == 0 => "`attempts` is 0; it must be above 0",
            _ if self.attempts > 1 && is_certain => {
                "`attempts` is above 1, but the best token is the same each time; draw at random"
            }
            _ if empty(&self.banned) => "`banned` holds a sequence without tokens",
            _ if empty(&self.required) => "`required` holds a sequence without tokens",
            _ => return Ok(()),
        };
        Err(ModelError::Invalid(problem.into()))
    }

    /// Refuses sequences with tokens that the model doesn't have.
    pub(crate) fn fits(&self, config: &ModelConfig) -> Result<(), ModelError> {
        let n_ids = config.vocab_size;
        for (name, sequences) in [("banned", &self.banned), ("required", &self.required)] {
            if let Some(token) = sequences.iter().flatten().find(|it| **it as usize >= n_ids) {
                return Err(ModelError::Invalid(format!(
                    "`{name}` holds the token {token}, but the model's vocabulary has {n_ids}"
                )));
            }
        }
        Ok(())
    }

    /// The tokens that may be chosen next, in the order of their ids, and how probable each is.
    /// `history` is the row so far. None at all if all logits are `-inf`.
    pub fn candidates(&self, logits: &[f32], history: &[u32]) -> Vec<Candidate> {
        let logits = self.penalized(logits, history);
        match self.choice {
            Choice::Greedy if self.epsilon > 0.0 => explored(greedy(&logits), self.epsilon),
            Choice::Greedy => {
                let best = best(&logits).map(|token| Candidate { token, probability: 1.0 });
                best.into_iter().collect()
            }
            Choice::Random(filters) => explored(filter(&logits, &filters), self.epsilon),
        }
    }

    /// Chooses the next token of a row that has got `n_new`; none if all are excluded.
    pub(crate) fn draw(
        &self,
        logits: &[f32],
        history: &[u32],
        n_new: usize,
        rng: &mut ChaCha8Rng,
    ) -> Option<Drawn> {
        let excluded = self.excluded(history, n_new);
        if self.epsilon > 0.0 {
            let drawn = draw_one(&self.candidates(&without(logits, &excluded), history), rng)?;
            return Some(Drawn { token: drawn.token, logprob: drawn.probability.ln() as f32 });
        }
        let plain = self.repetition_penalty == 1.0;
        let token = match self.choice {
            Choice::Random(filters) if plain && excluded.is_empty() && filters.pass_all() => {
                return draw_any(logits, filters.temperature, rng);
            }
            Choice::Greedy if plain && excluded.is_empty() => best(logits)?,
            Choice::Greedy => self.candidates(&without(logits, &excluded), history).first()?.token,
            Choice::Random(_) => {
                draw_one(&self.candidates(&without(logits, &excluded), history), rng)?.token
            }
        };
        Some(Drawn { token, logprob: self.logprob(logits, token) })
    }

    /// The tokens that can't come next, whatever the model says.
    fn excluded(&self, history: &[u32], n_new: usize) -> Vec<u32> {
        let early = if n_new < self.min_new_tokens { &self.ends[..] } else { &[] };
        early.iter().copied().chain(completing(&self.banned, history)).collect()
    }

    fn penalized(&self, logits: &[f32], history: &[u32]) -> Vec<f32> {
        let mut penalized = logits.to_vec();
        if self.repetition_penalty != 1.0 {
            for token in history.iter().map(|token| *token as usize) {
                let logit = logits[token];
                penalized[token] = if logit < 0.0 {
                    logit * self.repetition_penalty
                } else {
                    logit / self.repetition_penalty
                };
            }
        }
        penalized
    }

    fn logprob(&self, logits: &[f32], token: u32) -> f32 {
        let temperature = match self.choice {
            Choice::Greedy => 1.0,
            Choice::Random(filters) => filters.temperature,
        };
        let weights = Weights::new(logits, temperature);
        weights.logprob(logits[token as usize], weights.total(logits))
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt;
    use rein_data::seed::Seed;

    use super::*;

    #[test]
    fn tokens_are_drawn_as_often_as_their_probability_says() {
        // softmax([0, ln 3] / 1) = [1/4, 3/4]; at temperature 0.5 it is [1/10, 9/10].
        let filtered = |temperature| Filters { top_k: Some(2), ..Filters::none(temperature) };
        for (filters, expected) in [
            (Filters::none(1.0), 0.75_f64),
            (Filters::none(0.5), 0.9),
            (filtered(1.0), 0.75),
            (filtered(0.5), 0.9),
        ] {
            let sampling = Sampling::new(Choice::Random(filters));
            let mut rng = Seed::new(1).rng();
            let logits = [0.0, 3.0_f32.ln()];
            let draws: Vec<Drawn> =
                (0..20_000).filter_map(|_| sampling.draw(&logits, &[], 0, &mut rng)).collect();
            let n_ones = draws.iter().filter(|it| it.token == 1).count();
            assert!((n_ones as f64 / 20_000.0 - expected).abs() < 0.01, "{n_ones}");
            let one = draws.iter().find(|it| it.token == 1).expect("is drawn");
            assert!((f64::from(one.logprob) - expected.ln()).abs() < 1e-6);
        }
    }

    #[test]
    fn greed_takes_the_first_of_the_most_probable() {
        let drawn =
            Sampling::greedy().draw(&[0.0, 2.0, 2.0, -1.0], &[], 0, &mut Seed::new(1).rng());
        let drawn = drawn.expect("some are possible");
        assert_eq!(drawn.token, 1);
        // 2 − ln(1 + 2 e² + e⁻¹)
        assert!((drawn.logprob - -0.781_672).abs() < 1e-5, "{}", drawn.logprob);
    }

    /// Blocks of a large vocabulary are passed by their sums, and only the best tokens are sorted.
    #[test]
    fn large_vocabularies_are_drawn_from_as_small_ones() {
        let logits: Vec<f32> = (0..1000).map(|i| ((i * 37) % 101) as f32 * 0.06).collect();
        let total: f64 = logits.iter().map(|it| f64::from(*it).exp()).sum();
        let all = Sampling::at_temperature(1.0);
        let mut drawn = Seed::new(1).rng();
        let mut same = Seed::new(1).rng();
        for _ in 0..500 {
            let token = all.draw(&logits, &[], 0, &mut drawn).expect("some are possible").token;
            let below =
                |n: usize| logits[..n].iter().map(|it| f64::from(*it).exp()).sum::<f64>() / total;
            let (at, share) = (token as usize, same.random::<f64>());
            assert!(below(at) - 1e-6 <= share && share <= below(at + 1) + 1e-6);
        }
        for top_p in [0.01, 0.3, 0.9] {
            let filters = Filters { top_p, ..Filters::none(1.0) };
            let kept = Sampling::new(Choice::Random(filters)).candidates(&logits, &[]);
            let mut sorted: Vec<usize> = (0..logits.len()).collect();
            sorted.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
            let mut want = sorted[..kept.len()].to_vec();
            want.sort_unstable();
            assert!(kept.iter().map(|it| it.token as usize).eq(want));
            let share = |n: usize| {
                sorted[..n].iter().map(|it| f64::from(logits[*it]).exp()).sum::<f64>() / total
            };
            assert!(share(kept.len()) >= f64::from(top_p) - 1e-6);
            assert!(share(kept.len() - 1) < f64::from(top_p) + 1e-6);
        }
    }
}
