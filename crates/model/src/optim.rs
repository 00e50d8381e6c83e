//! AdamW with global-norm clipping, keyed by the tensors' names.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path as FilePath;

use burn::module::{AutodiffModule, ModuleMapper, Param};
use burn::prelude::*;
use rein_kernels::{GradientSum, gathered, ops};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use crate::ModelError;
use crate::backend::{LmAutodiffBackend, LmBackend};
use crate::named::{FlatTensor, Path, named_tensors};
use crate::recompute::{Sums, recorded};
use crate::schedule::Schedule;
use crate::tokens::host;

/// How a stage's weights are updated.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerConfig {
    /// The highest learning rate.
    pub learning_rate: f64,
    /// How it changes over the stage.
    pub schedule: Schedule,
    /// The share of the stage's steps that warms up.
    pub warmup_ratio: f64,
    /// The share of the highest rate at which the schedule `cosine_with_min_lr` ends.
    pub min_lr_rate: f64,
    /// Decay of the first and second moment.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled weight decay, on all weights.
    pub weight_decay: f64,
    /// Gradients whose norm over all weights exceeds this are scaled down to it; 0 means never.
    pub max_grad_norm: f64,
}

impl Default for OptimizerConfig {
    /// PyTorch's AdamW, a linear schedule with a short warm-up, gradients clipped at 1.
    fn default() -> Self {
        Self {
            learning_rate: 1e-4,
            schedule: Schedule::Linear,
            warmup_ratio: 0.03,
            min_lr_rate: 0.1,
            betas: [0.9, 0.999],
            epsilon: 1e-8,
            weight_decay: 0.0,
            max_grad_norm: 1.0,
        }
    }
}

impl OptimizerConfig {
    /// What is wrong with these settings, each with its key below `section`.
    pub fn problems(&self, section: &str) -> Vec<String> {
        let mut problems = Vec::new();
        let mut check = |fine: bool, key: &str, rule: &str| {
            if !fine {
                problems.push(format!("`{section}.{key}` must be {rule}"));
            }
        };
        check(
            self.learning_rate > 0.0 && self.learning_rate.is_finite(),
            "learning_rate",
            "above 0",
        );
        check((0.0..=1.0).contains(&self.warmup_ratio), "warmup_ratio", "within 0..=1");
        check((0.0..=1.0).contains(&self.min_lr_rate), "min_lr_rate", "within 0..=1");
        check(self.betas.iter().all(|beta| (0.0..1.0).contains(beta)), "betas", "within 0..1");
        check(self.epsilon > 0.0, "epsilon", "above 0");
        check(self.weight_decay >= 0.0, "weight_decay", "at least 0");
        check(self.max_grad_norm >= 0.0, "max_grad_norm", "at least 0");
        problems
    }

    /// The learning rate of step `step`, counted from 0.
    pub fn rate(&self, step: usize, n_steps: usize) -> f64 {
        let n_warmup = (self.warmup_ratio * n_steps as f64).ceil() as usize;
        self.learning_rate * self.schedule.factor(step, n_warmup, n_steps, self.min_lr_rate)
    }
}

/// Gradients of a module's tensors, by name.
#[derive(Clone, Debug)]
pub struct Gradients<B: Backend> {
    pub(crate) tensors: BTreeMap<String, FlatTensor<B>>,
    /// What they are yet to be multiplied by; an update does it in passing.
    scale: f64,
}

impl<B: LmBackend> Gradients<B> {
    /// The gradient of the losses' sum, one loss a part: the tape holds one part at a time, and what
    /// it gives is added up in place as soon as it is known.
    pub fn of<AB: LmAutodiffBackend<InnerBackend = B>, M: AutodiffModule<AB>, T>(
        module: &M,
        parts: impl IntoIterator<Item = T>,
        mut loss: impl FnMut(&M, T) -> Tensor<AB, 1>,
    ) -> Self {
        let (mut sums, mut by_id) = (BTreeMap::new(), Sums::new());
        for part in parts {
            // The tape is used up by running it backwards, so each part has a new one.
            let mut gatherer =
                Gatherer { path: Path::default(), sums: &mut sums, by_id: &mut by_id };
            let module = module.clone().map(&mut gatherer);
            let (mut rest, passes) = recorded::<AB, _>(|| loss(&module, part).backward());
            passes.into_iter().rev().for_each(|pass| pass.replay(&mut rest, &by_id));
        }
        let known = |(name, sum): (String, GradientSum<B>)| Some((name, FlatTensor(sum.take()?)));
        Self { tensors: sums.into_iter().filter_map(known).collect(), scale: 1.0 }
    }

