use burn::module::Param;
use burn::prelude::*;
use rein_kernels::{Precision, ops};

use crate::ModelError;
use crate::backend::LmBackend;
use crate::lora::Adapter;
use crate::weights::{WeightSource, param};

/// `x W + b`, and what an adapter beside it adds.
#[derive(Module, Debug)]
pub struct Linear<B: Backend> {
    /// `[in, out]`
    pub weight: Param<Tensor<B, 2>>,
    /// `[out]`
    pub bias: Option<Param<Tensor<B, 1>>>,
    /// What is learned while the weight is frozen.
    pub adapter: Option<Adapter<B>>,
    /// Of the products with the weight; adapters compute in f32.
    #[module(skip)]
    pub precision: Precision,
}

impl<B: LmBackend> Linear<B> {
    pub(crate) fn new(
        source: &mut dyn WeightSource,
        name: &str,
        shape: [usize; 2],
        has_bias: bool,
        device: &B::Device,
    ) -> Result<Self, ModelError> {
        let weight = param(source, &format!("{name}.weight"), shape, device)?;
        let bias = has_bias.then(|| param(source, &format!("{name}.bias"), [shape[1]], device));
        Ok(Self { weight, bias: bias.transpose()?, adapter: None, precision: Precision::F32 })
    }

    /// # Shapes
    /// - `input`: `[rows, in]`
    /// - returns: `[rows, out]`
    pub fn forward(&self, input: Tensor<B, 2>) -> Tensor<B, 2> {
        let apply = |input| {
            let bias = self.bias.as_ref().map(Param::val);
            ops::linear(input, self.weight.val(), bias, self.precision)
        };
        match &self.adapter {
            Some(adapter) => apply(input.clone()) + adapter.forward(input),
            None => apply(input),
        }
    }

    /// The layer with another weight of the same shape; one with a single output has the same values as
    /// `[in, out]` and as `[out, in]`.
    pub(crate) fn with_weight(self, values: Vec<f32>, device: &B::Device) -> Self {
        let shape = self.weight.dims();
        let weight = Tensor::from_data(TensorData::new(values, shape), device);
        Self { weight: Param::from_tensor(weight), ..self }
    }

    /// Adds `sign` times the adapter to the weight.
    pub(crate) fn merge_adapter(&mut self, sign: f32) {
        if let Some(adapter) = self.adapter.take() {
            self.add_to_weight(adapter.product() * sign);
        }
    }

    /// `W + ΔW`, with `ΔW` of the weight's shape.
    pub(crate) fn add_to_weight(&mut self, delta: Tensor<B, 2>) {
        self.weight = Param::from_tensor(self.weight.val() + delta);
    }
}
