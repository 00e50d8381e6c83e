use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::ops::FloatTensor;

use crate::gather::{Gathers, GradientSum};
use crate::kernels::{Kernels, added};

/// Keeps what flows back by operations that don't look for the sum; the parent gets nothing.
#[derive(Debug)]
struct Gather;

impl<B: Kernels> Backward<B, 1> for Gather {
    /// The sum, and the tensor it is of.
    type State = (GradientSum<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (sum, primitive) = ops.state;
        let mut tensor = <Autodiff<B> as AutodiffBackend>::from_inner(primitive);
        tensor.node = ops.node;
        let rest = grads.remove::<B>(&tensor);
        if let Some(rest) = rest {
            sum.change(|sum| added::<B>(sum, rest));
        }
    }
}

impl<B: Kernels, C: CheckpointStrategy> Gathers for Autodiff<B, C> {
    fn gather(tensor: FloatTensor<Self>, sum: &GradientSum<B>) -> FloatTensor<Self> {
        match Gather.prepare::<C>([tensor.node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let state = (sum.clone(), tensor.primitive.clone());
                let output = prep.finish(state, tensor.primitive);
                sum.stands_at(output.node.id);
                output
            }
            OpsKind::UnTracked(prep) => prep.finish(tensor.primitive),
        }
    }
}
