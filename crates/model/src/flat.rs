//! Trainable tensors of a module as one vector, for methods that think in vectors: conjugate gradients,
//! line searches.

use std::collections::BTreeMap;
use std::ops::Range;

use burn::module::{ModuleMapper, ModuleVisitor, Param};
use burn::prelude::*;

use crate::backend::{LmAutodiffBackend, LmBackend};
use crate::named::{FlatTensor, Path, named_tensors};
use crate::optim::Gradients;
use crate::tokens::host;

/// Where each of some tensors lies in one vector: one after the other in the order of their names, each
/// row-major.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlatParams {
    places: BTreeMap<String, Range<usize>>,
    n_values: usize,
}

impl FlatParams {
    /// The trainable tensors of a module whose names are wanted: `blocks.0.mlp.up.weight`.
    pub fn of<B: LmAutodiffBackend, M: Module<B>>(
        module: &M,
        wanted: impl Fn(&str) -> bool,
    ) -> Self {
        let mut trainable = Trainable { path: Path::default(), sizes: BTreeMap::new() };
        module.visit(&mut trainable);
        let mut n_values = 0;
        let wanted = trainable.sizes.into_iter().filter(|(name, _)| wanted(name));
        let place = |(name, size)| {
            let start = n_values;
            n_values += size;
            (name, start..n_values)
        };
        Self { places: wanted.map(place).collect(), n_values }
    }

    /// Whether a tensor is a part of the vector.
    pub fn holds(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// How many numbers the vector has.
    pub fn len(&self) -> usize {
        self.n_values
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.n_values == 0
    }

    /// The module's values, `[n_values]`.
    pub fn values<B: LmBackend, M: Module<B>>(&self, module: &M) -> Vec<f32> {
        self.joined(&named_tensors(module))
    }

    /// The gradient, `[n_values]`; 0 where nothing flowed back.
    pub fn gradient<B: LmBackend>(&self, gradients: &Gradients<B>) -> Vec<f32> {
        let mut values = self.joined(&gradients.tensors);
        if gradients.scale != 1.0 {
            values.iter_mut().for_each(|it| *it *= gradients.scale as f32);
        }
        values
    }

    fn joined<B: LmBackend>(&self, tensors: &BTreeMap<String, FlatTensor<B>>) -> Vec<f32> {
        let mut values = vec![0.0; self.n_values];
        for (name, place) in &self.places {
            if let Some(FlatTensor(tensor)) = tensors.get(name) {
                values[place.clone()].copy_from_slice(&host(tensor.clone()));
            }
        }
        values
    }

    /// The module with these values. Its other tensors are shared with whoever holds them, and those that
    /// were on a tape are new leaves with the ids that they had.
    #[must_use]
    pub fn with_values<B: LmBackend, M: Module<B>>(&self, module: M, values: &[f32]) -> M {
        assert_eq!(values.len(), self.n_values, "a number for each place");
        module.map(&mut Writer { params: self, values, path: Path::default() })
    }

    /// The module with its other tensors frozen, so that no gradient is computed in vain.
    #[must_use]
    pub fn alone_trainable<B: LmBackend, M: Module<B>>(&self, module: M) -> M {
        module.map(&mut Freezer { params: self, path: Path::default() })
    }
}

/// Sizes of trainable tensors.
struct Trainable {
    path: Path,
    sizes: BTreeMap<String, usize>,
}

impl<B: LmAutodiffBackend> ModuleVisitor<B> for Trainable {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if param.is_require_grad() {
            self.sizes.insert(self.path.name(), param.shape().num_elements());
        }
    }
}

struct Writer<'a> {
    params: &'a FlatParams,
    values: &'a [f32],
    path: Path,
}

impl<B: LmBackend> ModuleMapper<B> for Writer<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let Some(place) = self.params.places.get(&self.path.name()) else { return param };
        let is_trainable = param.is_require_grad();
        let (id, tensor, mapper) = param.consume();
        let values = TensorData::new(self.values[place.clone()].to_vec(), tensor.shape());
        let tensor = Tensor::from_data(values, &tensor.device()).set_require_grad(is_trainable);
        Param::from_mapped_value(id, tensor, mapper)
    }
}

struct Freezer<'a> {
    params: &'a FlatParams,
    path: Path,
}

impl<B: LmBackend> ModuleMapper<B> for Freezer<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        if self.params.holds(&self.path.name()) {
            return param;
        }
        param.set_require_grad(false)
    }
}
