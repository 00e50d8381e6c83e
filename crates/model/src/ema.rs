//! A moving average of weights.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path as FilePath;

use burn::module::{Module, ModuleMapper, Param};
use burn::prelude::*;
use rein_data::DataError;
use safetensors::tensor::View;
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use serde::{Deserialize, Serialize};

use crate::backend::LmBackend;
use crate::named::{FlatTensor, Path, named_tensors};
use crate::{FloatType, ModelError};

/// How slowly an average follows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmaConfig {
    /// The share of the average that an update keeps (0.992; Ouyang et al., 2022, InstructGPT, §C.4).
    pub decay: f64,
    /// Whether the first updates keep less, so that where training began is soon forgotten.
    pub warmup: bool,
}

impl Default for EmaConfig {
    fn default() -> Self {
        Self { decay: 0.992, warmup: false }
    }
}

impl EmaConfig {
    /// What is wrong with these settings, each with its key below `section`.
    pub fn problems(&self, section: &str) -> Vec<String> {
        let fine = (0.0..=1.0).contains(&self.decay);
        let problem = || format!("`{section}.decay` must be within 0..=1");
        (!fine).then(problem).into_iter().collect()
    }

    /// The share that update `n_updates`, counted from 0, keeps: the decay `d`, or while warming up
    /// `min(d, (1 + n) / (10 + n))`, as TensorFlow's `ExponentialMovingAverage` has it.
    pub fn keep(&self, n_updates: u64) -> f64 {
        let n = n_updates as f64;
        if self.warmup { self.decay.min((1.0 + n) / (10.0 + n)) } else { self.decay }
    }
}

/// An exponential moving average of a module's weights (Polyak and Juditsky, 1992): after each update,
/// `a ← k a + (1 − k) w`, where `k` is [`EmaConfig::keep`] and `w` a weight.
///
/// It is kept in f32 and changed in place, a tensor at a time. Tensors are known by their names, so that any
/// process can go on with a saved average.
#[derive(Clone, Debug)]
pub struct Ema<B: Backend> {
    config: EmaConfig,
    n_updates: u64,
    averages: BTreeMap<String, Tensor<B, 1>>,
}

impl<B: LmBackend> Ema<B> {
    /// The average of a module that wasn't updated yet: its weights, copied, so that training goes on in
    /// place.
    pub fn new<M: Module<B>>(config: EmaConfig, module: &M) -> Self {
        let copy = |(name, FlatTensor(tensor)): (String, FlatTensor<B>)| {
            let (device, values) = (tensor.device(), FlatTensor(tensor).to_values());
            (name, from_values(values, &device))
        };
        let averages = named_tensors(module).into_iter().map(copy).collect();
        Self { config, n_updates: 0, averages }
    }

    /// How often weights were averaged in.
    pub fn n_updates(&self) -> u64 {
        self.n_updates
    }

    /// Averages in the weights of the module after an update.
    ///
    /// # Panics
    /// A module with other tensors than the one it began with.
    pub fn update<M: Module<B>>(&mut self, module: &M) {
        let keep = self.config.keep(self.n_updates);
        self.n_updates += 1;
        let weights = named_tensors(module);
        assert!(weights.keys().eq(self.averages.keys()), "the module has the average's tensors");
        for (name, FlatTensor(weight)) in weights {
            // Taken out: nobody else holds it, so the backend multiplies and adds in place.
            let average = self.averages.remove(&name).expect("compared above");
            let average = average.mul_scalar(keep).add(weight.mul_scalar(1.0 - keep));
            self.averages.insert(name, average);
        }
    }

    /// A module like the one that is averaged, with the average for weights: for evaluation, and to be saved.
    ///
    /// # Panics
    /// A module with other tensors than the one it began with.
    #[must_use]
    pub fn applied<M: Module<B>>(&self, module: M) -> M {
        module.map(&mut Replacer { averages: &self.averages, path: Path::default() })
    }

    /// Writes the average to a safetensors file, a tensor at a time.
    pub fn save(&self, path: &FilePath) -> Result<(), ModelError> {
        let tensors = self
            .averages
            .iter()
            .map(|(name, tensor)| (name, Saved { average: tensor, shape: tensor.dims() }));
        let metadata = HashMap::from([(N_UPDATES.to_owned(), self.n_updates.to_string())]);
        safetensors::serialize_to_file(tensors, Some(metadata), path).map_err(|error| match error {
            SafeTensorError::IoError(source) => {
                DataError::Io { path: path.to_path_buf(), source }.into()
            }
            other => ModelError::checkpoint(path, other.to_string()),
        })
    }

    /// Reads what [`save`](Self::save) wrote of an average of `module`'s weights.
    ///
    /// # Errors
    /// A file that isn't one, or whose tensors aren't those of the module.
    pub fn load<M: Module<B>>(
        config: EmaConfig,
        module: &M,
        path: &FilePath,
        device: &B::Device,
    ) -> Result<Self, ModelError> {
        let refuse = |reason: String| ModelError::checkpoint(path, reason);
        let bytes = fs::read(path).map_err(|error| refuse(error.to_string()))?;
        let (_, header) =
            SafeTensors::read_metadata(&bytes).map_err(|error| refuse(error.to_string()))?;
        let n_updates = header.metadata().as_ref().and_then(|map| map.get(N_UPDATES)?.parse().ok());
        let n_updates = n_updates.ok_or_else(|| refuse(format!("no `{N_UPDATES}`; no average")))?;
        let stored = SafeTensors::deserialize(&bytes).map_err(|error| refuse(error.to_string()))?;
        let weights = named_tensors(module);
        if let Some(name) = stored.names().iter().find(|name| !weights.contains_key(**name)) {
            return Err(refuse(format!("the model has no tensor {name}")));
        }
        let read = |(name, FlatTensor(weight)): (String, FlatTensor<B>)| {
            let view = stored.tensor(&name).map_err(|error| refuse(error.to_string()))?;
            let [n_values] = weight.dims();
            if view.dtype() != Dtype::F32 || view.shape() != [n_values] {
                return Err(refuse(format!("{name} isn't {n_values} numbers in f32")));
            }
            let mut values = Vec::with_capacity(n_values);
            FloatType::F32.decode(view.data(), &mut values);
            Ok((name, from_values(values, device)))
        };
        let averages = weights.into_iter().map(read).collect::<Result<_, ModelError>>()?;
        Ok(Self { config, n_updates, averages })
    }
}

const N_UPDATES: &str = "n_averaged_updates";

fn from_values<B: Backend>(values: Vec<f32>, device: &B::Device) -> Tensor<B, 1> {
    let shape = [values.len()];
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// A tensor whose bytes exist only while they are written.
struct Saved<'a, B: Backend> {
    average: &'a Tensor<B, 1>,
    shape: [usize; 1],
}

impl<B: LmBackend> View for Saved<'_, B> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let values = FlatTensor(self.average.clone()).to_values();
        Cow::Owned(values.iter().flat_map(|it| it.to_le_bytes()).collect())
    }

    fn data_len(&self) -> usize {
        self.shape[0] * size_of::<f32>()
    }
}

struct Replacer<'a, B: Backend> {
    averages: &'a BTreeMap<String, Tensor<B, 1>>,
    path: Path,
}

impl<B: LmBackend> ModuleMapper<B> for Replacer<'_, B> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let average = self.averages.get(&self.path.name()).expect("the average has its tensors");
        let (id, tensor, mapper) = param.consume();
        Param::from_mapped_value(id, average.clone().reshape(tensor.shape()), mapper)
    }
}
