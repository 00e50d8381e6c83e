//! What stands in the fixtures that TRL made.

use rein_model::optim::OptimizerConfig;
use rein_model::schedule::Schedule;
use serde_json::Value;

use crate::golden::{number, numbers};

/// The update that a trainer made.
pub(crate) fn optimizer(hyper: &Value) -> OptimizerConfig {
    let betas = numbers(&hyper["betas"]);
    OptimizerConfig {
        learning_rate: number(&hyper["lr"]),
        schedule: Schedule::Constant,
        betas: [betas[0], betas[1]],
        epsilon: number(&hyper["eps"]),
        weight_decay: number(&hyper["weight_decay"]),
        max_grad_norm: hyper["max_grad_norm"].as_f64().unwrap_or(0.0),
        ..OptimizerConfig::default()
    }
}
