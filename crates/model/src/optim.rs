//! AdamW with global-norm clipping, keyed by the tensors' names.

use std::collections::BTreeMap;

use burn::module::{AutodiffModule, ModuleMapper, Param};
use burn::prelude::*;
use rein_kernels::{GradientSum, Precision, gathered, ops};
use serde::{Deserialize, Serialize};

pub use crate::adamw::AdamW;
use crate::backend::{LmAutodiffBackend, LmBackend};
use crate::named::{FlatTensor, Path};
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
    /// In which both moments are kept; a run's `[precision]` says it for all stages.
    #[serde(skip)]
    pub moments: Precision,
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
            moments: Precision::F32,
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
    pub(crate) scale: f64,
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
