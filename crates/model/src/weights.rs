//! Where the numbers of a new module come from: a file, or a seeded draw.
//!
//! Modules are built with their final values, never lazily: a clone of a module that isn't
//! initialised yet would draw weights of its own (tracel-ai/burn#5045).

use burn::module::Param;
use burn::tensor::{Tensor, TensorData};
use rand::RngExt;
use rein_data::seed::Seed;

use crate::ModelError;
use crate::backend::LmBackend;
use crate::config::ModelConfig;

/// Gives a module its tensors by name.
pub trait WeightSource {
    /// The values of a tensor, row-major. Linear weights are `[in, out]`.
    fn values(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError>;
}

/// New weights, each tensor from a stream of its own: the same on every backend.
///
/// Normal with the config's standard deviation; projections back into the residual stream are
/// smaller by `√(2 n_layers)` (Radford et al., 2019), a score head has `1 / √(d + 1)` (Stiennon et
/// al., 2020), norms are 1 and biases 0.
#[derive(Clone, Debug)]
pub struct RandomWeights {
    seed: Seed,
    std: f64,
    residual_std: f64,
}

impl RandomWeights {
    /// Weights for a model of this shape.
    pub fn new(config: &ModelConfig, seed: Seed) -> Self {
        let residual_std = config.init_std / (2.0 * config.n_layers as f64).sqrt();
        Self { seed, std: config.init_std, residual_std }
    }

    fn std(&self, name: &str, shape: &[usize]) -> f64 {
        if name == SCORE {
            1.0 / (shape[0] as f64 + 1.0).sqrt()
        } else if name.ends_with("attention.output.weight") || name.ends_with("mlp.down.weight") {
            self.residual_std
        } else {
            self.std
        }
    }
}

/// The tensor of a score head.
pub(crate) const SCORE: &str = "score.weight";

impl WeightSource for RandomWeights {
    fn values(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        let n_values = shape.iter().product();
        if name.ends_with("norm.weight") {
            return Ok(vec![1.0; n_values]);
        }
        if name.ends_with(".bias") {
            return Ok(vec![0.0; n_values]);
        }
        let std = self.std(name, shape);
        let mut rng = self.seed.child(name).rng();
        Ok((0..n_values).map(|_| (std * normal(&mut rng)) as f32).collect())
    }
}

/// A draw from the standard normal distribution (Box and Muller, 1958).
fn normal(rng: &mut impl rand::Rng) -> f64 {
    let (radius, angle): (f64, f64) = (rng.random(), rng.random());
    (-2.0 * (1.0 - radius).ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
}

/// A parameter with the source's values.
pub(crate) fn param<B: LmBackend, const D: usize>(
    source: &mut dyn WeightSource,
    name: &str,
    shape: [usize; D],
    device: &B::Device,
) -> Result<Param<Tensor<B, D>>, ModelError> {
    let values = source.values(name, &shape)?;
    Ok(Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), device)))
}
