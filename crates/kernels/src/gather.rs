//! Gradients that are added up over several backward passes.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};

use burn::backend::autodiff::NodeId;
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Shape, Tensor, TensorMetadata};

use crate::composed::{primitive, tensor};
use crate::kernels::Kernels;

/// A backend with a tape, from which gradients can be taken while it is run backwards.
pub trait Gathers: AutodiffBackend<InnerBackend: Kernels> + Kernels {
    /// [`gathered`]
    fn gather(
        tensor: FloatTensor<Self>,
        sum: &GradientSum<Self::InnerBackend>,
    ) -> FloatTensor<Self>;
}

/// The tensor itself; what flows back into it is added to `sum` and goes no further.
///
/// A tape gives its gradients when all of it was run. Where batches are cut, that is a second set of
/// gradients beside their sum; here the operations of this crate add each, in place, as soon as it is
/// known.
pub fn gathered<B: Gathers, const D: usize>(
    input: Tensor<B, D>,
    sum: &GradientSum<B::InnerBackend>,
) -> Tensor<B, D> {
    tensor(B::gather(primitive(input), sum))
}

/// The gradient of one tensor, as far as it was added up. Clones share it.
#[derive(Debug)]
pub struct GradientSum<B: Kernels>(Arc<Shared<B>>);

#[derive(Debug)]
struct Shared<B: Kernels> {
    sum: Mutex<Option<FloatTensor<B>>>,
    /// Where the tensor stood on tapes.
    nodes: Mutex<Vec<NodeId>>,
}

/// The sums of tensors on tapes. A tape orders its steps by their distance from the leaves, so that
/// leaves get their gradients last of all; this is how the steps before find them.
static SUMS: LazyLock<Mutex<HashMap<NodeId, Box<dyn Any + Send>>>> = LazyLock::new(Mutex::default);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<B: Kernels> Clone for GradientSum<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B: Kernels> Default for GradientSum<B> {
    fn default() -> Self {
        Self(Arc::new(Shared { sum: Mutex::new(None), nodes: Mutex::default() }))
    }
}

impl<B: Kernels> Drop for Shared<B> {
    fn drop(&mut self) {
        let mut sums = locked(&SUMS);
        locked(&self.nodes).iter().for_each(|node| drop(sums.remove(node)));
    }
}

impl<B: Kernels> GradientSum<B> {
    /// Takes the sum out, as one row of numbers; `None` if nothing flowed back.
    pub fn take(&self) -> Option<Tensor<B, 1>> {
        let sum = locked(&self.0.sum).take();
        sum.map(|sum| {
            let n_values = sum.shape().num_elements();
            tensor(B::float_reshape(sum, Shape::new([n_values])))
        })
    }

    /// The sum of the tensor that stands at `node` of a tape, if it is gathered.
    pub(crate) fn at(node: NodeId) -> Option<Self> {
        let sums = locked(&SUMS);
        sums.get(&node)?.downcast_ref::<Weak<Shared<B>>>()?.upgrade().map(Self)
    }

    /// Lets the steps of a tape find the sum at `node`.
    pub(crate) fn stands_at(&self, node: NodeId) {
        locked(&SUMS).insert(node, Box::new(Arc::downgrade(&self.0)));
        locked(&self.0.nodes).push(node);
    }

    /// Replaces the sum by what it becomes; it can be changed in place.
    pub(crate) fn change(&self, change: impl FnOnce(Option<FloatTensor<B>>) -> FloatTensor<B>) {
        let mut sum = locked(&self.0.sum);
        let changed = change(sum.take());
        *sum = Some(changed);
    }
}
