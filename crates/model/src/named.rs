//! A module's tensors by name.
//!
//! Burn keys tensors by a [`ParamId`](burn::module::ParamId) that is random per process; names are
//! the same in every process and in every checkpoint.

use std::collections::BTreeMap;

use burn::module::{ModuleVisitor, Param};
use burn::prelude::*;

use crate::backend::LmBackend;
use crate::tokens::host;

/// A tensor of any rank, flattened.
#[derive(Clone, Debug)]
pub(crate) struct FlatTensor<B: Backend>(pub(crate) Tensor<B, 1>);

impl<B: LmBackend> FlatTensor<B> {
    pub(crate) fn to_values(&self) -> Vec<f32> {
        host(self.0.clone())
    }
}

/// All tensors of a module, by their path: `blocks.0.mlp.up.weight`. The word `decoder` is left out,
/// so that a backbone's tensors have the same names under every head.
pub(crate) fn named_tensors<B: LmBackend, M: Module<B>>(
    module: &M,
) -> BTreeMap<String, FlatTensor<B>> {
    let mut collector = Collector { path: Path::default(), tensors: BTreeMap::new() };
    module.visit(&mut collector);
    collector.tensors
}

/// Where a visitor stands.
#[derive(Debug, Default)]
pub(crate) struct Path(Vec<String>);

impl Path {
    pub(crate) fn enter(&mut self, name: &str) {
        self.0.push(name.to_owned());
    }

    pub(crate) fn exit(&mut self) {
        self.0.pop();
    }

    pub(crate) fn name(&self) -> String {
        let parts: Vec<&str> =
            self.0.iter().map(String::as_str).filter(|part| *part != "decoder").collect();
        parts.join(".")
    }
}

struct Collector<B: Backend> {
    path: Path,
    tensors: BTreeMap<String, FlatTensor<B>>,
}

impl<B: LmBackend> ModuleVisitor<B> for Collector<B> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let tensor = param.val();
        let n_values = tensor.shape().num_elements();
        self.tensors.insert(self.path.name(), FlatTensor(tensor.reshape([n_values])));
    }
}
