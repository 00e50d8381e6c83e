use rayon::prelude::*;
use rein_data::seed::RowSeeds;
use rein_kernels::cpu::packed::Threads;

use super::cache::{RowCache, n_common};
use super::forward::{Scratch, Work};
use super::weights::Engine;
use crate::Generated;
use crate::decoding::Row;
use crate::monitor::Monitor;
use crate::sampling::Sampling;

/// Tokens that a thread takes at least, where weights are large: below it, reading weights takes longer
/// than multiplying.
const TOKENS_OF_A_THREAD: usize = 12;

/// Bytes of weights that all threads may read on their own.
const SMALL_WEIGHTS: usize = 16 << 20;

/// Multiplications of a step below which one thread is faster than several.
const FEW_OPERATIONS: usize = 1 << 22;

/// Completes prompts in slots: each slot keeps a row, and the row's end makes room for the next prompt.
#[derive(Debug)]
pub(crate) struct Rollout<'a> {
    engine: &'a Engine,
    prompts: &'a [Vec<u32>],
    sampling: &'a Sampling,
    seeds: RowSeeds,
    slots: Vec<Slot>,
    /// Prompts that were given a slot.
    n_begun: usize,
    /// Prompts whose completions were given back.
    n_returned: usize,
    done: Vec<Option<Generated>>,
    /// One for each group of rows.
    scratch: Vec<Scratch>,
}

/// Room for one row.
#[derive(Debug)]
struct Slot {
    row: Option<Row>,
    attempt: usize,
    /// Whether the row's prompt begins as one does that is about to be computed.
    waits: bool,
    /// Stays when the row has ended: others may begin as it does.
    cache: RowCache,
}

impl Slot {
    /// The row that is to be extended, and its cache.
    fn going(&mut self) -> Option<(&mut Row, &mut RowCache)> {
        let Self { row, waits, cache, .. } = self;
        row.as_mut().filter(|_| !*waits).map(|row| (row, cache))
    }
}

impl<'a> Rollout<'a> {
    /// Nothing is computed yet.
    pub(crate) fn new(
        engine: &'a Engine,
        prompts: &'a [Vec<u32>],
        sampling: &'a Sampling,
        seeds: RowSeeds,
    ) -> Self {
        let n_slots = sampling.batch_rows.min(prompts.len());
        let new = || {
            let cache = RowCache::new(engine.config.n_layers, engine.cache_heads(), 0);
            Slot { row: None, attempt: 0, waits: false, cache }
        };
        let slots = std::iter::repeat_with(new).take(n_slots).collect();
        let done = vec![None; prompts.len()];
        let (n_begun, n_returned, scratch) = (0, 0, Vec::new());
        Self { engine, prompts, sampling, seeds, slots, n_begun, n_returned, done, scratch }
    }

    /// The completions of the next prompts, as many as are decoded side by side, if any are left.
    /// Later prompts may have begun when it returns.
    pub(crate) fn next(&mut self, monitor: &mut dyn Monitor) -> Option<Vec<Generated>> {
        let first = self.n_returned;
        let n_rows = self.sampling.batch_rows.min(self.prompts.len() - first);
        if n_rows == 0 {
            return None;
        }
        while self.done[first..first + n_rows].iter().any(Option::is_none) {
            self.admit(monitor);
            if self.sampling.max_new_tokens > 0 {
                self.step();
            }
            self.follow(monitor);
        }
        self.n_returned += n_rows;
        let rows = self.done[first..self.n_returned].iter_mut();
        Some(rows.map(|row| row.take().expect("all of them are done")).collect())
    }

    /// Gives prompts to free slots.
    fn admit(&mut self, monitor: &mut dyn Monitor) {
        for place in 0..self.slots.len() {
            if self.slots[place].row.is_none() && self.n_begun < self.prompts.len() {
                self.begin(place, self.n_begun, 1, monitor);
                self.n_begun += 1;
            }
        }
        for place in 0..self.slots.len() {
            if self.slots[place].waits {
                self.prepare(place);
            }
        }
    }

    fn begin(&mut self, place: usize, number: usize, attempt: usize, monitor: &mut dyn Monitor) {
        let row = (number, &self.prompts[number][..], self.seeds.of(number));
        let slot = &mut self.slots[place];
        slot.row = Some(Row::new(row, attempt, monitor));
        (slot.attempt, slot.waits) = (attempt, true);
    }

    /// Makes a slot's cache ready for its row: with what another row's has in common with it, if that
    /// is half of the prompt. What is about to be computed in another slot is waited for.
    fn prepare(&mut self, place: usize) {
        let Some(row) = &self.slots[place].row else { return };
        let prompt = row.tokens();
        // The last token is always computed: what comes after it depends on its hidden state.
        let usable = |n_common: usize| {
            let n_common = n_common.min(prompt.len() - 1);
            if n_common * 2 >= prompt.len() { n_common } else { 0 }
        };
        let cached = self.slots.iter().map(|slot| usable(slot.cache.n_common(prompt)));
        // The own slot, where nothing has to be copied, before others.
        let best = cached.enumerate().max_by_key(|(other, n)| (*n, *other == place));
        let (source, n_known) = best.expect("this slot is one of them");
        let begun = self.slots.iter().filter(|slot| !slot.waits);
        let begun = begun.filter_map(|slot| slot.row.as_ref());
        let n_soon = begun.map(|row| usable(n_common(row.tokens(), prompt))).max().unwrap_or(0);
        if n_soon > 2 * n_known {
            return;
        }
        let n_tokens = prompt.len() + self.sampling.max_new_tokens;
        self.slots[place].waits = false;
        self.share(place, source, n_known, n_tokens);
    }

