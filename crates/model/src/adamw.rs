//! The optimiser: its moments, and their file.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path as FilePath;

use burn::module::{AutodiffModule, ModuleMapper, Param};
use burn::prelude::*;
use burn::tensor::DType;
use half::bf16;
use rand::RngExt;
use rein_data::DataError;
use rein_data::seed::Seed;
use rein_kernels::{Precision, ops};
use safetensors::tensor::{TensorView, View};
use safetensors::{Dtype, SafeTensorError, SafeTensors};

use crate::backend::{LmAutodiffBackend, LmBackend};
use crate::named::{FlatTensor, Path, named_tensors};
use crate::optim::{Gradients, OptimizerConfig};
use crate::{FloatType, ModelError};

/// AdamW (Loshchilov and Hutter, 2019), computed as PyTorch does.
///
/// `m ← β₁ m + (1 − β₁) g`, `v ← β₂ v + (1 − β₂) g²`,
/// `p ← p (1 − lr λ) − lr · m̂ / (√v̂ + ε)` with `m̂ = m / (1 − β₁ᵗ)` and `v̂ = v / (1 − β₂ᵗ)`.
///
/// Moments are f32, or bf16 ([`OptimizerConfig::moments`]), in which DeepSeek-V3 (2024) keeps both. With
/// `β₂ = 0.999`, a step changes `v` by a thousandth of what is missing, less than half a unit of bf16:
/// rounded to the nearest, `v` would stall. So moments in bf16 are rounded at random, by bits that follow
/// from the tensor's name, the number of updates and the place within the tensor alone. What the mean of
/// many steps converges to is that of f32.
#[derive(Clone, Debug)]
pub struct AdamW<B: Backend> {
    config: OptimizerConfig,
    /// Updates done.
    n_updates: usize,
    moments: BTreeMap<String, Moments<B>>,
}

#[derive(Clone, Debug)]
struct Moments<B: Backend> {
    first: Tensor<B, 1>,
    second: Tensor<B, 1>,
}

impl<B: LmBackend> AdamW<B> {
    /// An optimiser without any history.
    pub fn new(config: OptimizerConfig) -> Self {
        Self { config, n_updates: 0, moments: BTreeMap::new() }
    }

    /// The module after one update. Tensors without a gradient stay as they are.
    pub fn update<AB: LmAutodiffBackend<InnerBackend = B>, M: AutodiffModule<AB>>(
        &mut self,
        module: M,
        gradients: Gradients<B>,
        learning_rate: f64,
    ) -> M {
        self.n_updates += 1;
        let step = self.step(learning_rate, gradients.scale);
        module.map(&mut Updater { optimizer: self, gradients, step, path: Path::default() })
    }

    fn update_tensor(
        &mut self,
        name: String,
        value: Tensor<B, 1>,
        gradient: Tensor<B, 1>,
        step: &rein_kernels::AdamW,
    ) -> Tensor<B, 1> {
        let options = (&gradient.device(), dtype(self.config.moments));
        let zeros = || Tensor::zeros(gradient.shape(), options);
        let step = rein_kernels::AdamW { seed: self.seed(&name), ..*step };
        let moments = match self.moments.remove(&name) {
            Some(Moments { first, second }) => [first, second],
            None => [zeros(), zeros()],
        };
        let (value, [first, second]) = ops::adamw(value, gradient, moments, &step);
        self.moments.insert(name, Moments { first, second });
        value
    }

    /// From which a tensor's moments are rounded in this update, if they are.
    fn seed(&self, name: &str) -> u64 {
        match self.config.moments {
            Precision::F32 => 0,
            Precision::Bf16 => {
                let seed = Seed::new(0).child("moments").child(name);
                seed.index(self.n_updates as u64).rng().random()
            }
        }
    }

    /// The numbers of an update; the gradients are yet to be multiplied by `grad_scale`.
    fn step(&self, learning_rate: f64, grad_scale: f64) -> rein_kernels::AdamW {
        let OptimizerConfig { betas: [beta1, beta2], epsilon, weight_decay, .. } = self.config;
        let correction = |beta: f64| 1.0 - beta.powi(self.n_updates as i32);
        rein_kernels::AdamW {
            keep: (1.0 - learning_rate * weight_decay) as f32,
            rate: (learning_rate / correction(beta1)) as f32,
            beta1: beta1 as f32,
            beta2: beta2 as f32,
            root_correction: correction(beta2).sqrt() as f32,
            epsilon: epsilon as f32,
            grad_scale: grad_scale as f32,
            // Each tensor has its own.
            seed: 0,
        }
    }

    /// Writes the moments to a safetensors file, one at a time, in the precision that they have.
    pub fn save(&self, path: &FilePath) -> Result<(), ModelError> {
        let moments = self.moments.iter().flat_map(|(name, Moments { first, second })| {
            [("first", first), ("second", second)]
                .map(|(moment, tensor)| (format!("{moment}.{name}"), Saved::new(tensor)))
        });
        let metadata = HashMap::from([("n_updates".to_owned(), self.n_updates.to_string())]);
        safetensors::serialize_to_file(moments, Some(metadata), path).map_err(|error| match error {
            SafeTensorError::IoError(source) => {
                DataError::Io { path: path.to_path_buf(), source }.into()
            }
            other => ModelError::checkpoint(path, other.to_string()),
        })
    }

