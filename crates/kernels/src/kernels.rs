use burn::tensor::backend::Backend;
use burn::tensor::ops::{FloatTensor, IntTensor};

use crate::composed;
use crate::settings::{AdamW, Gelu, HeadLayout, Heads, Precision};

/// A backend with the fused operations; see [`ops`](crate::ops) for what each computes.
///
/// Bodies given here are composed of ordinary operations. Tensors of hidden states are
/// `[tokens, width]`.
pub trait Kernels: Backend {
    /// Whether tensors are numbers in main memory, so that decoding does better without them.
    const ON_HOST: bool = false;

    /// Whether products are computed in bf16 where they are asked for in it. A backend without it
    /// computes in f32, so look here first.
    const HAS_BF16: bool = false;

    /// [`ops::embed`](crate::ops::embed)
    fn embed(table: FloatTensor<Self>, ids: IntTensor<Self>) -> FloatTensor<Self> {
        Self::float_select(table, 0, ids)
    }

    /// Adds each of `rows` to the row of `table` with its id, in place if nobody else holds the table.
    fn add_rows(
        table: FloatTensor<Self>,
        ids: IntTensor<Self>,
        rows: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        Self::float_select_add(table, 0, ids, rows)
    }

    /// [`ops::norm`](crate::ops::norm)
    fn norm(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: Option<FloatTensor<Self>>,
        eps: f32,
    ) -> FloatTensor<Self> {
        composed::norm::<Self>(input, weight, bias, eps)
    }

    /// Gradients of input, weight and bias.
    fn norm_backward(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        with_bias: bool,
        eps: f32,
        grad: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, Option<FloatTensor<Self>>) {
        composed::norm_backward::<Self>(input, weight, with_bias, eps, grad)
    }

    /// [`ops::rotate`](crate::ops::rotate), or back.
    fn rotate(
        heads: FloatTensor<Self>,
        [cos, sin]: [FloatTensor<Self>; 2],
        head_dim: usize,
        back: bool,
    ) -> FloatTensor<Self> {
        composed::rotate::<Self>(heads, [cos, sin], head_dim, back)
    }

    /// [`ops::swiglu`](crate::ops::swiglu)
    fn swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        composed::swiglu::<Self>(gate, up)
    }

    /// Gradients of the gate and of what it lets through.
    fn swiglu_backward(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        composed::swiglu_backward::<Self>(gate, up, grad)
    }

    /// [`ops::gelu`](crate::ops::gelu)
    fn gelu_unit(input: FloatTensor<Self>, kind: Gelu) -> FloatTensor<Self> {
        composed::gelu::<Self>(input, kind)
    }

    /// The gradient of the input.
    fn gelu_unit_backward(
        input: FloatTensor<Self>,
        kind: Gelu,
        grad: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        composed::gelu_backward::<Self>(input, kind, grad)
    }

    /// [`ops::linear`](crate::ops::linear)
    fn project(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: Option<FloatTensor<Self>>,
        _precision: Precision,
    ) -> FloatTensor<Self> {
        composed::linear::<Self>(input, weight, bias)
    }

    /// `g Wᵀ`
    fn project_backward_input(
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        _precision: Precision,
    ) -> FloatTensor<Self> {
        composed::linear_backward_input::<Self>(weight, grad)
    }

    /// `xᵀ g`, added to `sum` if there is one.
    fn project_backward_weight(
        input: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        sum: Option<FloatTensor<Self>>,
        _precision: Precision,
    ) -> FloatTensor<Self> {
        let gradient = composed::linear_backward_weight::<Self>(input, grad);
        added::<Self>(sum, gradient)
    }

    /// The sum of rows, `[width]`.
    fn sum_of_rows(rows: FloatTensor<Self>) -> FloatTensor<Self> {
        composed::sum_of_rows::<Self>(rows)
    }

    /// [`ops::attention`](crate::ops::attention), and the logarithms of the sums of exponentials of
    /// the scores, `[tokens, heads]`.
    fn causal_attention(
        inputs: [FloatTensor<Self>; 3],
        heads: &Heads,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        composed::attention::<Self>(inputs, heads)
    }

    /// Gradients of queries, keys and values.
    fn causal_attention_backward(
        inputs: [FloatTensor<Self>; 3],
        seen: AttentionSeen<Self>,
        heads: &Heads,
    ) -> [FloatTensor<Self>; 3] {
        composed::attention_backward::<Self>(inputs, seen, heads)
    }

    /// [`ops::token_stats`](crate::ops::token_stats), and the logarithms of the sums of
    /// exponentials, `[tokens]`.
    fn token_stats(
        hidden: FloatTensor<Self>,
        head: FloatTensor<Self>,
        targets: IntTensor<Self>,
        layout: HeadLayout,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        composed::token_stats::<Self>(hidden, head, targets, layout)
    }

    /// Gradients of the hidden states and, if it is wanted, of the head.
    fn token_stats_backward(
        hidden: FloatTensor<Self>,
        head: FloatTensor<Self>,
        targets: IntTensor<Self>,
        layout: HeadLayout,
        seen: StatsSeen<Self>,
        of_head: Wanted<FloatTensor<Self>>,
    ) -> (FloatTensor<Self>, Option<FloatTensor<Self>>) {
        let wanted = !matches!(of_head, Wanted::Not);
        let (of_hidden, gradient) =
            composed::token_stats_backward::<Self>(hidden, head, targets, layout, seen, wanted);
        let of_head = gradient.map(|gradient| match of_head {
            Wanted::AddedTo(sum) => Self::plus(sum, gradient),
            _ => gradient,
        });
        (of_hidden, of_head)
    }

    /// [`ops::adamw`](crate::ops::adamw): the weights and their moments after the step.
    fn adamw(
        weights: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        moments: [FloatTensor<Self>; 2],
        step: &AdamW,
    ) -> (FloatTensor<Self>, [FloatTensor<Self>; 2]) {
        composed::adamw::<Self>(weights, grad, moments, step)
    }

    /// The sum of two tensors, in place of the first if nobody else holds it.
    fn plus(sum: FloatTensor<Self>, other: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::float_add(sum, other)
    }

    /// `Σ x²`, `[1]`.
    fn sum_of_squares(values: FloatTensor<Self>) -> FloatTensor<Self> {
        composed::sum_of_squares::<Self>(values)
    }
}

/// A gradient, added to a sum if there is one.
pub(crate) fn added<B: Kernels>(
    sum: Option<FloatTensor<B>>,
    gradient: FloatTensor<B>,
) -> FloatTensor<B> {
    match sum {
        Some(sum) => B::plus(sum, gradient),
        None => gradient,
    }
}

/// What is to become of a gradient.
#[derive(Debug)]
pub enum Wanted<T> {
    /// Nobody asks for it.
    Not,
    /// It is a tensor of its own.
    New,
    /// It is added to this one.
    AddedTo(T),
}

/// What attention gave, and the gradient of its output.
#[derive(Debug)]
pub struct AttentionSeen<B: Backend> {
    /// `[tokens, heads · head_dim]`
    pub output: FloatTensor<B>,
    /// `[tokens, heads]`
    pub logs: FloatTensor<B>,
    /// As the output.
    pub grad: FloatTensor<B>,
}

/// What the statistics of tokens were, and their gradient.
#[derive(Debug)]
pub struct StatsSeen<B: Backend> {
    /// `[tokens, 4]`
    pub stats: FloatTensor<B>,
    /// `[tokens]`
    pub logs: FloatTensor<B>,
    /// As the statistics.
    pub grad: FloatTensor<B>,
}
