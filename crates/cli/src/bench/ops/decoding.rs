//! What a rollout's step is made of where tensors lie in main memory, beside the same on tensors.

use anyhow::Result;
use burn::prelude::*;
use burn::tensor::activation::softmax;
use rayon::prelude::*;
use rein_data::seed::Seed;
use rein_kernels::cpu::decode::{CacheHeads, append, attend};
use rein_kernels::cpu::draw::{block_weights, largest};
use rein_kernels::cpu::packed::{Packed, Rows, Sink, Source, Threads};
use rein_kernels::{Kernels, Precision};

use super::{Load, Operations};

impl<B: Kernels> Operations<'_, B> {
    pub(super) fn decoding(&self) -> Result<()> {
        self.decode_attention()?;
        self.packed_product()?;
        self.draw()
    }

    /// Of each row's last token, to all before it.
    fn decode_attention(&self) -> Result<()> {
        let model = &self.sizes.model;
        let ([n_rows, ..], n_keys) = (self.sizes.rollout, self.sizes.rollout_length());
        let head_dim = model.hidden_size / model.n_heads;
        let heads = CacheHeads { n_kv_heads: model.n_kv_heads, head_dim };
        let key_width = model.n_kv_heads * head_dim;
        let token = numbers(key_width);
        let cache = || {
            let mut cache = [(); 2].map(|()| vec![0.0; heads.n_numbers(n_keys)]);
            let [keys, values] = &mut cache;
            for place in 0..n_keys {
                append(heads, place, (keys, values), (&token, &token));
            }
            cache
        };
        let caches: Vec<[Vec<f32>; 2]> = (0..n_rows).map(|_| cache()).collect();
        let query = numbers(model.hidden_size);
        let mut output = vec![0.0; n_rows * model.hidden_size];
        let fused = || {
            let rows = output.par_chunks_exact_mut(model.hidden_size).zip(&caches);
            rows.for_each_init(Vec::new, |room, (output, [keys, values])| {
                attend(heads, n_keys, (keys, values), &query, room, output);
            });
        };
        let n_shared = model.n_heads / model.n_kv_heads;
        let queries = self.tensor([n_rows, model.n_kv_heads, n_shared, head_dim]);
        let [keys, values] =
            [(); 2].map(|()| self.tensor([n_rows, model.n_kv_heads, n_keys, head_dim]));
        let scale = 1.0 / (head_dim as f32).sqrt();
        let composed = || {
            let scores = (queries.clone() * scale).matmul(keys.clone().swap_dims(2, 3));
            softmax(scores, 3).matmul(values.clone())
        };
        let load = Load::Numbers(2 * n_rows * n_keys * key_width);
        self.compare("decode_attention", load, fused, composed)
    }

    /// Into the feed-forward layer, of each row's last token.
    fn packed_product(&self) -> Result<()> {
        let (n_in, n_out) = (self.sizes.model.hidden_size, self.sizes.model.mlp_size);
        let [n_rows, ..] = self.sizes.rollout;
        let weights = numbers(n_in * n_out);
        let source = Source { values: &weights, transposed: false, bias: None };
        let packed = Packed::new(n_in, &[source], Precision::F32);
        let input = numbers(n_rows * n_in);
        let mut output = vec![0.0; n_rows * n_out];
        let fused = || {
            let rows = Rows { data: &input, stride: n_in, count: n_rows };
            let sink = Sink { data: &mut output, stride: n_out, adds: false };
            packed.multiply(rows, sink, Threads::All);
        };
        let (x, w) = (self.tensor([n_rows, n_in]), self.tensor([n_in, n_out]));
        let composed = || x.clone().matmul(w.clone());
        let load = Load::Flops(2 * n_rows * n_in * n_out);
        self.compare("packed_product", load, fused, composed)
    }

    /// The weights of all tokens, from which each row's next one is drawn.
    fn draw(&self) -> Result<()> {
        let ([n_rows, ..], n_entries) = (self.sizes.rollout, self.sizes.model.vocab_size);
        let logits = numbers(n_rows * n_entries);
        let fused = || {
            let rows = logits.par_chunks_exact(n_entries);
            let weights = rows.map(|row| block_weights(row, largest(row), 1.0));
            weights.collect::<Vec<_>>()
        };
        let scores: Tensor<B, 2> = self.tensor([n_rows, n_entries]);
        let composed = || softmax(scores.clone(), 1);
        self.compare("draw", Load::Numbers(n_rows * n_entries), fused, composed)
    }
}

/// Numbers within ±1.
fn numbers(count: usize) -> Vec<f32> {
    use rand::RngExt;
    let mut rng = Seed::new(0).rng();
    (0..count).map(|_| rng.random_range(-1.0..1.0)).collect()
}
