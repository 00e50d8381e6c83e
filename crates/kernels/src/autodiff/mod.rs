//! One step of the tape for each operation.

mod attention;
mod embed;
mod gather;
mod layers;
mod linear;
mod vocabulary;

use burn::backend::Autodiff;
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::tensor::ops::{FloatTensor, IntTensor};

use crate::gather::GradientSum;
use crate::kernels::{Kernels, added};
use crate::settings::{Gelu, HeadLayout, Heads, Precision};

impl<B: Kernels, C: CheckpointStrategy> Kernels for Autodiff<B, C> {
    const ON_HOST: bool = B::ON_HOST;
    const HAS_BF16: bool = B::HAS_BF16;

    fn embed(table: FloatTensor<Self>, ids: IntTensor<Self>) -> FloatTensor<Self> {
        embed::embed::<B, C>(table, ids)
    }

    fn norm(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: Option<FloatTensor<Self>>,
        eps: f32,
    ) -> FloatTensor<Self> {
        layers::norm::<B, C>(input, weight, bias, eps)
    }

    fn rotate(
        heads: FloatTensor<Self>,
        [cos, sin]: [FloatTensor<Self>; 2],
        head_dim: usize,
        back: bool,
    ) -> FloatTensor<Self> {
        layers::rotate::<B, C>(heads, [cos.primitive, sin.primitive], head_dim, back)
    }

    fn swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        layers::swiglu::<B, C>(gate, up)
    }

    fn gelu_unit(input: FloatTensor<Self>, kind: Gelu) -> FloatTensor<Self> {
        layers::gelu::<B, C>(input, kind)
    }

    fn project(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: Option<FloatTensor<Self>>,
        precision: Precision,
    ) -> FloatTensor<Self> {
        linear::linear::<B, C>(input, weight, bias, precision)
    }

    fn causal_attention(
        inputs: [FloatTensor<Self>; 3],
        heads: &Heads,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        attention::attention::<B, C>(inputs, heads)
    }

    fn token_stats(
        hidden: FloatTensor<Self>,
        head: FloatTensor<Self>,
        targets: IntTensor<Self>,
        layout: HeadLayout,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        vocabulary::token_stats::<B, C>(hidden, head, targets, layout)
    }
}

/// Adds a gradient to that of a parent which wants one.
fn give<B: Kernels>(grads: &mut Gradients, parent: Option<NodeId>, grad: FloatTensor<B>) {
    give_to_sum::<B>(grads, parent, |sum| added::<B>(sum, grad));
}

/// The same, where the gradient can be added to a sum as it is computed.
fn give_to_sum<B: Kernels>(
    grads: &mut Gradients,
    parent: Option<NodeId>,
    change: impl FnOnce(Option<FloatTensor<B>>) -> FloatTensor<B>,
) {
    let Some(parent) = parent else { return };
    match GradientSum::<B>::at(parent) {
        Some(sum) => sum.change(change),
        None => grads.register::<B>(parent, change(None)),
    }
}
