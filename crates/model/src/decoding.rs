//! Token by token, on tensors: where a GPU computes, and for a row that goes on from its cache.

use std::collections::HashMap;

use burn::prelude::*;
use rand_chacha::ChaCha8Rng;
use rein_data::seed::Seed;

use crate::backend::LmBackend;
use crate::monitor::Monitor;
use crate::sampling::Sampling;
use crate::sequences::hold_all;
use crate::tokens::{TokenBatch, host, indices};
use crate::{CausalLm, Finish, Generated, KvCache};

/// Prompts that stand in a cache, each of them once.
#[derive(Clone, Debug)]
pub(crate) struct Prefilled<B: Backend> {
    cache: KvCache<B>,
    /// The last token's hidden state of each, `[prompts, hidden]`.
    last: Tensor<B, 2>,
    /// The prompt of each row.
    prompt_of: Vec<usize>,
}

impl<B: LmBackend> Prefilled<B> {
    /// Computes each prompt once, however many rows begin with it.
    pub(crate) fn new(model: &CausalLm<B>, prompts: &[Vec<u32>], device: &B::Device) -> Self {
        let mut place = HashMap::new();
        let mut distinct: Vec<&[u32]> = Vec::new();
        let prompt_of = prompts.iter().map(|prompt| {
            *place.entry(prompt.as_slice()).or_insert_with(|| {
                distinct.push(prompt);
                distinct.len() - 1
            })
        });
        let prompt_of = prompt_of.collect();
        let mut cache = KvCache::new(model.config().n_layers);
        let hidden = model.decoder.prefill(&TokenBatch::left_padded(&distinct, device), &mut cache);
        Self { cache, last: last_column(hidden), prompt_of }
    }

    /// One row, whose prompt's last states came last out of the decoder, `[1, time, hidden]`.
    pub(crate) fn one(cache: KvCache<B>, hidden: Tensor<B, 3>) -> Self {
        Self { cache, last: last_column(hidden), prompt_of: vec![0] }
    }

    /// The cache of some of the rows, and their last hidden states.
    fn spread(mut self, rows: &[usize]) -> (KvCache<B>, Tensor<B, 2>) {
        let places: Vec<usize> = rows.iter().map(|row| self.prompt_of[*row]).collect();
        let [n_prompts, _] = self.last.dims();
        if !places.iter().copied().eq(0..n_prompts) {
            let device = self.last.device();
            self.cache.select_rows(&places, &device);
            self.last = self.last.select(0, indices(&places, &device));
        }
        (self.cache, self.last)
    }
}

fn last_column<B: LmBackend>(hidden: Tensor<B, 3>) -> Tensor<B, 2> {
    let [n_rows, n_time, width] = hidden.dims();
    hidden.narrow(1, n_time - 1, 1).reshape([n_rows, width])
}

/// Completes rows: of each its number, its prompt, and the seed of its draws. An attempt that breaks a
/// rule is followed by another, with draws of its own, while there are any left. The cache is that of
/// the last attempt.
pub(crate) fn complete<B: LmBackend>(
    model: &CausalLm<B>,
    start: Prefilled<B>,
    rows: &[(usize, &[u32], Seed)],
    sampling: &Sampling,
    monitor: &mut dyn Monitor,
) -> (Vec<Generated>, KvCache<B>) {
    let mut done: Vec<Option<Generated>> = vec![None; rows.len()];
    let mut open: Vec<usize> = (0..rows.len()).collect();
    let mut start = Some(start);
    for attempt in 1.. {
        let is_last = attempt >= sampling.attempts;
        let begin = if is_last { start.take() } else { start.clone() };
        let begin = begin.expect("taken by the last attempt only").spread(&open);
        let mut going: Vec<Row> =
            open.iter().map(|place| Row::new(rows[*place], attempt, monitor)).collect();
        let cache = decode(model, begin, &mut going, sampling, monitor);
        let mut refused = Vec::new();
        for (place, row) in open.into_iter().zip(going) {
            let (generated, is_fine) = row.judged(attempt, sampling, monitor);
            if !is_fine {
                refused.push(place);
            }
            done[place] = Some(generated);
        }
        open = refused;
        if open.is_empty() || is_last {
            let done = done.into_iter().map(|row| row.expect("each row is attempted"));
            return (done.collect(), cache);
        }
    }
    unreachable!("attempts are counted")
}

/// A row in the making.
#[derive(Debug)]
pub(crate) struct Row {
    number: usize,
    rng: ChaCha8Rng,
    /// The prompt and what was generated.
    tokens: Vec<u32>,
    n_prompt: usize,
    logprobs: Vec<f32>,
    finish: Option<Finish>,
}

