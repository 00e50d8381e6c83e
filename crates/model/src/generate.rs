//! Sampling completions with a key-value cache.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rein_data::seed::Seed;

use crate::backend::LmBackend;
use crate::tokens::{TokenBatch, host};
use crate::{CausalLm, KvCache, ModelError};

/// How completions are sampled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Completions are cut at this many tokens.
    pub max_new_tokens: usize,
    /// Divides the logits; 0 takes the most probable token.
    pub temperature: f32,
    /// Ends a completion, and is part of it.
    pub eos: u32,
    /// Rows decoded side by side.
    pub batch_rows: usize,
}

/// A sampled completion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// The tokens, the end of sequence included.
    pub tokens: Vec<u32>,
    /// Whether it ended by itself.
    pub finished: bool,
}

/// Samples one completion for each prompt. Row `i` draws from `seed.index(i)`, whatever its batch.
///
/// # Errors
/// A prompt without tokens, or one that leaves no room for the new tokens.
pub fn generate<B: LmBackend>(
    model: &CausalLm<B>,
    prompts: &[Vec<u32>],
    sampling: &Sampling,
    seed: Seed,
    device: &B::Device,
) -> Result<Vec<Generated>, ModelError> {
    let room = model.config().max_positions;
    for (number, prompt) in prompts.iter().enumerate() {
        let n_tokens = prompt.len() + sampling.max_new_tokens;
        if prompt.is_empty() || n_tokens > room {
            return Err(ModelError::Invalid(format!(
                "prompt {} has {} tokens; with {} new ones it must have between 1 and the model's {room} positions",
                number + 1,
                prompt.len(),
                sampling.max_new_tokens
            )));
        }
    }
    let batches = prompts.chunks(sampling.batch_rows.max(1)).enumerate();
    Ok(batches
        .flat_map(|(number, prompts)| {
            let first = number * sampling.batch_rows.max(1);
            let rows = (first..).map(|row| seed.index(row as u64).rng());
            let rows = rows.take(prompts.len()).map(Row::new).collect();
            decode(model, prompts, sampling, rows, device)
        })
        .collect())
}

/// A row in the making.
struct Row {
    rng: ChaCha8Rng,
    generated: Generated,
}

impl Row {
    fn new(rng: ChaCha8Rng) -> Self {
        Self { rng, generated: Generated { tokens: Vec::new(), finished: false } }
    }
}

fn decode<B: LmBackend>(
    model: &CausalLm<B>,
    prompts: &[Vec<u32>],
    sampling: &Sampling,
    mut rows: Vec<Row>,
    device: &B::Device,
) -> Vec<Generated> {
    let mut cache = KvCache::new(model.config().n_layers);
    let batch = TokenBatch::left_padded(prompts, device);
    let mut hidden = model.decoder.prefill(&batch, &mut cache);
    // The rows that stand in the cache, in its order; some of them may have ended.
    let mut live: Vec<usize> = (0..rows.len()).collect();
    for n_new in 1..=sampling.max_new_tokens {
        let [n_rows, n_time, width] = hidden.dims();
        let last = hidden.narrow(1, n_time - 1, 1).reshape([n_rows, width]);
        let logits = host(model.logits(last));
        for (row, logits) in live.iter().zip(logits.chunks_exact(model.config().vocab_size)) {
            extend(&mut rows[*row], logits, sampling);
        }
        let n_going = live.iter().filter(|row| !rows[**row].generated.finished).count();
        if n_going == 0 || n_new == sampling.max_new_tokens {
            break;
        }
        // Rows that ended are taken out when they are half of the batch: each time is a copy.
        if n_going * 2 <= live.len() {
            let going = |place: &usize| !rows[live[*place]].generated.finished;
            let places: Vec<usize> = (0..live.len()).filter(going).collect();
            cache.select_rows(&places, device);
            live = places.into_iter().map(|place| live[place]).collect();
        }
        let tokens: Vec<Vec<u32>> = live.iter().map(|row| newest(&rows[*row])).collect();
        hidden =
            model.decoder.advance(TokenBatch::<B>::right_padded(&tokens, device).ids, &mut cache);
    }
    rows.into_iter().map(|row| row.generated).collect()
}

fn newest(row: &Row) -> Vec<u32> {
    vec![*row.generated.tokens.last().expect("each row has got a token")]
}

fn extend(row: &mut Row, logits: &[f32], sampling: &Sampling) {
    if row.generated.finished {
        return;
    }
    let token = draw(logits, sampling.temperature, &mut row.rng);
    row.generated.tokens.push(token);
    row.generated.finished = token == sampling.eos;
}

/// Draws from `softmax(logits / temperature)` by inverting its distribution function.
fn draw(logits: &[f32], temperature: f32, rng: &mut ChaCha8Rng) -> u32 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if temperature == 0.0 {
        let best = logits.iter().position(|logit| *logit == largest);
        return best.unwrap_or(0) as u32;
    }
    let weight = |logit: &f32| f64::from((logit - largest) / temperature).exp();
    let total: f64 = logits.iter().map(weight).sum();
    let mut left = rng.random::<f64>() * total;
    let drawn = logits.iter().position(|logit| {
        left -= weight(logit);
        left < 0.0
    });
    // Rounding can leave a crumb after the last token.
    drawn.unwrap_or(logits.len() - 1) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_drawn_as_often_as_their_probability_says() {
        // softmax([0, ln 3] / 1) = [1/4, 3/4]; at temperature 0.5 it is [1/10, 9/10].
        for (temperature, expected) in [(1.0, 0.75), (0.5, 0.9)] {
            let mut rng = Seed::new(1).rng();
            let logits = [0.0, 3.0_f32.ln()];
            let n_ones: u32 = (0..20_000).map(|_| draw(&logits, temperature, &mut rng)).sum();
            assert!((f64::from(n_ones) / 20_000.0 - expected).abs() < 0.01, "{n_ones}");
        }
    }

    #[test]
    fn temperature_zero_takes_the_most_probable() {
        assert_eq!(draw(&[0.0, 2.0, 2.0, -1.0], 0.0, &mut Seed::new(1).rng()), 1);
    }
}
