use burn::module::Param;
use burn::prelude::*;
use rein_kernels::ops;

use crate::ModelError;
use crate::backend::LmBackend;
use crate::config::{ModelConfig, NormKind};
use crate::weights::{WeightSource, param};

/// Root-mean-square or layer normalisation over the last axis.
#[derive(Module, Debug)]
pub struct Norm<B: Backend> {
    /// `[width]`
    pub weight: Param<Tensor<B, 1>>,
    /// `[width]`, for layer normalisation.
    pub bias: Option<Param<Tensor<B, 1>>>,
    eps: f64,
}

impl<B: LmBackend> Norm<B> {
    pub(crate) fn new(
        config: &ModelConfig,
        source: &mut dyn WeightSource,
        name: &str,
        width: usize,
        device: &B::Device,
    ) -> Result<Self, ModelError> {
        let weight = param(source, &format!("{name}.weight"), [width], device)?;
        let has_bias = config.norm == NormKind::Layer;
        let bias = has_bias.then(|| param(source, &format!("{name}.bias"), [width], device));
        Ok(Self { weight, bias: bias.transpose()?, eps: config.norm_eps })
    }

    /// With a bias: `(x − mean) / √(var + ε) · w + b`; without: `x / √(mean(x²) + ε) · w`.
    ///
    /// # Shapes
    /// - `input`, returns: `[rows, width]`
    pub fn forward(&self, input: Tensor<B, 2>) -> Tensor<B, 2> {
        let bias = self.bias.as_ref().map(Param::val);
        ops::norm(input, self.weight.val(), bias, self.eps as f32)
    }
}