    /// The Euclidean norm over all tensors.
    pub fn norm(&self) -> f64 {
        let square = |FlatTensor(tensor): &FlatTensor<B>| ops::sum_of_squares(tensor.clone());
        let squares: Vec<Tensor<B, 1>> = self.tensors.values().map(square).collect();
        if squares.is_empty() {
            return 0.0;
        }
        let squares = host(Tensor::cat(squares, 0));
        self.scale * squares.into_iter().map(f64::from).sum::<f64>().sqrt()
    }

    /// Scales gradients whose norm exceeds `max_norm` down to it (0 means never), as PyTorch's
    /// `clip_grad_norm_` does, and returns the norm before.
    pub fn clip(&mut self, max_norm: f64) -> f64 {
        let norm = self.norm();
        let factor = max_norm / (norm + 1e-6);
        if max_norm > 0.0 && factor < 1.0 {
            self.scale *= factor;
        }
        norm
    }
}

/// Lets what flows back into a module's tensors be added up by their names.
struct Gatherer<'a, B: LmBackend> {
    path: Path,
    sums: &'a mut BTreeMap<String, GradientSum<B>>,
    /// The same ones.
    by_id: &'a mut Sums<B>,
}

impl<AB: LmAutodiffBackend> ModuleMapper<AB> for Gatherer<'_, AB::InnerBackend> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<AB, D>>) -> Param<Tensor<AB, D>> {
        if !param.is_require_grad() {
            return param;
        }
        let sum = self.sums.entry(self.path.name()).or_default();
        let (id, tensor, mapper) = param.consume();
        self.by_id.insert(id, sum.clone());
        Param::from_mapped_value(id, gathered(tensor, sum), mapper)
    }
}

/// AdamW (Loshchilov and Hutter, 2019), computed as PyTorch does.
///
/// `m ← β₁ m + (1 − β₁) g`, `v ← β₂ v + (1 − β₂) g²`,
/// `p ← p (1 − lr λ) − lr · m̂ / (√v̂ + ε)` with `m̂ = m / (1 − β₁ᵗ)` and `v̂ = v / (1 − β₂ᵗ)`.
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
        let moments = match self.moments.remove(&name) {
            Some(Moments { first, second }) => [first, second],
            None => [gradient.zeros_like(), gradient.zeros_like()],
        };
        let (value, [first, second]) = ops::adamw(value, gradient, moments, step);
        self.moments.insert(name, Moments { first, second });
        value
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
        }
    }

    /// Writes the moments to a safetensors file.
    pub fn save(&self, path: &FilePath) -> Result<(), ModelError> {
        let mut bytes = BTreeMap::new();
        for (name, Moments { first, second }) in &self.moments {
            for (moment, tensor) in [("first", first), ("second", second)] {
                let values = FlatTensor(tensor.clone()).to_values();
                let le: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                bytes.insert(format!("{moment}.{name}"), (values.len(), le));
            }
        }
        let views = bytes.iter().map(|(name, (n_values, bytes))| {
            (name, TensorView::new(Dtype::F32, vec![*n_values], bytes).expect("whole f32 values"))
        });
        let metadata = HashMap::from([("n_updates".to_owned(), self.n_updates.to_string())]);
        safetensors::serialize_to_file(views, Some(metadata), path).map_err(|error| match error {
            safetensors::SafeTensorError::IoError(source) => {
                rein_data::DataError::Io { path: path.to_path_buf(), source }.into()
            }
            other => ModelError::checkpoint(path, other.to_string()),
        })
    }

    /// Reads what [`save`](Self::save) wrote of an optimiser of `module`.
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
            let value = |bytes: &[u8]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            let values: Vec<f32> = view.data().chunks_exact(4).map(value).collect();
            let n_values = values.len();
            Ok(Tensor::from_data(TensorData::new(values, [n_values]), device))
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
