//! Tensors as slices and slices as tensors.

use std::ops::Deref;

use burn::tensor::ops::FloatTensor;
use burn::tensor::{Bytes, DType, Shape, TensorMetadata};
use burn_flex::{Flex, FlexTensor, Layout};

/// The numbers of a tensor, row-major; copied only where they lie in another order.
pub(super) struct Numbers(FlexTensor);

impl Numbers {
    pub(super) fn of(tensor: &FlexTensor) -> Self {
        Self(if tensor.is_contiguous() { tensor.clone() } else { tensor.to_contiguous() })
    }

    pub(super) fn any(tensor: &Option<FlexTensor>) -> Option<Self> {
        tensor.as_ref().map(Self::of)
    }
}

impl Deref for Numbers {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        self.0.as_slice().expect("floats of Flex are f32, and these are in order")
    }
}

/// Integers as indices.
pub(super) fn whole_numbers(tensor: &FlexTensor) -> Vec<usize> {
    let tensor = tensor.to_contiguous();
    match tensor.dtype() {
        DType::I64 => tensor.storage::<i64>().iter().map(|it| *it as usize).collect(),
        _ => tensor.storage::<i32>().iter().map(|it| *it as usize).collect(),
    }
}

/// The tensor itself if nobody else holds its numbers and they are in order, else a copy.
pub(super) fn owned(tensor: FlexTensor) -> FlexTensor {
    tensor.to_contiguous()
}

/// The last dimension.
pub(super) fn width(tensor: &FlexTensor) -> usize {
    let shape = tensor.shape();
    shape[shape.num_dims() - 1]
}

pub(super) fn like(tensor: &FlexTensor, numbers: Vec<f32>) -> FloatTensor<Flex> {
    with_shape(numbers, tensor.shape())
}

pub(super) fn matrix(numbers: Vec<f32>, shape: [usize; 2]) -> FloatTensor<Flex> {
    with_shape(numbers, shape.into())
}

pub(super) fn vector(numbers: Vec<f32>) -> FloatTensor<Flex> {
    let shape = [numbers.len()];
    with_shape(numbers, shape.into())
}

fn with_shape(numbers: Vec<f32>, shape: Shape) -> FlexTensor {
    assert_eq!(numbers.len(), shape.num_elements(), "as many numbers as the shape has cells");
    FlexTensor::new(Bytes::from_elems(numbers), Layout::contiguous(shape), DType::F32)
}
