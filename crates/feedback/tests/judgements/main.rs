//! What must hold of aggregated judgements whatever they are: the order of rows says nothing, names say nothing, and
//! nothing is NaN.

mod comparisons;
mod labels;
mod rankings;

use proptest::prelude::*;

/// How close two sums of the same numbers are.
const SAME: f64 = 1e-9;
/// How close two climbs to the same top end.
const SAME_TOP: f64 = 1e-5;

fn cases(n: u32) -> ProptestConfig {
    ProptestConfig { cases: n, failure_persistence: None, ..ProptestConfig::default() }
}

/// `numbers` at the places of `order`.
fn picked<T: Clone>(numbers: &[T], order: &[usize]) -> Vec<T> {
    order.iter().map(|at| numbers[*at].clone()).collect()
}

fn assert_same(what: &str, a: &[f64], b: &[f64], tolerance: f64) {
    assert_eq!(a.len(), b.len(), "{what}");
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() <= tolerance, "{what}: {a} or {b}");
    }
}

fn assert_finite(what: &str, numbers: &[f64]) {
    assert!(numbers.iter().all(|it| it.is_finite()), "{what}: {numbers:?}");
}
