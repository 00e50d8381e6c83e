use burn::prelude::*;
use burn::tensor::ops::FloatTensor;

use super::{primitive, tensor};
use crate::settings::AdamW;

/// [`Kernels::adamw`](crate::Kernels::adamw)
pub fn adamw<B: Backend>(
    weights: FloatTensor<B>,
    grad: FloatTensor<B>,
    [first, second]: [FloatTensor<B>; 2],
    step: &AdamW,
) -> (FloatTensor<B>, [FloatTensor<B>; 2]) {
    let AdamW { keep, rate, beta1, beta2, root_correction, epsilon, grad_scale } = *step;
    let grad = tensor::<B, 1>(grad) * grad_scale;
    let second = tensor::<B, 1>(second) * beta2 + grad.clone().square() * (1.0 - beta2);
    let first = tensor::<B, 1>(first) * beta1 + grad * (1.0 - beta1);
    let denominator = second.clone().sqrt() / root_correction + epsilon;
    let weights = tensor::<B, 1>(weights) * keep - first.clone() / denominator * rate;
    (primitive(weights), [primitive(first), primitive(second)])
}

/// [`Kernels::sum_of_squares`](crate::Kernels::sum_of_squares)
pub fn sum_of_squares<B: Backend>(values: FloatTensor<B>) -> FloatTensor<B> {
    primitive(tensor::<B, 1>(values).square().sum())
}
