//! Models whose matrix products are rounded.

use burn::prelude::*;
use burn::tensor::DType;
use rein_kernels::Precision;
use rein_kernels::cpu::bf16;
use serde::{Deserialize, Serialize};

use crate::backend::LmBackend;
use crate::block::{Block, Mlp};
use crate::decoder::Decoder;
use crate::linear::Linear;
use crate::{Attention, CausalLm, ScalarModel};

/// What a run computes and keeps in which precision. Weights that are trained and gradients are f32
/// always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Precisions {
    /// The weights while completions are sampled.
    pub rollout: Precision,
    /// The weights of models that are asked and never trained.
    pub frozen: Precision,
    /// The products of training, forward and backward.
    pub training: Precision,
    /// The optimiser's moments.
    pub moments: Precision,
}

impl Precisions {
    /// All products in one; moments stay f32.
    pub fn of_products(precision: Precision) -> Self {
        let moments = Precision::F32;
        Self { rollout: precision, frozen: precision, training: precision, moments }
    }

    /// The keys of a config that products in bf16 can be asked for with, and what they ask for.
    pub fn products_by_key(&self) -> [(&'static str, Precision); 3] {
        let Self { rollout, frozen, training, .. } = *self;
        [("rollout", rollout), ("frozen", frozen), ("training", training)]
    }
}

/// Why products in this precision can't be had on the backend or the machine, if they can't.
pub fn obstacle<B: LmBackend>(precision: Precision) -> Option<&'static str> {
    match precision {
        Precision::F32 => None,
        Precision::Bf16 if !B::HAS_BF16 => Some("the backend doesn't compute in bf16"),
        Precision::Bf16 if !bf16::is_fast() => {
            Some("the processor doesn't compute in bf16 (AVX512-BF16)")
        }
        Precision::Bf16 => None,
    }
}

/// Why an optimiser's moments can't be kept in this precision on the backend, if they can't. Rounding
/// them takes no instructions of the processor's own.
pub fn moments_obstacle<B: LmBackend>(
    precision: Precision,
    device: &B::Device,
) -> Option<&'static str> {
    let can_be_kept = precision == Precision::F32 || B::supports_dtype(device, DType::BF16);
    (!can_be_kept).then_some("the backend keeps no tensors in bf16")
}

impl<B: LmBackend> CausalLm<B> {
    /// The model with products of this precision, forward and backward: those of linear layers and of
    /// the head. Weights and gradients stay f32.
    #[must_use]
    pub fn with_precision(self, precision: Precision) -> Self {
        Self { decoder: self.decoder.with_precision(precision), ..self }
    }
}

impl<B: LmBackend> ScalarModel<B> {
    /// The model with products of this precision, forward and backward, but for the score head.
    #[must_use]
    pub fn with_precision(self, precision: Precision) -> Self {
        Self { decoder: self.decoder.with_precision(precision), ..self }
    }
}

impl<B: LmBackend> Decoder<B> {
    fn with_precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        for layer in self.blocks.iter_mut().flat_map(linear_layers) {
            layer.precision = precision;
        }
        self
    }
}

fn linear_layers<B: Backend>(block: &mut Block<B>) -> impl Iterator<Item = &mut Linear<B>> {
    let Block { attention, mlp, .. } = block;
    let Attention { query, key, value, output, .. } = attention;
    let Mlp { gate, up, down, .. } = mlp;
    [query, key, value, output, up, down].into_iter().chain(gate)
}
