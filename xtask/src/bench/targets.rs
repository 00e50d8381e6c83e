//! What part of its peer's time and memory Rein may take.

use super::{Cell, SHAPES};

/// Time at S, M and L.
const TIME: [(&str, [f64; 3]); 3] =
    [("sft", [0.5, 0.9, 0.9]), ("rollout", [0.25, 0.4, 0.7]), ("ppo", [0.3, 0.7, 0.8])];
/// Peak memory at S, M and L.
const MEMORY: [(&str, [f64; 3]); 1] = [("ppo", [0.25, 0.35, 0.75])];

pub(super) fn time(cell: Cell<'_>) -> Option<f64> {
    find(&TIME, cell)
}

pub(super) fn memory(cell: Cell<'_>) -> Option<f64> {
    find(&MEMORY, cell)
}

fn find(targets: &[(&str, [f64; 3])], cell: Cell<'_>) -> Option<f64> {
    let shape_idx = SHAPES.iter().position(|shape| *shape == cell.shape)?;
    let (_, at_shapes) = targets.iter().find(|(workload, _)| *workload == cell.workload)?;
    Some(at_shapes[shape_idx])
}
