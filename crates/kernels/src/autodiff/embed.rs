use std::marker::PhantomData;

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::TensorMetadata;
use burn::tensor::ops::{FloatTensor, IntTensor};

use crate::gather::GradientSum;
use crate::kernels::Kernels;

type Tracked<B, C> = FloatTensor<Autodiff<B, C>>;

#[derive(Debug)]
struct Embed<C>(PhantomData<C>);

impl<B: Kernels, C: CheckpointStrategy> Backward<B, 1> for Embed<C> {
    /// The table, for its place on the tape, and the rows that were read.
    type State = (Tracked<B, C>, IntTensor<B>);

    /// Few rows get something. Where the head is the embedding, they are added to the gradient that
    /// it gave, and there is no second table.
    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (table, ids) = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        let added = |known: Option<FloatTensor<B>>| {
            let known = known.unwrap_or_else(|| {
                let numbers = &table.primitive;
                B::float_zeros(numbers.shape(), &B::float_device(numbers), numbers.dtype().into())
            });
            B::add_rows(known, ids, grad)
        };
        match GradientSum::<B>::at(table.node.id) {
            Some(sum) => sum.change(added),
            None => {
                let known = grads.remove::<B>(&table);
                grads.register::<B>(table.node.id, added(known));
            }
        }
    }
}

pub(super) fn embed<B: Kernels, C: CheckpointStrategy>(
    table: Tracked<B, C>,
    ids: IntTensor<B>,
) -> Tracked<B, C> {
    let output = B::embed(table.primitive.clone(), ids.clone());
    match Embed(PhantomData::<C>).prepare::<C>([table.node.clone()]).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish((table, ids), output),
        OpsKind::UnTracked(prep) => prep.finish(output),
    }
}
