//! A moving average of weights.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, Param};
use burn::prelude::*;
use serde::{Deserialize, Serialize};

use crate::backend::LmBackend;
use crate::named::{FlatTensor, Path, named_tensors};

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
        Self::resumed(config, module, 0)
    }

    /// Goes on with an average of so many updates, which was [applied](Self::applied) to a module and saved
    /// in f32.
    pub fn resumed<M: Module<B>>(config: EmaConfig, average: &M, n_updates: u64) -> Self {
        let copy = |(name, FlatTensor(tensor)): (String, FlatTensor<B>)| {
            let (device, values) = (tensor.device(), FlatTensor(tensor).to_values());
            (name, from_values(values, &device))
        };
        let averages = named_tensors(average).into_iter().map(copy).collect();
        Self { config, n_updates, averages }
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
}

fn from_values<B: Backend>(values: Vec<f32>, device: &B::Device) -> Tensor<B, 1> {
    let shape = [values.len()];
    Tensor::from_data(TensorData::new(values, shape), device)
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
