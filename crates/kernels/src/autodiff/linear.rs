use burn::backend::Autodiff;
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::ops::FloatTensor;

use super::{give, give_to_sum};
use crate::kernels::Kernels;
use crate::settings::Precision;

type Tracked<B, C> = FloatTensor<Autodiff<B, C>>;

/// The input, where the weight wants a gradient, and the weight, where the input does.
#[derive(Debug)]
struct State<B: Kernels> {
    input: Option<FloatTensor<B>>,
    weight: Option<FloatTensor<B>>,
    precision: Precision,
}

impl<B: Kernels> Clone for State<B> {
    fn clone(&self) -> Self {
        let Self { input, weight, precision } = self;
        Self { input: input.clone(), weight: weight.clone(), precision: *precision }
    }
}

impl<B: Kernels> State<B> {
    fn give(
        self,
        grads: &mut Gradients,
        [input, weight]: [Option<NodeId>; 2],
        grad: FloatTensor<B>,
    ) {
        if let Some(x) = self.input {
            give_to_sum::<B>(grads, weight, |sum| {
                B::project_backward_weight(x, grad.clone(), sum, self.precision)
            });
        }
        if let Some(w) = self.weight {
            give::<B>(grads, input, B::project_backward_input(w, grad, self.precision));
        }
    }
}

#[derive(Debug)]
struct Linear;

impl<B: Kernels> Backward<B, 2> for Linear {
    type State = State<B>;

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        ops.state.give(grads, ops.parents.map(|it| it.map(|it| it.id)), grad);
    }
}

#[derive(Debug)]
struct LinearWithBias;

impl<B: Kernels> Backward<B, 3> for LinearWithBias {
    type State = State<B>;

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let [input, weight, bias] = ops.parents.map(|it| it.map(|it| it.id));
        if bias.is_some() {
            give::<B>(grads, bias, B::sum_of_rows(grad.clone()));
        }
        ops.state.give(grads, [input, weight], grad);
    }
}

pub(super) fn linear<B: Kernels, C: CheckpointStrategy>(
    input: Tracked<B, C>,
    weight: Tracked<B, C>,
    bias: Option<Tracked<B, C>>,
    precision: Precision,
) -> Tracked<B, C> {
    let state = State::<B> {
        input: weight.is_tracked().then(|| input.primitive.clone()),
        weight: input.is_tracked().then(|| weight.primitive.clone()),
        precision,
    };
    let nodes = [input.node, weight.node];
    match bias {
        None => {
            let output = B::project(input.primitive, weight.primitive, None, precision);
            match Linear.prepare::<C>(nodes).compute_bound().stateful() {
                OpsKind::Tracked(prep) => prep.finish(state, output),
                OpsKind::UnTracked(prep) => prep.finish(output),
            }
        }
        Some(bias) => {
            let output =
                B::project(input.primitive, weight.primitive, Some(bias.primitive), precision);
            let [input, weight] = nodes;
            match LinearWithBias.prepare::<C>([input, weight, bias.node]).compute_bound().stateful()
            {
                OpsKind::Tracked(prep) => prep.finish(state, output),
                OpsKind::UnTracked(prep) => prep.finish(output),
            }
        }
    }
}
