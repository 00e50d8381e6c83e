use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::ops::FloatTensor;

use super::give;
use crate::kernels::Kernels;
use crate::settings::Gelu;

type Tracked<B, C> = FloatTensor<Autodiff<B, C>>;

#[derive(Debug)]
struct Norm;

/// Input, weight and epsilon.
type NormState<B> = (FloatTensor<B>, FloatTensor<B>, f32);

impl<B: Kernels> Backward<B, 2> for Norm {
    type State = NormState<B>;

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (input, weight, eps) = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        let (of_input, of_weight, _) = B::norm_backward(input, weight, false, eps, grad);
        let [input, weight] = ops.parents.map(|it| it.map(|it| it.id));
        give::<B>(grads, input, of_input);
        give::<B>(grads, weight, of_weight);
    }
}

#[derive(Debug)]
struct LayerNorm;

impl<B: Kernels> Backward<B, 3> for LayerNorm {
    type State = NormState<B>;

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (input, weight, eps) = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        let (of_input, of_weight, of_bias) = B::norm_backward(input, weight, true, eps, grad);
        let [input, weight, bias] = ops.parents.map(|it| it.map(|it| it.id));
        give::<B>(grads, input, of_input);
        give::<B>(grads, weight, of_weight);
        if let Some(of_bias) = of_bias {
            give::<B>(grads, bias, of_bias);
        }
    }
}

pub(super) fn norm<B: Kernels, C: CheckpointStrategy>(
    input: Tracked<B, C>,
    weight: Tracked<B, C>,
    bias: Option<Tracked<B, C>>,
    eps: f32,
) -> Tracked<B, C> {
    let (x, w) = (input.primitive, weight.primitive);
    let state = (x.clone(), w.clone(), eps);
    match bias {
        None => {
            let output = B::norm(x, w, None, eps);
            let nodes = [input.node, weight.node];
            match Norm.prepare::<C>(nodes).compute_bound().stateful() {
                OpsKind::Tracked(prep) => prep.finish(state, output),
                OpsKind::UnTracked(prep) => prep.finish(output),
            }
        }
        Some(bias) => {
            let output = B::norm(x, w, Some(bias.primitive), eps);
            let nodes = [input.node, weight.node, bias.node];
            match LayerNorm.prepare::<C>(nodes).compute_bound().stateful() {
                OpsKind::Tracked(prep) => prep.finish(state, output),
                OpsKind::UnTracked(prep) => prep.finish(output),
            }
        }
    }
}

#[derive(Debug)]
struct Rotate;

impl<B: Kernels> Backward<B, 1> for Rotate {
    /// The angles, the width of a head, and whether they were turned back.
    type State = ([FloatTensor<B>; 2], usize, bool);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (angles, head_dim, back) = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        let [heads] = ops.parents.map(|it| it.map(|it| it.id));
        give::<B>(grads, heads, B::rotate(grad, angles, head_dim, !back));
    }
}

pub(super) fn rotate<B: Kernels, C: CheckpointStrategy>(
    heads: Tracked<B, C>,
    angles: [FloatTensor<B>; 2],
    head_dim: usize,
    back: bool,
) -> Tracked<B, C> {
    let output = B::rotate(heads.primitive, angles.clone(), head_dim, back);
    match Rotate.prepare::<C>([heads.node]).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish((angles, head_dim, back), output),
        OpsKind::UnTracked(prep) => prep.finish(output),
    }
}

#[derive(Debug)]
struct Swiglu;

impl<B: Kernels> Backward<B, 2> for Swiglu {
    /// The gate and what it lets through.
    type State = (FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (gate, up) = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        let (of_gate, of_up) = B::swiglu_backward(gate, up, grad);
        let [gate, up] = ops.parents.map(|it| it.map(|it| it.id));
        give::<B>(grads, gate, of_gate);
        give::<B>(grads, up, of_up);
    }
}

pub(super) fn swiglu<B: Kernels, C: CheckpointStrategy>(
    gate: Tracked<B, C>,
    up: Tracked<B, C>,
) -> Tracked<B, C> {
    let state = (gate.primitive.clone(), up.primitive.clone());
    let output = B::swiglu(gate.primitive, up.primitive);
    match Swiglu.prepare::<C>([gate.node, up.node]).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish(state, output),
        OpsKind::UnTracked(prep) => prep.finish(output),
    }
}

#[derive(Debug)]
struct GeluUnit;

impl<B: Kernels> Backward<B, 1> for GeluUnit {
    type State = (FloatTensor<B>, Gelu);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (input, kind) = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        let [parent] = ops.parents.map(|it| it.map(|it| it.id));
        give::<B>(grads, parent, B::gelu_unit_backward(input, kind, grad));
    }
}

pub(super) fn gelu<B: Kernels, C: CheckpointStrategy>(
    input: Tracked<B, C>,
    kind: Gelu,
) -> Tracked<B, C> {
    let state = (input.primitive.clone(), kind);
    let output = B::gelu_unit(input.primitive, kind);
    match GeluUnit.prepare::<C>([input.node]).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish(state, output),
        OpsKind::UnTracked(prep) => prep.finish(output),
    }
}