impl Row {
    pub(crate) fn new(
        (number, prompt, seed): (usize, &[u32], Seed),
        attempt: usize,
        monitor: &mut dyn Monitor,
    ) -> Self {
        monitor.begin(number);
        let seed = if attempt == 1 { seed } else { seed.child("attempt").index(attempt as u64) };
        let (tokens, n_prompt) = (prompt.to_vec(), prompt.len());
        Self { number, rng: seed.rng(), tokens, n_prompt, logprobs: Vec::new(), finish: None }
    }

    /// Its prompt's place among the prompts.
    pub(crate) fn number(&self) -> usize {
        self.number
    }

    /// The prompt and what was generated.
    pub(crate) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Whether nothing comes after what it has.
    pub(crate) fn has_ended(&self, sampling: &Sampling) -> bool {
        self.finish.is_some() || self.logprobs.len() >= sampling.max_new_tokens
    }

    /// Draws its next token, if any can be chosen.
    pub(crate) fn draw(&mut self, logits: &[f32], sampling: &Sampling) {
        match sampling.draw(logits, &self.tokens, self.logprobs.len(), &mut self.rng) {
            Some(drawn) => {
                self.tokens.push(drawn.token);
                self.logprobs.push(drawn.logprob);
            }
            None => self.finish = Some(Finish::Guard),
        }
    }

    /// Tells of the token that was drawn, if there was one, and ends the row where it is to end.
    pub(crate) fn follow(&mut self, sampling: &Sampling, monitor: &mut dyn Monitor) {
        let Some(token) = self.tokens[self.n_prompt..].last() else { return };
        if self.finish.is_none() {
            let is_stopped = monitor.token(self.number, *token).is_break();
            if is_stopped || sampling.ends.contains(token) {
                self.finish = Some(Finish::Stop);
            }
        }
    }

    fn newest(&self) -> [u32; 1] {
        [*self.tokens.last().expect("a row has a prompt")]
    }

    /// What it has become, and whether that may stand.
    pub(crate) fn judged(
        self,
        attempt: usize,
        sampling: &Sampling,
        monitor: &mut dyn Monitor,
    ) -> (Generated, bool) {
        let number = self.number;
        let mut generated = self.generated(attempt);
        let is_fine = generated.finish != Finish::Guard
            && hold_all(&generated.tokens, &sampling.required)
            && monitor.accept(number, &generated);
        if !is_fine {
            generated.finish = Finish::Guard;
        }
        (generated, is_fine)
    }

    fn generated(mut self, n_attempts: usize) -> Generated {
        let tokens = self.tokens.split_off(self.n_prompt);
        let finish = self.finish.unwrap_or(Finish::Length);
        Generated { tokens, logprobs: self.logprobs, finish, n_attempts }
    }
}

/// Extends rows until each has ended; gives their cache back.
fn decode<B: LmBackend>(
    model: &CausalLm<B>,
    (mut cache, mut last): (KvCache<B>, Tensor<B, 2>),
    rows: &mut [Row],
    sampling: &Sampling,
    monitor: &mut dyn Monitor,
) -> KvCache<B> {
    let device = last.device();
    // The rows that stand in the cache, in its order; some of them may have ended.
    let mut live: Vec<usize> = (0..rows.len()).collect();
    for n_new in 1..=sampling.max_new_tokens {
        let logits = host(model.logits(last));
        for (row, logits) in live.iter().zip(logits.chunks_exact(model.config().vocab_size)) {
            let row = &mut rows[*row];
            if row.finish.is_none() {
                row.draw(logits, sampling);
                row.follow(sampling, monitor);
            }
        }
        let n_going = live.iter().filter(|row| rows[**row].finish.is_none()).count();
        if n_going == 0 || n_new == sampling.max_new_tokens {
            break;
        }
        // Rows that ended are taken out when they are half of the batch: each time is a copy.
        if n_going * 2 <= live.len() {
            let going = |place: &usize| rows[live[*place]].finish.is_none();
            let places: Vec<usize> = (0..live.len()).filter(going).collect();
            cache.select_rows(&places, &device);
            live = places.into_iter().map(|place| live[place]).collect();
        }
        let tokens: Vec<[u32; 1]> = live.iter().map(|row| rows[*row].newest()).collect();
        let ids = TokenBatch::<B>::right_padded(&tokens, &device).ids;
        last = last_column(model.decoder.advance(ids, &mut cache));
    }
    cache
}
