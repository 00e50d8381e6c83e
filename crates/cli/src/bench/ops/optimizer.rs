use anyhow::Result;
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
        };
        let grad = self.primitive([count]);
        let fresh = || {
            // Second moments are never below zero.
            let zeros = || composed::primitive(self.tensor([count]) * 0.0);
            (self.primitive([count]), [zeros(), zeros()])
        };
        // Nobody else holds what a step changes, as in training.
        let mut fused = Some(fresh());
        let mut parts = Some(fresh());
        self.compare(
            "adamw",
            Load::Numbers(7 * count),
            || {
                let (weights, moments) = fused.take().expect("was put back");
                fused = Some(B::adamw(weights, grad.clone(), moments, &step));
            },
            || {
                let (weights, moments) = parts.take().expect("was put back");
                parts = Some(composed::adamw::<B>(weights, grad.clone(), moments, &step));
            },
        )?;
        self.compare(
            "sum_of_squares",
            Load::Numbers(count),
            || B::sum_of_squares(grad.clone()),
            || composed::sum_of_squares::<B>(grad.clone()),
        )
    }
}
