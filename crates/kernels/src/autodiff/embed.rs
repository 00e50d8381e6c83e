use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::TensorMetadata;
use burn::tensor::ops::{FloatTensor, IntTensor};

use super::give_to_sum;
use crate::kernels::Kernels;

type Tracked<B, C> = FloatTensor<Autodiff<B, C>>;

#[derive(Debug)]
struct Embed;

impl<B: Kernels> Backward<B, 1> for Embed {
    /// The table, for its shape, and the rows that were read.
    type State = (FloatTensor<B>, IntTensor<B>);

    /// Few rows get something: where the table's gradient is summed, there is no second table.
    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (table, ids) = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        let [parent] = ops.parents.map(|it| it.map(|it| it.id));
        give_to_sum::<B>(grads, parent, |sum| {
            let zeros =
                || B::float_zeros(table.shape(), &B::float_device(&table), table.dtype().into());
            B::add_rows(sum.unwrap_or_else(zeros), ids, grad)
        });
    }
}

pub(super) fn embed<B: Kernels, C: CheckpointStrategy>(
    table: Tracked<B, C>,
    ids: IntTensor<B>,
) -> Tracked<B, C> {
    let output = B::embed(table.primitive.clone(), ids.clone());
    match Embed.prepare::<C>([table.node]).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish((table.primitive, ids), output),
        OpsKind::UnTracked(prep) => prep.finish(output),
    }
}
