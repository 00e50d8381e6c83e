//! Several score heads on one backbone, each beside a fixed random prior.

use std::fs;
use std::path::Path;

use burn::module::Param;
use burn::prelude::*;
use rein_data::DataError;
use rein_data::seed::Seed;
use rein_kernels::ops;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError, SafeTensors};

use crate::backend::LmBackend;
use crate::config::ModelConfig;
use crate::tokens::{TokenBatch, host};
use crate::weights::{RandomWeights, SCORE, WeightSource};
use crate::{FloatType, ModelError, ScalarModel};

/// Heads that share a backbone: head `m` gives `r_m = (w_m + α p_m) · φ` of the hidden state `φ` at a row's
/// last token. `w_m` is learned and begins at 0; the prior `α p_m` is random and stays as it is, so that heads
/// go on to differ where nothing was learned (Osband et al., 2018). All of it is linear, so the mean of the
/// heads is a head, too.
#[derive(Module, Debug)]
pub struct ScoreHeads<B: Backend> {
    /// `w`, `[hidden, heads]`
    pub weight: Param<Tensor<B, 2>>,
    /// `α p`, `[hidden, heads]`
    pub prior: Param<Tensor<B, 2>>,
}

/// Heads as they are used: on the host, and each with what it gives to a reference.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedHeads {
    /// `w_m + α p_m`, one vector a head.
    pub vectors: Vec<Vec<f32>>,
    /// The mean of each head's numbers over rows of a reference.
    pub offsets: Vec<f32>,
}

const WEIGHT: &str = "heads.weight";
const PRIOR: &str = "heads.prior";
const OFFSET: &str = "heads.offset";

impl<B: LmBackend> ScoreHeads<B> {
    /// Heads that give what their priors give. Priors are drawn as a new score head is, times `prior_scale`.
    fn new(
        config: &ModelConfig,
        n_heads: usize,
        prior_scale: f64,
        seed: Seed,
        device: &B::Device,
    ) -> Self {
        let n_hidden = config.hidden_size;
        let draw = |head: usize| {
            let mut weights = RandomWeights::new(config, seed.index(head as u64));
            let values = weights.values(SCORE, &[n_hidden, 1]).expect("drawn");
            values.into_iter().map(|it| (prior_scale * f64::from(it)) as f32).collect()
        };
        let priors: Vec<Vec<f32>> = (0..n_heads).map(draw).collect();
        Self::of_vectors(&vec![vec![0.0; n_hidden]; n_heads], &priors, device)
    }

    fn of_vectors(weights: &[Vec<f32>], priors: &[Vec<f32>], device: &B::Device) -> Self {
        let columns = |vectors: &[Vec<f32>]| {
            let values = TensorData::new(vectors.concat(), [vectors.len(), vectors[0].len()]);
            Param::from_tensor(Tensor::<B, 2>::from_data(values, device).transpose())
        };
        Self { weight: columns(weights), prior: columns(priors).set_require_grad(false) }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.weight.dims()[1]
    }

    /// `w_m + α p_m`, one vector a head.
    pub fn vectors(&self) -> Vec<Vec<f32>> {
        rows(self.weight.val() + self.prior.val())
    }
}

/// The columns of a matrix on the host.
fn rows<B: LmBackend>(matrix: Tensor<B, 2>) -> Vec<Vec<f32>> {
    let [n_hidden, _] = matrix.dims();
    host(matrix.transpose()).chunks(n_hidden).map(<[f32]>::to_vec).collect()
}

impl<B: LmBackend> ScalarModel<B> {
    /// The model with so many new heads beside its score head. They learn in its place; see
    /// [`with_mean_of_heads`](Self::with_mean_of_heads).
    #[must_use]
    pub fn with_heads(
        self,
        n_heads: usize,
        prior_scale: f64,
        seed: Seed,
        device: &B::Device,
    ) -> Self {
        let heads = ScoreHeads::new(self.config(), n_heads, prior_scale, seed, device);
        Self { heads: Some(heads), ..self }
    }

    /// The number that each head gives to each row, at its last token, `[batch, heads]`.
    ///
    /// # Panics
    /// A model without heads.
    pub fn head_scores(&self, batch: &TokenBatch<B>) -> Tensor<B, 2> {
        let heads = self.heads.as_ref().expect("there are heads");
        let vectors = heads.weight.val() + heads.prior.val();
        ops::linear(self.pooled(batch), vectors, None, self.score.precision)
    }

    /// The model whose score head is the mean of its heads; without any, it stays as it is.
    #[must_use]
    pub fn with_mean_of_heads(self, device: &B::Device) -> Self {
        let Some(heads) = &self.heads else { return self };
        let vectors = heads.vectors();
        let mean = |place: usize| {
            let sum: f64 = vectors.iter().map(|vector| f64::from(vector[place])).sum();
            (sum / vectors.len() as f64) as f32
        };
        let mean = (0..self.config().hidden_size).map(mean).collect();
        Self { score: self.score.with_weight(mean, device), ..self }
    }

