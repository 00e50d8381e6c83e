//! The pass of a few rows through all layers.

use rayon::prelude::*;
use rein_kernels::Gelu;
use rein_kernels::cpu::activation::{gelu_rows, swiglu_rows};
use rein_kernels::cpu::packed::Threads;
use rein_kernels::cpu::rotary::{Angles, rotate_rows};

use super::cache::RowCache;
use super::grid::Grid;
use super::weights::{Engine, HostNorm, Layer};
use crate::config::{MlpKind, ModelConfig};

/// Tokens that pass the layers side by side at most: a multiple of a tile's rows, and few enough that
/// their numbers stay in a core's cache.
const PASS_TOKENS: usize = 96;

/// A row and the tokens that come next in it.
#[derive(Debug)]
pub(super) struct Work<'a> {
    pub(super) cache: &'a mut RowCache,
    pub(super) tokens: &'a [u32],
}

/// Room for the numbers of a pass, used again by the next one.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// The residual stream.
    pub(super) stream: Grid,
    normal: Grid,
    /// The feed-forward layer's input, where it doesn't come after attention.
    parallel: Grid,
    /// Queries, keys and values of each token.
    qkv: Grid,
    mixed: Grid,
    up: Grid,
    inner: Grid,
    /// The last token's hidden state of each row.
    last: Grid,
    logits: Grid,
    cos: Grid,
    sin: Grid,
    room: Vec<f32>,
}

impl Scratch {
    /// What was computed for a row, `[vocab]`.
    pub(super) fn logits(&self, row: usize) -> &[f32] {
        self.logits.row(row)
    }
}

/// One token of a pass: the number of its row, its place there, its id.
#[derive(Clone, Copy)]
pub(super) struct Token {
    pub(super) row: usize,
    pub(super) place: usize,
    pub(super) id: u32,
}

