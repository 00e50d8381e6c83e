//! Sampling completions with a key-value cache.

use rand_chacha::ChaCha8Rng;
use rein_data::seed::Seed;

use crate::backend::LmBackend;
use crate::guard::rows_fit;
use crate::sampling::Sampling;
use crate::tokens::{TokenBatch, host};
use crate::{CausalLm, KvCache, ModelError};

/// A sampled completion.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// The tokens, the one that ended it included.
    pub tokens: Vec<u32>,
    /// What the model gave to each of them, as [`Drawn`](crate::sampling::Drawn) says.
    pub logprobs: Vec<f32>,
    /// Whether it ended by itself.
    pub finished: bool,
}

/// Samples one completion for each prompt. Row `i` draws from `seed.index(i)`, whatever its batch.
///
/// # Errors
/// Settings that mean nothing; a prompt without tokens, with tokens that the model doesn't have, or one
/// that leaves no room for the new tokens.
pub fn generate<B: LmBackend>(
    model: &CausalLm<B>,
    prompts: &[Vec<u32>],
    sampling: &Sampling,
    seed: Seed,
    device: &B::Device,
) -> Result<Vec<Generated>, ModelError> {
    Ok(generate_batches(model, prompts, sampling, seed, device)?.flatten().collect())
}

/// [`generate`], batch by batch: each is computed when it is asked for.
pub fn generate_batches<'a, B: LmBackend>(
    model: &'a CausalLm<B>,
    prompts: &'a [Vec<u32>],
    sampling: &'a Sampling,
    seed: Seed,
    device: &'a B::Device,
) -> Result<impl Iterator<Item = Vec<Generated>> + 'a, ModelError> {
    sampling.check()?;
    rows_fit(model.config(), prompts, sampling.max_new_tokens)?;
    let batches = prompts.chunks(sampling.batch_rows).enumerate();
    Ok(batches.map(move |(number, prompts)| {
        let first = number * sampling.batch_rows;
        let rngs = (first..).map(|row| seed.index(row as u64).rng());
        let rows = prompts.iter().zip(rngs).map(|(prompt, rng)| Row::new(prompt, rng));
        decode(model, prompts, sampling, rows.collect(), device)
    }))
}

/// A row in the making.
struct Row {
    rng: ChaCha8Rng,
    /// The prompt and what was generated.
    tokens: Vec<u32>,
    n_prompt: usize,
    logprobs: Vec<f32>,
    finished: bool,
}

impl Row {
    fn new(prompt: &[u32], rng: ChaCha8Rng) -> Self {
        let (tokens, n_prompt) = (prompt.to_vec(), prompt.len());
        Self { rng, tokens, n_prompt, logprobs: Vec::new(), finished: false }
    }

    fn extend(&mut self, logits: &[f32], sampling: &Sampling) {
        if self.finished {
            return;
        }
        let drawn = if self.logprobs.len() < sampling.min_new_tokens {
            sampling.draw(&endless(logits, &sampling.ends), &self.tokens, &mut self.rng)
        } else {
            sampling.draw(logits, &self.tokens, &mut self.rng)
        };
        self.tokens.push(drawn.token);
        self.logprobs.push(drawn.logprob);
        self.finished = sampling.ends.contains(&drawn.token);
    }

    fn newest(&self) -> [u32; 1] {
        [*self.tokens.last().expect("a row has a prompt")]
    }

    fn generated(mut self) -> Generated {
        let tokens = self.tokens.split_off(self.n_prompt);
        Generated { tokens, logprobs: self.logprobs, finished: self.finished }
    }
}

/// Logits under which none of `ends` is chosen.
fn endless(logits: &[f32], ends: &[u32]) -> Vec<f32> {
    let is_end = |token| ends.contains(&token);
    let hide = |(token, logit): (u32, &f32)| if is_end(token) { f32::NEG_INFINITY } else { *logit };
    (0..).zip(logits).map(hide).collect()
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
            rows[*row].extend(logits, sampling);
        }
        let n_going = live.iter().filter(|row| !rows[**row].finished).count();
        if n_going == 0 || n_new == sampling.max_new_tokens {
            break;
        }
        // Rows that ended are taken out when they are half of the batch: each time is a copy.
        if n_going * 2 <= live.len() {
            let going = |place: &usize| !rows[live[*place]].finished;
            let places: Vec<usize> = (0..live.len()).filter(going).collect();
            cache.select_rows(&places, device);
            live = places.into_iter().map(|place| live[place]).collect();
        }
        let tokens: Vec<[u32; 1]> = live.iter().map(|row| rows[*row].newest()).collect();
        hidden =
            model.decoder.advance(TokenBatch::<B>::right_padded(&tokens, device).ids, &mut cache);
    }
    rows.into_iter().map(Row::generated).collect()
}
