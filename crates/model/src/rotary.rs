//! Rotary position embedding (Su et al., 2021).

use burn::prelude::*;
use rein_kernels::ops;

use crate::backend::LmBackend;
use crate::config::{Llama3Scaling, Rotary};

/// Rotates the heads of a batch's tokens.
#[derive(Clone, Debug)]
pub(crate) struct RotaryTables<B: Backend> {
    /// Cosines and sines, `[batch · time, pairs]`.
    angles: [Tensor<B, 2>; 2],
    head_dim: usize,
}

impl<B: LmBackend> RotaryTables<B> {
    /// Tables for tokens at these positions.
    pub(crate) fn new(
        rotary: &Rotary,
        positions: &[usize],
        head_dim: usize,
        device: &B::Device,
    ) -> Self {
        let frequencies = frequencies(rotary);
        // A row for each position up to the furthest: sines are slow, and rows share positions.
        let first = positions.iter().copied().min().unwrap_or(0);
        let last = positions.iter().copied().max().unwrap_or(0);
        let table = |function: fn(f64) -> f64| {
            let row = |position: usize| {
                frequencies.iter().map(move |it| function(position as f64 * it) as f32)
            };
            let known: Vec<f32> = (first..=last).flat_map(row).collect();
            let n_pairs = frequencies.len();
            let row = |position: &usize| &known[(position - first) * n_pairs..][..n_pairs];
            let cells: Vec<f32> = positions.iter().flat_map(row).copied().collect();
            Tensor::from_data(TensorData::new(cells, [positions.len(), n_pairs]), device)
        };
        Self { angles: [table(f64::cos), table(f64::sin)], head_dim }
    }

    /// Rotates the pairs `(x_i, x_{i + dims/2})` of each head; what lies beyond `dims` passes.
    ///
    /// # Shapes
    /// - `heads`, returns: `[batch · time, heads · head_dim]`
    pub(crate) fn rotate(&self, heads: Tensor<B, 2>) -> Tensor<B, 2> {
        ops::rotate(heads, self.angles.clone(), self.head_dim)
    }
}

/// Angles per position: `θ^(−2i / dims)`, the long wavelengths stretched where Llama 3 says so.
pub(crate) fn frequencies(rotary: &Rotary) -> Vec<f64> {
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