impl Engine {
    /// Appends each row's tokens to its cache and computes what the model says of the one after them,
    /// into the scratch's logits.
    pub(super) fn forward(&self, work: &mut [Work<'_>], scratch: &mut Scratch, threads: Threads) {
        let tokens: Vec<Token> = work
            .iter()
            .enumerate()
            .flat_map(|(row, work)| {
                let n_past = work.cache.tokens.len();
                let numbered = work.tokens.iter().enumerate();
                numbered.map(move |(number, id)| Token { row, place: n_past + number, id: *id })
            })
            .collect();
        scratch.last.shape(work.len(), self.config.hidden_size);
        for pass in tokens.chunks(PASS_TOKENS) {
            self.pass(pass, work, scratch, threads);
            for (number, token) in pass.iter().enumerate() {
                work[token.row].cache.tokens.push(token.id);
                // A row's last token in this pass; a later pass may overwrite it with a later one.
                let output = scratch.last.row_mut(token.row);
                self.norm_last(pass, number, &scratch.stream, output);
            }
        }
        let Scratch { last, logits, .. } = scratch;
        logits.product(last, work.len(), &self.head, threads);
    }

    /// The final norm of a token that is its row's last in this pass.
    fn norm_last(&self, pass: &[Token], number: usize, stream: &Grid, output: &mut [f32]) {
        if pass.get(number + 1).is_none_or(|next| next.row != pass[number].row) {
            self.norm.rows(stream.row(number), output);
        }
    }

    /// Takes tokens through all layers, into the scratch's stream.
    pub(super) fn pass(
        &self,
        tokens: &[Token],
        work: &mut [Work<'_>],
        scratch: &mut Scratch,
        threads: Threads,
    ) {
        let n_tokens = tokens.len();
        self.begin(tokens, scratch);
        for (number, layer) in self.layers.iter().enumerate() {
            let Scratch { stream, normal, parallel, qkv, .. } = scratch;
            norm_rows(&layer.attention_norm, n_tokens, stream, normal);
            if self.config.parallel_residual {
                norm_rows(&layer.mlp_norm, n_tokens, stream, parallel);
            }
            qkv.product(normal, n_tokens, &layer.qkv, threads);
            self.place(layer, number, tokens, work, scratch);
            self.attend(number, tokens, work, scratch, threads);
            let Scratch { stream, normal, parallel, mixed, up, inner, .. } = scratch;
            stream.add_product(mixed, n_tokens, &layer.output, threads);
            let input = if self.config.parallel_residual {
                parallel
            } else {
                norm_rows(&layer.mlp_norm, n_tokens, stream, normal);
                normal
            };
            up.product(input, n_tokens, &layer.up, threads);
            self.activate(n_tokens, up, inner);
            stream.add_product(inner, n_tokens, &layer.down, threads);
        }
    }

    /// The stream before the first layer, and the angles of the tokens' places.
    fn begin(&self, tokens: &[Token], scratch: &mut Scratch) {
        let width = self.config.hidden_size;
        let Scratch { stream, cos, sin, .. } = scratch;
        stream.shape(tokens.len(), width);
        for (row, token) in tokens.iter().enumerate() {
            let stream = stream.row_mut(row);
            self.embed(token.id as usize, stream);
            if let Some(positions) = &self.positions {
                let position = &positions[token.place * width..][..width];
                stream.iter_mut().zip(position).for_each(|(x, position)| *x += position);
            }
        }
        if let Some(frequencies) = &self.frequencies {
            cos.shape(tokens.len(), frequencies.len());
            sin.shape(tokens.len(), frequencies.len());
            for (row, token) in tokens.iter().enumerate() {
                let angles = frequencies.iter().map(|it| token.place as f64 * it);
                let numbers = cos.row_mut(row).iter_mut().zip(sin.row_mut(row));
                for ((cos, sin), angle) in numbers.zip(angles) {
                    (*cos, *sin) = (angle.cos() as f32, angle.sin() as f32);
                }
            }
        }
    }

    /// Normalises and rotates queries and keys; puts keys and values into the rows' caches.
    fn place(
        &self,
        layer: &Layer,
        number: usize,
        tokens: &[Token],
        work: &mut [Work<'_>],
        scratch: &mut Scratch,
    ) {
        let ModelConfig { n_heads, n_kv_heads, head_dim, .. } = self.config;
        let (n_query, n_key) = (n_heads * head_dim, n_kv_heads * head_dim);
        let Scratch { qkv, cos, sin, room, .. } = scratch;
        for (row, token) in tokens.iter().enumerate() {
            let qkv = qkv.row_mut(row);
            if let (Some(query_norm), Some(key_norm)) = (&layer.query_norm, &layer.key_norm) {
                room.clear();
                room.extend_from_slice(&qkv[..n_query + n_key]);
                query_norm.rows(&room[..n_query], &mut qkv[..n_query]);
                key_norm.rows(&room[n_query..], &mut qkv[n_query..n_query + n_key]);
            }
            if let Some(frequencies) = &self.frequencies {
                let angles = Angles {
                    cos: cos.row(row),
                    sin: sin.row(row),
                    n_pairs: frequencies.len(),
                    back: false,
                };
                let width = n_query + n_key;
                rotate_rows(&mut qkv[..width], width, head_dim, angles);
            }
            let (key, value) = qkv[n_query..].split_at(n_key);
            work[token.row].cache.append(number, token.place, key, value);
        }
    }

    /// What each token sees of its row up to itself.
    fn attend(
        &self,
        number: usize,
        tokens: &[Token],
        work: &[Work<'_>],
        scratch: &mut Scratch,
        threads: Threads,
    ) {
        let ModelConfig { n_heads, head_dim, .. } = self.config;
        let width = n_heads * head_dim;
        let Scratch { qkv, mixed, room, .. } = scratch;
        let one = |row: usize, output: &mut [f32], room: &mut Vec<f32>| {
            let Token { row: of, place, .. } = tokens[row];
            let query = &qkv.row(row)[..width];
            work[of].cache.attend(number, place + 1, query, room, &mut output[..width]);
        };
        let (stride, mixed) = mixed.shape(tokens.len(), width).strided_mut(tokens.len());
        if threads == Threads::One {
            let rows = mixed.chunks_exact_mut(stride).enumerate();
            rows.for_each(|(row, output)| one(row, output, room));
        } else {
            let rows = mixed.par_chunks_exact_mut(stride).enumerate();
            rows.for_each_init(Vec::new, |room, (row, output)| one(row, output, room));
        }
    }

    fn activate(&self, n_tokens: usize, up: &Grid, inner: &mut Grid) {
        let width = self.config.mlp_size;
        inner.shape(n_tokens, width);
        for row in 0..n_tokens {
            let (up, inner) = (up.row(row), inner.row_mut(row));
            match self.config.mlp {
                MlpKind::SwiGlu => swiglu_rows(&up[..width], &up[width..], inner),
                MlpKind::GeluErf => gelu_rows(up, Gelu::Erf, inner),
                MlpKind::GeluTanh => gelu_rows(up, Gelu::Tanh, inner),
            }
        }
    }
}

fn norm_rows(norm: &HostNorm, n_rows: usize, input: &Grid, output: &mut Grid) {
    output.shape(n_rows, input.row(0).len());
    (0..n_rows).for_each(|row| norm.rows(input.row(row), output.row_mut(row)));
}
