//! The operations, composed of ordinary ones: what any backend can do, and what kernels are tested
//! against.
//!
//! Backwards are written out, too: under `Autodiff`, a composed operation is one step of the tape like
//! a fused one.
//!
//! Functions stand here for what they are measured beside (`rein bench ops`): the operations to call are
//! those of [`ops`](crate::ops), which a backend answers in its own way.

mod attention;
mod layers;
mod optimizer;
mod vocabulary;

pub use attention::{attention, attention_backward};
pub use layers::{
    gelu, gelu_backward, linear, linear_backward_input, linear_backward_weight, norm,
    norm_backward, rotate, sum_of_rows, swiglu, swiglu_backward,
};
pub use optimizer::{adamw, sum_of_squares};
pub use vocabulary::{token_stats, token_stats_backward};

use burn::prelude::*;
use burn::tensor::TensorPrimitive;
use burn::tensor::ops::FloatTensor;

/// A primitive as a tensor.
pub fn tensor<B: Backend, const D: usize>(primitive: FloatTensor<B>) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(primitive))
}

/// A tensor as a primitive.
pub fn primitive<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> FloatTensor<B> {
    tensor.into_primitive().tensor()
}
