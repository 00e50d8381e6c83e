//! What part of its peer's time and peak memory Rein may take. Peers compute in f32 always.

use super::Cell;

/// What Rein computes in, workload and shape; the parts of time and memory.
type Target = ([&'static str; 3], [Option<f64>; 2]);

const TARGETS: [Target; 11] = [
    (["f32", "sft", "S"], [Some(0.5), None]),
    (["f32", "sft", "M"], [Some(0.9), None]),
    (["f32", "sft", "L"], [Some(0.9), None]),
    (["f32", "rollout", "S"], [Some(0.25), None]),
    (["f32", "rollout", "M"], [Some(0.4), None]),
    (["f32", "rollout", "L"], [Some(0.7), None]),
    (["f32", "ppo", "S"], [Some(0.3), Some(0.25)]),
    (["f32", "ppo", "M"], [Some(0.7), Some(0.35)]),
    (["f32", "ppo", "L"], [Some(0.8), Some(0.75)]),
    (["bf16", "ppo", "M"], [Some(0.45), None]),
    (["bf16", "ppo", "L"], [Some(0.45), Some(0.6)]),
];

/// The parts of time and of memory, where there are any.
pub(super) fn of(dtype: &str, Cell { workload, shape }: Cell<'_>) -> [Option<f64>; 2] {
    let known = TARGETS.iter().find(|(what, _)| *what == [dtype, workload, shape]);
    known.map_or([None; 2], |(_, parts)| *parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_those_of_what_rein_computes_in() {
        let ppo = Cell { workload: "ppo", shape: "L" };
        assert_eq!(of("f32", ppo), [Some(0.8), Some(0.75)]);
        assert_eq!(of("bf16", ppo), [Some(0.45), Some(0.6)]);
        assert_eq!(of("bf16", Cell { workload: "sft", shape: "L" }), [None; 2]);
    }
}
