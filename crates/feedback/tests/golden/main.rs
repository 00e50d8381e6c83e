//! Numbers of independent code (NumPy, SciPy, scikit-learn, choix, crowd-kit and krippendorff, cross-checked),
//! reproduced. `REIN_FIXTURES` names another folder of them.

mod agreement;
mod comparisons;
mod games;
mod labels;
mod rankings;

use std::path::{Path, PathBuf};

use serde_json::Value;

/// A file of numbers, from `REIN_FIXTURES` if it is there.
fn fixture(name: &str) -> Value {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
    let named =
        std::env::var_os("REIN_FIXTURES").map(|it| PathBuf::from(it).join("feedback").join(name));
    let path = named.filter(|it| it.exists()).unwrap_or_else(|| own.join("feedback").join(name));
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

fn index(value: &Value) -> usize {
    usize::try_from(value.as_u64().expect("an index")).expect("a small one")
}

/// All numbers of nested lists, row-major.
fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(values) => values.iter().flat_map(numbers).collect(),
        value => vec![number(value)],
    }
}

/// `|got − want| ≤ tolerance` for every pair.
fn assert_close(what: &str, got: &[f64], want: &Value, tolerance: f64) {
    let want = numbers(want);
    assert_eq!(got.len(), want.len(), "{what}: so many numbers");
    let worst = got.iter().zip(&want).map(|(got, want)| (got - want).abs()).fold(0.0, f64::max);
    let is_number = got.iter().all(|it| !it.is_nan());
    assert!(is_number && worst <= tolerance, "{what}: off by {worst:e}, more than {tolerance:e}");
}