    /// Gives a slot the first tokens of another one's cache, and room for `n_tokens`.
    fn share(&mut self, place: usize, source: usize, n_known: usize, n_tokens: usize) {
        let Self { engine, slots, .. } = self;
        let new = || RowCache::new(engine.config.n_layers, engine.cache_heads(), n_tokens);
        let is_large = slots[place].cache.has_room(n_tokens);
        if source == place && !is_large {
            let mut cache = new();
            cache.copy_prefix(&slots[place].cache, n_known);
            slots[place].cache = cache;
            return;
        }
        if !is_large {
            slots[place].cache = new();
        }
        match slots.get_disjoint_mut([place, source]) {
            Ok([slot, source]) => slot.cache.copy_prefix(&source.cache, n_known),
            // One and the same.
            Err(_) => slots[place].cache.tokens.truncate(n_known),
        }
    }

    /// Extends each row by a token.
    fn step(&mut self) {
        let Self { engine, sampling, slots, scratch, .. } = self;
        let mut rows: Vec<Going<'_>> = slots.iter_mut().filter_map(Slot::going).collect();
        let costs: Vec<usize> =
            rows.iter().map(|(row, cache)| row.tokens().len() - cache.tokens.len()).collect();
        let n_threads = rayon::current_num_threads();
        let n_tokens: usize = costs.iter().sum();
        let is_small = engine.n_bytes < SMALL_WEIGHTS;
        let are_many = is_small || n_tokens >= n_threads * TOKENS_OF_A_THREAD;
        let is_little = n_tokens * engine.n_bytes / size_of::<f32>() < FEW_OPERATIONS;
        let apart = rows.len() >= n_threads && are_many && !is_little;
        let lengths = cut(&costs, if apart { n_threads } else { 1 });
        scratch.resize_with(scratch.len().max(lengths.len()), Scratch::default);
        if !apart {
            let threads = if is_little { Threads::One } else { Threads::All };
            // On one of the pool's threads, from where the others are reached faster.
            return rayon::scope(|_| engine.extend(&mut rows, sampling, &mut scratch[0], threads));
        }
        let mut rest = &mut rows[..];
        let mut groups = Vec::with_capacity(lengths.len());
        for (length, scratch) in lengths.into_iter().zip(scratch) {
            let (group, others) = std::mem::take(&mut rest).split_at_mut(length);
            groups.push((group, scratch));
            rest = others;
        }
        groups.into_par_iter().for_each(|(group, scratch)| {
            engine.extend(group, sampling, scratch, Threads::One);
        });
    }

    /// Tells of the new tokens, and takes out the rows that ended.
    fn follow(&mut self, monitor: &mut dyn Monitor) {
        for place in 0..self.slots.len() {
            let Self { sampling, slots, done, .. } = self;
            let slot = &mut slots[place];
            let Some((row, _)) = slot.going() else { continue };
            row.follow(sampling, monitor);
            if !row.has_ended(sampling) {
                continue;
            }
            let row = slot.row.take().expect("it was there above");
            let (number, attempt) = (row.number(), slot.attempt);
            let (generated, is_fine) = row.judged(attempt, sampling, monitor);
            if is_fine || attempt >= sampling.attempts {
                done[number] = Some(generated);
            } else {
                self.begin(place, number, attempt + 1, monitor);
            }
        }
    }
}

/// A row that is to be extended, and its cache.
type Going<'a> = (&'a mut Row, &'a mut RowCache);

impl Engine {
    /// Computes what comes next in each row, and draws it.
    fn extend(
        &self,
        rows: &mut [Going<'_>],
        sampling: &Sampling,
        scratch: &mut Scratch,
        threads: Threads,
    ) {
        let work = rows.iter_mut().map(|(row, cache)| {
            let tokens = &row.tokens()[cache.tokens.len()..];
            Work { cache, tokens }
        });
        self.forward(&mut work.collect::<Vec<_>>(), scratch, threads);
        let draw = |(number, (row, _)): (usize, &mut Going<'_>)| {
            row.draw(scratch.logits(number), sampling);
        };
        match threads {
            Threads::One => rows.iter_mut().enumerate().for_each(draw),
            Threads::All => rows.par_iter_mut().enumerate().for_each(draw),
        }
    }
}

/// Cuts a list into at most `n_parts` pieces that cost about the same; gives their lengths.
pub(super) fn cut(costs: &[usize], n_parts: usize) -> Vec<usize> {
    let total: usize = costs.iter().sum();
    let mut lengths = vec![0; n_parts];
    let mut before = 0;
    for cost in costs {
        // The part in which the middle of this one lies.
        let part = (2 * before + cost) * n_parts / (2 * total).max(1);
        lengths[part.min(n_parts - 1)] += 1;
        before += cost;
    }
    lengths.retain(|length| *length > 0);
    lengths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cost_about_the_same() {
        assert_eq!(cut(&[1; 6], 2), [3, 3]);
        assert_eq!(cut(&[1; 7], 3), [2, 3, 2]);
        assert_eq!(cut(&[9, 1, 1, 1, 1, 1, 1, 1, 1, 1], 2), [1, 9]);
        assert_eq!(cut(&[5], 4), [1]);
        assert_eq!(cut(&[], 4), [0_usize; 0]);
    }
}
