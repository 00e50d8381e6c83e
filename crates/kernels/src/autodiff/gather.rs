use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{FloatDType, Shape, TensorMetadata};

use crate::gather::{Gathers, GradientSum};
use crate::kernels::{Kernels, added};

/// Keeps what flows back by operations that don't look for the sum; the parent gets nothing.
#[derive(Debug)]
struct Gather;

impl<B: Kernels> Backward<B, 1> for Gather {
    /// The sum, and where and of which type it is. A step that is never run lives until some tape is
    /// run, so it mustn't hold the tensor: an update would copy what somebody else holds.
    type State = (GradientSum<B>, B::Device, FloatDType);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (sum, device, dtype) = ops.state;
        let any = B::float_empty(Shape::new([1]), &device, dtype);
        let mut tensor = <Autodiff<B> as AutodiffBackend>::from_inner(any);
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
                let device = B::float_device(&tensor.primitive);
                let state = (sum.clone(), device, tensor.primitive.dtype().into());
                let output = prep.finish(state, tensor.primitive);
                sum.stands_at(output.node.id);
                output
            }
            OpsKind::UnTracked(prep) => prep.finish(tensor.primitive),
        }
    }
}
