//! Rotary position embedding (Su et al., 2021).

use burn::prelude::*;

use crate::backend::LmBackend;
use crate::config::{Llama3Scaling, Rotary};

/// Cosines and sines for the tokens of a batch, each `[batch, time, 1, dims / 2]`.
#[derive(Clone, Debug)]
pub(crate) struct RotaryTables<B: Backend> {
    cos: Tensor<B, 4>,
    sin: Tensor<B, 4>,
}

impl<B: LmBackend> RotaryTables<B> {
    /// Tables for tokens at these positions, row-major `[batch, time]`.
    pub(crate) fn new(
        rotary: &Rotary,
        positions: &[usize],
        [n_batch, n_time]: [usize; 2],
        device: &B::Device,
    ) -> Self {
        let frequencies = frequencies(rotary);
        let n_positions = positions.iter().max().map_or(0, |last| last + 1);
        let table = |function: fn(f64) -> f64| {
            let row = |position| {
                frequencies
                    .iter()
                    .map(move |frequency| function(position as f64 * frequency) as f32)
            };
            let rows: Vec<Vec<f32>> =
                (0..n_positions).map(|position| row(position).collect()).collect();
            let values: Vec<f32> =
                positions.iter().flat_map(|position| &rows[*position]).copied().collect();
            Tensor::from_data(
                TensorData::new(values, [n_batch, n_time, 1, frequencies.len()]),
                device,
            )
        };
        Self { cos: table(f64::cos), sin: table(f64::sin) }
    }

    /// Rotates the pairs `(x_i, x_{i + dims/2})` of each head; what lies beyond `dims` passes.
    ///
    /// # Shapes
    /// - `heads`, returns: `[batch, time, heads, head_dim]`
    pub(crate) fn rotate(&self, heads: Tensor<B, 4>) -> Tensor<B, 4> {
        let head_dim = heads.dims()[3];
        let half = self.cos.dims()[3];
        let first = heads.clone().narrow(3, 0, half);
        let second = heads.clone().narrow(3, half, half);
        let (cos, sin) = (self.cos.clone(), self.sin.clone());
        let mut parts = vec![
            first.clone() * cos.clone() - second.clone() * sin.clone(),
            second * cos + first * sin,
        ];
        if 2 * half < head_dim {
            parts.push(heads.narrow(3, 2 * half, head_dim - 2 * half));
        }
        Tensor::cat(parts, 3)
    }
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
