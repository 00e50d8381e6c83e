//! What a packed model thinks of whole rows.

use rayon::prelude::*;
use rein_data::encoding::TokenRow;
use rein_kernels::cpu::packed::{Rows, Sink, Threads};
use rein_kernels::cpu::packed_head;

use super::cache::RowCache;
use super::forward::{Scratch, Token, Work};
use super::rollout::cut;
use super::weights::Engine;

/// Tokens that pass the layers side by side at most: enough that reading weights takes little of the
/// time.
const PASS_TOKENS: usize = 192;

/// A row, and the places whose hidden states are asked for, in order.
#[derive(Clone, Debug)]
struct Asked<'a> {
    tokens: &'a [u32],
    places: Vec<usize>,
}

impl Engine {
    /// Log-probabilities of each row's learned tokens, in nats, the scores divided by the temperature.
    pub(crate) fn logprobs(&self, rows: &[&TokenRow], temperature: f32) -> Vec<Vec<f32>> {
        let learned = |row: &TokenRow| -> Vec<usize> {
            (0..row.tokens.len()).filter(|place| row.learned[*place]).collect()
        };
        let asked = rows.iter().map(|row| Asked {
            tokens: &row.tokens,
            places: learned(row).into_iter().map(|place| place - 1).collect(),
        });
        self.hidden(&asked.collect::<Vec<_>>(), |rows, hidden, threads| {
            let next = |row: &Asked<'_>, place: usize| row.tokens[place + 1] as usize;
            let all = rows.iter().flat_map(|row| row.places.iter().map(|place| next(row, *place)));
            let targets: Vec<usize> = all.collect();
            let hidden = self.rows(hidden);
            let flat = packed_head::logprobs(hidden, &self.head, &targets, temperature, threads);
            crate::logprobs::split(&flat, rows.iter().map(|row| row.places.len()))
        })
    }

    /// The head's only number at the last token of each row.
    ///
    /// # Panics
    /// A row without tokens, and a head with several outputs.
    pub(crate) fn scores(&self, rows: &[&[u32]]) -> Vec<f32> {
        assert_eq!(self.head.n_out(), 1, "the head gives one number");
        self.hidden(&last_places(rows), |rows, hidden, threads| {
            let mut scores = vec![0.0; rows.len()];
            let sink = Sink { data: &mut scores, stride: 1, adds: false };
            self.head.multiply(self.rows(hidden), sink, threads);
            scores
        })
    }

    /// The hidden state at the last token of each row, after the last norm.
    ///
    /// # Panics
    /// A row without tokens.
    pub(crate) fn pooled(&self, rows: &[&[u32]]) -> Vec<Vec<f32>> {
        let width = self.config.hidden_size;
        self.hidden(&last_places(rows), |_, hidden, _| {
            hidden.chunks(width).map(<[f32]>::to_vec).collect()
        })
    }

    /// Hidden states that stand one after the other.
    fn rows<'a>(&self, hidden: &'a [f32]) -> Rows<'a> {
        let width = self.config.hidden_size;
        Rows { data: hidden, stride: width, count: hidden.len() / width }
    }

    /// What `head` makes of the hidden states asked for, a batch of rows at a time. Threads take rows of
    /// their own where there are enough, and share products otherwise; neither changes what comes out.
    fn hidden<T: Send>(
        &self,
        rows: &[Asked<'_>],
        head: impl Fn(&[Asked<'_>], &[f32], Threads) -> Vec<T> + Sync,
    ) -> Vec<T> {
        let batches = batches(rows);
        let costs: Vec<usize> = batches.iter().map(|batch| n_tokens(batch)).collect();
        let shares = cut(&costs, rayon::current_num_threads());
        let all = |batch: &&[Asked<'_>]| {
            head(batch, &self.hidden_of(batch, &mut Scratch::default(), Threads::All), Threads::All)
        };
        if shares.len() < rayon::current_num_threads() {
            return batches.iter().flat_map(all).collect();
        }
        let mut rest = &batches[..];
        let groups: Vec<&[&[Asked<'_>]]> = shares
            .into_iter()
            .map(|share| {
                let (group, others) = rest.split_at(share);
                rest = others;
                group
            })
            .collect();
        let groups = groups.into_par_iter().map(|group| {
            let mut scratch = Scratch::default();
            let one = |batch: &&[Asked<'_>]| {
                head(batch, &self.hidden_of(batch, &mut scratch, Threads::One), Threads::One)
            };
            group.iter().flat_map(one).collect::<Vec<T>>()
        });
        groups.collect::<Vec<_>>().into_iter().flatten().collect()
    }

    /// The hidden states that a batch's rows ask for, after the last norm.
    fn hidden_of(&self, rows: &[Asked<'_>], scratch: &mut Scratch, threads: Threads) -> Vec<f32> {
        let width = self.config.hidden_size;
        let new = |row: &Asked<'_>| {
            RowCache::new(self.config.n_layers, self.cache_heads(), row.tokens.len())
        };
        let mut caches: Vec<RowCache> = rows.iter().map(new).collect();
        let mut work: Vec<Work<'_>> = caches
            .iter_mut()
            .zip(rows)
            .map(|(cache, row)| Work { cache, tokens: row.tokens })
            .collect();
        let tokens = rows.iter().enumerate().flat_map(|(number, row)| {
            let numbered = row.tokens.iter().enumerate();
            numbered.map(move |(place, id)| Token { row: number, place, id: *id })
        });
        let mut hidden = vec![0.0; rows.iter().map(|row| row.places.len()).sum::<usize>() * width];
        let mut free = hidden.chunks_exact_mut(width);
        for pass in tokens.collect::<Vec<_>>().chunks(PASS_TOKENS) {
            self.pass(pass, &mut work, scratch, threads);
            for (number, token) in pass.iter().enumerate() {
                if rows[token.row].places.binary_search(&token.place).is_ok() {
                    let hidden = free.next().expect("places are tokens of their row");
                    self.norm.rows(scratch.stream.row(number), hidden);
                }
            }
        }
        hidden
    }
}

/// Rows that are asked at their last token.
fn last_places<'a>(rows: &[&'a [u32]]) -> Vec<Asked<'a>> {
    let last = |row: &[u32]| row.len().checked_sub(1).expect("a row has tokens");
    rows.iter().map(|row| Asked { tokens: row, places: vec![last(row)] }).collect()
}

fn n_tokens(rows: &[Asked<'_>]) -> usize {
    rows.iter().map(|row| row.tokens.len()).sum()
}

/// Rows that fill a pass together, or one that is longer.
fn batches<'a, 'b>(rows: &'a [Asked<'b>]) -> Vec<&'a [Asked<'b>]> {
    let (mut batches, mut rest) = (Vec::new(), rows);
    while !rest.is_empty() {
        let fits = |count: &usize| n_tokens(&rest[..*count]) <= PASS_TOKENS;
        let count = (1..=rest.len()).take_while(fits).last().unwrap_or(1);
        let (batch, others) = rest.split_at(count);
        batches.push(batch);
        rest = others;
    }
    batches
}
