//! Rotary position embedding (Su et al., 2021).

use burn::prelude::*;

use crate::backend::LmBackend;
use crate::config::{Llama3Scaling, Rotary};
use crate::tokens::indices;

/// Rotates the heads of a batch's tokens.
///
/// `rotated = x · cos + (x R) · sin`, where `R` swaps the halves of the rotated dimensions and
/// negates one, as a small matrix product: slices and concatenations of heads are slow on CPUs.
#[derive(Clone, Debug)]
pub(crate) struct RotaryTables<B: Backend> {
    /// Cosines and sines, `[batch · time, heads · head_dim]` for as many heads as asked for.
    cos: Tensor<B, 2>,
    sin: Tensor<B, 2>,
    /// `[head_dim, head_dim]`
    swap: Tensor<B, 2>,
}

impl<B: LmBackend> RotaryTables<B> {
    /// Tables for tokens at these positions.
    pub(crate) fn new(
        rotary: &Rotary,
        positions: &[usize],
        [n_heads, head_dim]: [usize; 2],
        device: &B::Device,
    ) -> Self {
        let frequencies = frequencies(rotary);
        // A row for each position that occurs: few while decoding, all while training.
        let mut distinct = positions.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        let row = |position| distinct.binary_search(position).expect("is one of them");
        let index = indices::<B>(&positions.iter().map(row).collect::<Vec<_>>(), device);
        let table = |function: fn(f64) -> f64, passed: f32| {
            let mut cells = Vec::with_capacity(distinct.len() * n_heads * head_dim);
            for position in &distinct {
                let angle = |frequency: &f64| function(*position as f64 * frequency) as f32;
                let half: Vec<f32> = frequencies.iter().map(angle).collect();
                let mut head = [half.as_slice(), half.as_slice()].concat();
                head.resize(head_dim, passed);
                (0..n_heads).for_each(|_| cells.extend_from_slice(&head));
            }
            let shape = [distinct.len(), n_heads * head_dim];
            Tensor::from_data(TensorData::new(cells, shape), device).select(0, index.clone())
        };
        let swap = swap_halves(rotary.dims, head_dim);
        let swap = Tensor::from_data(TensorData::new(swap, [head_dim, head_dim]), device);
        Self { cos: table(f64::cos, 1.0), sin: table(f64::sin, 0.0), swap }
    }

    /// Rotates the pairs `(x_i, x_{i + dims/2})` of each head; what lies beyond `dims` passes.
    ///
    /// # Shapes
    /// - `heads`, returns: `[batch · time, heads · head_dim]`
    pub(crate) fn rotate(&self, heads: Tensor<B, 2>) -> Tensor<B, 2> {
        let [n_tokens, width] = heads.dims();
        let head_dim = self.swap.dims()[0];
        let one_a_row = heads.clone().reshape([n_tokens * width / head_dim, head_dim]);
        let swapped = one_a_row.matmul(self.swap.clone()).reshape([n_tokens, width]);
        heads * self.cos.clone() + swapped * self.sin.clone()
    }
}

/// The matrix that takes `x` to `(−x_{i + dims/2}, x_i)`; dimensions beyond `dims` become 0.
fn swap_halves(dims: usize, head_dim: usize) -> Vec<f32> {
    let half = dims / 2;
    let mut matrix = vec![0.0; head_dim * head_dim];
    for pair in 0..half {
        matrix[(pair + half) * head_dim + pair] = -1.0;
        matrix[pair * head_dim + pair + half] = 1.0;
    }
    matrix
}

/// Angles per position: `θ^(−2i / dims)`, the long wavelengths stretched where Llama 3 says so.
fn frequencies(rotary: &Rotary) -> Vec<f64> {
    // transformers computes these in f32; so do we, to agree in the last bit at long range.
    let frequency = |pair: usize| {
        let exponent = (2 * pair) as f32 / rotary.dims as f32;
        f64::from(1.0 / (rotary.theta as f32).powf(exponent))
    };
    let frequencies = (0..rotary.dims / 2).map(frequency);
    match rotary.llama3 {
        None => frequencies.collect(),
        Some(scaling) => frequencies.map(|frequency| stretch(frequency, &scaling)).collect(),
    }
}

/// Full stretch for long waves, none for short ones, a linear blend between.
fn stretch(frequency: f64, scaling: &Llama3Scaling) -> f64 {
    let Llama3Scaling { factor, low_freq_factor, high_freq_factor, original_positions } = *scaling;
    let wavelength = std::f64::consts::TAU / frequency;
    if wavelength < original_positions / high_freq_factor {
        frequency
    } else if wavelength > original_positions / low_freq_factor {
        frequency / factor
    } else {
        let share = (original_positions / wavelength - low_freq_factor)
            / (high_freq_factor - low_freq_factor);
        (1.0 - share) * frequency / factor + share * frequency
    }
}