    /// Reads what [`save`](Self::save) wrote of an optimiser of `module`. Moments in another precision
    /// than the config's are converted.
    ///
    /// # Errors
    /// A file that isn't one, or moments that no tensor of the module has.
    pub fn load<AB: LmAutodiffBackend<InnerBackend = B>, M: AutodiffModule<AB>>(
        config: OptimizerConfig,
        module: &M,
        path: &FilePath,
        device: &B::Device,
    ) -> Result<Self, ModelError> {
        let refuse = |reason: String| ModelError::checkpoint(path, reason);
        let bytes = fs::read(path).map_err(|error| refuse(error.to_string()))?;
        let (_, header) =
            SafeTensors::read_metadata(&bytes).map_err(|error| refuse(error.to_string()))?;
        let n_updates =
            header.metadata().as_ref().and_then(|map| map.get("n_updates")?.parse().ok());
        let n_updates =
            n_updates.ok_or_else(|| refuse("no `n_updates`; not an optimiser state".into()))?;
        let stored = SafeTensors::deserialize(&bytes).map_err(|error| refuse(error.to_string()))?;
        let read = |name: &str| -> Result<Tensor<B, 1>, ModelError> {
            let view = stored.tensor(name).map_err(|error| refuse(error.to_string()))?;
            let moment = restored(&view, config.moments, device);
            moment.ok_or_else(|| refuse(format!("{name} is {:?}, not F32 or BF16", view.dtype())))
        };
        let tensors = named_tensors(module);
        let names = stored.names();
        let names = names.iter().filter_map(|name| name.strip_prefix("first."));
        let moments = names
            .map(|name| {
                let first = read(&format!("first.{name}"))?;
                let second = read(&format!("second.{name}"))?;
                let known = tensors.get(name).map(|FlatTensor(tensor)| tensor.dims());
                if known != Some(first.dims()) || known != Some(second.dims()) {
                    let reason = format!("the model has no tensor {name} of this size");
                    return Err(refuse(reason));
                }
                Ok((name.to_owned(), Moments { first, second }))
            })
            .collect::<Result<_, ModelError>>()?;
        Ok(Self { config, n_updates, moments })
    }
}

fn dtype(precision: Precision) -> DType {
    match precision {
        Precision::F32 => DType::F32,
        Precision::Bf16 => DType::BF16,
    }
}

/// A moment of a file in this precision, rounded to the nearest if the file's has more bits; `None` if it is
/// of another type.
fn restored<B: LmBackend>(
    view: &TensorView<'_>,
    precision: Precision,
    device: &B::Device,
) -> Option<Tensor<B, 1>> {
    let float = FloatType::of(view.dtype()).filter(|it| *it != FloatType::F16)?;
    let mut values = Vec::new();
    float.decode(view.data(), &mut values);
    let shape = [values.len()];
    let data = match precision {
        Precision::F32 => TensorData::new(values, shape),
        Precision::Bf16 => {
            TensorData::new(values.into_iter().map(bf16::from_f32).collect::<Vec<_>>(), shape)
        }
    };
    Some(Tensor::from_data(data, (device, dtype(precision))))
}

/// A moment whose bytes exist only while they are written.
struct Saved<B: Backend> {
    moment: Tensor<B, 1>,
    shape: [usize; 1],
}

impl<B: Backend> Saved<B> {
    fn new(moment: &Tensor<B, 1>) -> Self {
        Self { moment: moment.clone(), shape: moment.dims() }
    }
}

impl<B: Backend> View for Saved<B> {
    fn dtype(&self) -> Dtype {
        if self.moment.dtype() == DType::BF16 { Dtype::BF16 } else { Dtype::F32 }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let data = self.moment.to_data();
        Cow::Owned(match data.as_slice::<bf16>() {
            Ok(moments) => moments.iter().flat_map(|it| it.to_le_bytes()).collect(),
            Err(_) => {
                let moments = data.as_slice::<f32>().expect("moments are bf16 or f32");
                moments.iter().flat_map(|it| it.to_le_bytes()).collect()
            }
        })
    }

    fn data_len(&self) -> usize {
        self.shape[0] * self.dtype().bitsize() / 8
    }
}

struct Updater<'a, B: Backend> {
    optimizer: &'a mut AdamW<B>,
    gradients: Gradients<B>,
    step: rein_kernels::AdamW,
    path: Path,
}

impl<AB: LmAutodiffBackend> ModuleMapper<AB> for Updater<'_, AB::InnerBackend> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<AB, D>>) -> Param<Tensor<AB, D>> {
        let name = self.path.name();
        let Some(FlatTensor(gradient)) = self.gradients.tensors.remove(&name) else { return param };
        let (id, tensor, mapper) = param.consume();
        let shape = tensor.shape();
        let value = tensor.inner().reshape([shape.num_elements()]);
        let updated = self.optimizer.update_tensor(name, value, gradient, &self.step);
        // A new leaf of the tape, as the old one was.
        let tensor = Tensor::from_inner(updated.reshape(shape)).require_grad();
        Param::from_mapped_value(id, tensor, mapper)
    }
}
