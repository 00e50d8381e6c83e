//! How the next token is chosen.
//!
//! The order is that of transformers: repetition penalty, then (unless the best token is taken)
//! temperature, top-k, top-p, min-p. Each works on what the one before left.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::ModelError;
use crate::config::ModelConfig;
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
    /// before penalties and filters: the number that training computes.
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
            ends: Vec::new(),
            banned: Vec::new(),
            required: Vec::new(),
            attempts: 1,
            batch_rows: 32,
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
        let is_greedy = self.choice == Choice::Greedy;
        let problem = match self {
            _ if self.batch_rows == 0 => "`batch_rows` is 0; it must be above 0",
            _ if self.attempts == 0 => "`attempts` is 0; it must be above 0",
            _ if self.attempts > 1 && is_greedy => {
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
            Choice::Greedy => {
                let best = best(&logits).map(|token| Candidate { token, probability: 1.0 });
                best.into_iter().collect()
            }
            Choice::Random(filters) => filter(&logits, &filters),
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
        let plain = self.repetition_penalty == 1.0;
        let token = match self.choice {
            Choice::Random(filters) if plain && excluded.is_empty() && filters.pass_all() => {
                return draw_any(logits, filters.temperature, rng);
            }
            Choice::Greedy if plain && excluded.is_empty() => best(logits)?,
            Choice::Greedy => self.candidates(&without(logits, &excluded), history).first()?.token,
            Choice::Random(_) => {
                draw_one(&self.candidates(&without(logits, &excluded), history), rng)?
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
        weights.logprob(logits[token as usize], logits.iter().map(|it| weights.of(*it)).sum())
    }
}

/// `exp((logit − largest) / temperature)`: probabilities but for a factor, without overflow.
#[derive(Clone, Copy)]
struct Weights {
    largest: f32,
    temperature: f32,
}

impl Weights {
    fn new(logits: &[f32], temperature: f32) -> Self {
        Self { largest: logits.iter().copied().fold(f32::NEG_INFINITY, f32::max), temperature }
    }

    fn of(self, logit: f32) -> f64 {
        f64::from((logit - self.largest) / self.temperature).exp()
    }

    fn logprob(self, logit: f32, total: f64) -> f32 {
        (f64::from((logit - self.largest) / self.temperature) - total.ln()) as f32
    }
}

/// Logits under which none of `excluded` is chosen.
fn without(logits: &[f32], excluded: &[u32]) -> Vec<f32> {
    let mut logits = logits.to_vec();
    for token in excluded {
        if let Some(logit) = logits.get_mut(*token as usize) {
            *logit = f32::NEG_INFINITY;
        }
    }
    logits
}

/// The first of the most probable tokens, if any is possible.
fn best(logits: &[f32]) -> Option<u32> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let place = logits.iter().position(|logit| *logit == largest && largest > f32::NEG_INFINITY);
    place.map(|token| token as u32)
}

/// Draws from `softmax(logits / temperature)` by inverting its distribution function.
fn draw_any(logits: &[f32], temperature: f32, rng: &mut ChaCha8Rng) -> Option<Drawn> {
    let weights = Weights::new(logits, temperature);
    if weights.largest == f32::NEG_INFINITY {
        return None;
    }
    let total: f64 = logits.iter().map(|logit| weights.of(*logit)).sum();
    let mut left = rng.random::<f64>() * total;
    let drawn = logits.iter().position(|logit| {
        left -= weights.of(*logit);
        left < 0.0
    });
    // Rounding can leave a crumb after the last token.
    let token = drawn.unwrap_or(logits.len() - 1);
    Some(Drawn { token: token as u32, logprob: weights.logprob(logits[token], total) })
}

fn draw_one(candidates: &[Candidate], rng: &mut ChaCha8Rng) -> Option<u32> {
    let mut left = rng.random::<f64>();
    let drawn = candidates.iter().find(|candidate| {
        left -= candidate.probability;
        left < 0.0
    });
    drawn.or(candidates.last()).map(|candidate| candidate.token)
}

fn filter(logits: &[f32], filters: &Filters) -> Vec<Candidate> {
    let weights = Weights::new(logits, filters.temperature);
    let floor = filters.top_k.map_or(f32::NEG_INFINITY, |k| largest_but(k, logits));
    let mut kept: Vec<Candidate> = (0..)
        .zip(logits)
        // What something before has excluded stays excluded.
        .filter(|(_, logit)| **logit >= floor && **logit > f32::NEG_INFINITY)
        .map(|(token, logit)| Candidate { token, probability: weights.of(*logit) })
        .collect();
    if filters.top_p < 1.0 {
        keep_most_probable(&mut kept, filters.top_p);
    }
    let most = kept.iter().map(|it| it.probability).fold(0.0, f64::max);
    kept.retain(|it| it.probability >= f64::from(filters.min_p) * most);
    let total: f64 = kept.iter().map(|it| it.probability).sum();
    kept.iter_mut().for_each(|it| it.probability /= total);
    kept
}

/// The `k`-th largest logit.
fn largest_but(k: usize, logits: &[f32]) -> f32 {
    let mut sorted = logits.to_vec();
    let place = k.min(sorted.len()) - 1;
    *sorted.select_nth_unstable_by(place, |a, b| b.total_cmp(a)).1
}

/// Keeps the fewest tokens that reach this share of the probability, one at least.
fn keep_most_probable(kept: &mut Vec<Candidate>, share: f32) {
    let total: f64 = kept.iter().map(|it| it.probability).sum();
    kept.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    let mut before = 0.0;
    let reached = kept.iter().position(|it| {
        let reached = before >= f64::from(share) * total;
        before += it.probability;
        reached
    });
    kept.truncate(reached.unwrap_or(kept.len()).max(1));
    kept.sort_by_key(|it| it.token);
}

#[cfg(test)]
mod tests {
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
}