    /// Writes the heads, if there are any, to a safetensors file, with the mean that each gives to a
    /// reference.
    pub fn save_heads(&self, offsets: &[f32], path: &Path) -> Result<(), ModelError> {
        let Some(heads) = &self.heads else { return Ok(()) };
        let bytes = |values: &[f32]| values.iter().flat_map(|it| it.to_le_bytes()).collect();
        let [weight, prior]: [Vec<u8>; 2] =
            [&heads.weight, &heads.prior].map(|it| bytes(&rows(it.val()).concat()));
        let offset: Vec<u8> = bytes(offsets);
        let shape = vec![heads.count(), self.config().hidden_size];
        let refuse = |error: SafeTensorError| ModelError::checkpoint(path, error.to_string());
        let view = |shape, bytes| TensorView::new(Dtype::F32, shape, bytes).map_err(refuse);
        let views = [
            (WEIGHT, view(shape.clone(), &weight)?),
            (PRIOR, view(shape, &prior)?),
            (OFFSET, view(vec![heads.count()], &offset)?),
        ];
        let file = safetensors::serialize(views, None).map_err(refuse)?;
        Ok(fs::write(path, file).map_err(|source| DataError::Io { path: path.into(), source })?)
    }

    /// The model with the heads that [`save_heads`](Self::save_heads) wrote.
    ///
    /// # Errors
    /// A file that doesn't hold heads of such a model.
    pub fn with_saved_heads(self, path: &Path, device: &B::Device) -> Result<Self, ModelError> {
        let [weights, priors, _] = read(path, self.config().hidden_size)?;
        Ok(Self { heads: Some(ScoreHeads::of_vectors(&weights, &priors, device)), ..self })
    }
}

impl SavedHeads {
    /// The heads that [`ScalarModel::save_heads`] wrote of a model of this width.
    ///
    /// # Errors
    /// A file that doesn't hold heads of such a model.
    pub fn load(path: &Path, hidden_size: usize) -> Result<Self, ModelError> {
        let [weights, priors, offsets] = read(path, hidden_size)?;
        let sum = |(weight, prior): (&Vec<f32>, &Vec<f32>)| {
            weight.iter().zip(prior).map(|(weight, prior)| weight + prior).collect()
        };
        Ok(Self {
            vectors: weights.iter().zip(&priors).map(sum).collect(),
            offsets: offsets.concat(),
        })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.vectors.len()
    }

    /// What each head gives to a [pooled](ScalarModel::pooled) hidden state, less what it gives to the
    /// reference on average.
    pub fn centred_scores(&self, hidden: &[f32]) -> Vec<f32> {
        let product = |vector: &Vec<f32>| -> f64 {
            vector.iter().zip(hidden).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
        };
        let heads = self.vectors.iter().zip(&self.offsets);
        heads.map(|(vector, offset)| (product(vector) - f64::from(*offset)) as f32).collect()
    }
}

/// Weights, priors and offsets of a file, each one row a head. All numbers are finite.
fn read(path: &Path, hidden_size: usize) -> Result<[Vec<Vec<f32>>; 3], ModelError> {
    let refuse = |reason: String| ModelError::checkpoint(path, reason);
    let bytes = fs::read(path).map_err(|error| refuse(error.to_string()))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| refuse(error.to_string()))?;
    let n_heads = file.tensor(OFFSET).map_err(|error| refuse(error.to_string()))?.shape().to_vec();
    let [n_heads] = n_heads[..] else { return Err(refuse(format!("{OFFSET} isn't a list"))) };
    if n_heads == 0 {
        return Err(refuse("holds no heads".into()));
    }
    let tensor = |name: &str, shape: &[usize]| -> Result<Vec<Vec<f32>>, ModelError> {
        let view = file.tensor(name).map_err(|error| refuse(error.to_string()))?;
        if view.dtype() != Dtype::F32 || view.shape() != shape {
            let numbers = format!("{shape:?} numbers in f32");
            return Err(refuse(format!(
                "{name} isn't {numbers}; are these the heads of another model?"
            )));
        }
        let mut values = Vec::new();
        FloatType::F32.decode(view.data(), &mut values);
        if values.iter().any(|it| !it.is_finite()) {
            return Err(refuse(format!("{name} holds numbers that aren't finite")));
        }
        Ok(values.chunks(values.len() / n_heads).map(<[f32]>::to_vec).collect())
    };
    let shape = [n_heads, hidden_size];
    Ok([tensor(WEIGHT, &shape)?, tensor(PRIOR, &shape)?, tensor(OFFSET, &[n_heads])?])
}
