use burn::module::Param;
use burn::prelude::*;

use crate::ModelError;
use crate::backend::LmBackend;
use crate::weights::{WeightSource, param};

/// `x W + b`
#[derive(Module, Debug)]
pub struct Linear<B: Backend> {
    /// `[in, out]`
    pub weight: Param<Tensor<B, 2>>,
    /// `[out]`
    pub bias: Option<Param<Tensor<B, 1>>>,
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
        Ok(Self { weight, bias: bias.transpose()? })
    }

    /// # Shapes
    /// - `input`: `[rows, in]`
    /// - returns: `[rows, out]`
    pub fn forward(&self, input: Tensor<B, 2>) -> Tensor<B, 2> {
        let output = input.matmul(self.weight.val());
        match &self.bias {
            Some(bias) => output + bias.val().unsqueeze(),
            None => output,
        }
    }
}
