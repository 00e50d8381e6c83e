//! A module and the optimiser that trains it.

use std::path::Path;

use burn::module::AutodiffModule;
use burn::prelude::*;
use rein_data::workers::Workers;

use crate::ModelError;
use crate::backend::LmAutodiffBackend;
use crate::guard::finite;
use crate::optim::{AdamW, Gradients, OptimizerConfig};

/// A module in training.
#[derive(Debug)]
pub struct Learner<B: LmAutodiffBackend, M> {
    /// Always there between calls; taken out during an update, so that tensors change in place.
    module: Option<M>,
    optimizer: AdamW<B::InnerBackend>,
    config: OptimizerConfig,
    workers: Workers,
}

impl<B: LmAutodiffBackend, M: AutodiffModule<B>> Learner<B, M> {
    /// A module with an optimiser that has no history.
    pub fn new(module: M, config: OptimizerConfig) -> Self {
        let (optimizer, workers) = (AdamW::new(config), Workers::default());
        Self { module: Some(module), optimizer, config, workers }
    }

    /// Learns together with these workers, each of which computes the gradient of its own rows.
    pub fn share_with(&mut self, workers: &Workers) {
        self.workers = workers.clone();
    }

    /// Who learns.
    pub fn workers(&self) -> &Workers {
        &self.workers
    }

    /// The module as it is.
    pub fn module(&self) -> &M {
        self.module.as_ref().expect("is there between calls")
    }

    /// The gradient of the losses' sum, one loss a micro-batch: the tape holds one at a time.
    pub fn gradients<T>(
        &self,
        micro_batches: impl IntoIterator<Item = T>,
        loss: impl FnMut(&M, T) -> Tensor<B, 1>,
    ) -> Gradients<B::InnerBackend> {
        Gradients::of(self.module(), micro_batches, loss)
    }

    /// Sums the workers' gradients, clips the sum and updates the module; returns the gradient's norm
    /// before clipping.
    ///
    /// # Errors
    /// A gradient that isn't finite: the module stays as it was. `step` is counted from 0.
    pub fn update(
        &mut self,
        step: usize,
        gradients: Gradients<B::InnerBackend>,
        learning_rate: f64,
    ) -> Result<f64, ModelError> {
        let norm = self.update_if(gradients, learning_rate, f64::is_finite);
        finite(step, "the gradient", norm)?;
        Ok(norm)
    }

    /// [`update`](Self::update) if `accepts` says so of the gradient's norm before clipping, which is
    /// returned; else the module and the optimiser stay as they were.
    pub fn update_if(
        &mut self,
        mut gradients: Gradients<B::InnerBackend>,
        learning_rate: f64,
        accepts: impl FnOnce(f64) -> bool,
    ) -> f64 {
        gradients.sum_over(&self.workers);
        let norm = gradients.clip(self.config.max_grad_norm);
        if accepts(norm) {
            let module = self.module.take().expect("is there between calls");
            self.module = Some(self.optimizer.update(module, gradients, learning_rate));
        }
        norm
    }

    /// Changes the module by other means than the optimiser, which keeps its history.
    pub fn change(&mut self, change: impl FnOnce(M) -> M) {
        let module = self.module.take().expect("is there between calls");
        self.module = Some(change(module));
    }

    /// Writes the optimiser's state to a file; modules are saved by their stage.
    pub fn save_optimizer(&self, path: &Path) -> Result<(), ModelError> {
        self.optimizer.save(path)
    }

    /// Becomes `module` with the optimiser's state of a file.
    ///
    /// # Errors
    /// A file that isn't the state of an optimiser of this module.
    pub fn restore(
        &mut self,
        module: M,
        optimizer: &Path,
        device: &B::Device,
    ) -> Result<(), ModelError> {
        self.optimizer = AdamW::load(self.config, &module, optimizer, device)?;
        self.module = Some(module);
        Ok(())
    }
}
