//! One gradient out of those of several workers.

use burn::prelude::*;
use rein_data::workers::Workers;

use crate::backend::LmBackend;
use crate::named::FlatTensor;
use crate::optim::Gradients;

/// Values that are sent at a time, unless one tensor has more: few messages, and little memory beside
/// the gradient's own.
const BUFFER_VALUES: usize = 16 << 20;

impl<B: LmBackend> Gradients<B> {
    /// Becomes the sum over all workers: the gradient of the sum of their losses. Tensors are sent in the
    /// order of their names, which is the same in every process.
    pub fn sum_over(&mut self, workers: &Workers) {
        if workers.count() == 1 {
            return;
        }
        let mut buffer = Vec::new();
        let mut waiting: Vec<&mut FlatTensor<B>> = Vec::new();
        for tensor in self.tensors.values_mut() {
            buffer.extend(tensor.to_values());
            waiting.push(tensor);
            if buffer.len() >= BUFFER_VALUES {
                exchange(workers, &mut buffer, &mut waiting);
            }
        }
        exchange(workers, &mut buffer, &mut waiting);
    }
}

/// Sums `buffer`, which holds the values of `waiting`, and puts the sums back.
fn exchange<B: LmBackend>(
    workers: &Workers,
    buffer: &mut Vec<f32>,
    waiting: &mut Vec<&mut FlatTensor<B>>,
) {
    workers.sum_f32(buffer);
    let mut values = &buffer[..];
    for FlatTensor(tensor) in waiting.drain(..) {
        let (own, rest) = values.split_at(tensor.shape().num_elements());
        let summed = Tensor::<B, 1>::from_data(own, &tensor.device());
        *tensor = summed.cast(tensor.dtype());
        values = rest;
    }
    buffer.clear();
}
