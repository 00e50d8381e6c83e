use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::ops::FloatTensor;

use super::give;
use crate::kernels::{AttentionSeen, Kernels};
use crate::settings::Heads;

type Tracked<B, C> = FloatTensor<Autodiff<B, C>>;

#[derive(Debug)]
struct Attention;

impl<B: Kernels> Backward<B, 3> for Attention {
    /// Queries, keys and values; output and logarithms; the heads.
    type State = ([FloatTensor<B>; 3], [FloatTensor<B>; 2], Heads);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (inputs, [output, logs], heads) = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        let seen = AttentionSeen { output, logs, grad };
        let of_inputs = B::causal_attention_backward(inputs, seen, &heads);
        for (parent, grad) in ops.parents.map(|it| it.map(|it| it.id)).into_iter().zip(of_inputs) {
            give::<B>(grads, parent, grad);
        }
    }
}

/// Nothing flows back through the logarithms.
pub(super) fn attention<B: Kernels, C: CheckpointStrategy>(
    inputs: [Tracked<B, C>; 3],
    heads: &Heads,
) -> (Tracked<B, C>, Tracked<B, C>) {
    let numbers = inputs.each_ref().map(|it| it.primitive.clone());
    let (output, logs) = B::causal_attention(numbers.clone(), heads);
    let untracked_logs = <Autodiff<B, C> as AutodiffBackend>::from_inner(logs.clone());
    let output = match Attention.prepare::<C>(inputs.map(|it| it.node)).compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            prep.finish((numbers, [output.clone(), logs], heads.clone()), output)
        }
        OpsKind::UnTracked(prep) => prep.finish(output),
    };
    (output, untracked_logs)
}
