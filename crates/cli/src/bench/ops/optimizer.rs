use anyhow::Result;
use burn::prelude::*;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{DType, TensorMetadata};
use rein_kernels::{AdamW, Kernels, composed};

use super::{Load, Operations};

impl<B: Kernels> Operations<'_, B> {
    /// On the largest tensor, the embedding.
    pub(super) fn optimizer(&self) -> Result<()> {
        let count = self.sizes.model.vocab_size * self.sizes.model.hidden_size;
        let step = AdamW {
            keep: 0.999,
            rate: 1e-4,
            beta1: 0.9,
            beta2: 0.999,
            root_correction: 0.5,
            epsilon: 1e-8,
            grad_scale: 0.5,
            seed: 7,
        };
        let grad = self.primitive([count]);
        // Read: weight, gradient and moments; written: all but the gradient.
        self.adamw("adamw", DType::F32, &grad, &step, 7 * count)?;
        if B::supports_dtype(&self.device, DType::BF16) {
            self.adamw("adamw_bf16", DType::BF16, &grad, &step, 5 * count)?;
        }
        self.compare(
            "sum_of_squares",
            Load::Numbers(count),
            || B::sum_of_squares(grad.clone()),
            || composed::sum_of_squares::<B>(grad.clone()),
        )
    }
    /// With moments of this type, nothing but zeros at first.
    fn adamw(
        &self,
        what: &str,
        moments: DType,
        grad: &FloatTensor<B>,
        step: &AdamW,
        n_numbers: usize,
    ) -> Result<()> {
        let zeros = || {
            let zeros = Tensor::<B, 1>::zeros(grad.shape(), (&self.device, moments));
            composed::primitive(zeros)
        };
        let fresh = || (self.primitive(grad.shape().dims::<1>()), [zeros(), zeros()]);
        // Nobody else holds what a step changes, as in training.
        let mut fused = Some(fresh());
        let mut parts = Some(fresh());
        self.compare(
            what,
            Load::Numbers(n_numbers),
            || {
                let (weights, moments) = fused.take().expect("was put back");
                fused = Some(B::adamw(weights, grad.clone(), moments, step));
            },
            || {
                let (weights, moments) = parts.take().expect("was put back");
                parts = Some(composed::adamw::<B>(weights, grad.clone(), moments, step));
            },
        )
    }
}
