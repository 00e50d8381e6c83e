//! How time and memory grow.
//!
//! A quantity that grows as `x^k` is a line of slope `k` where both axes are logarithms. Slopes are
//! fitted to what was measured and to what was counted at the same points: operations, and numbers that
//! have to be kept. An implementation that does nothing in excess has slopes that are not above.

use std::env;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use rein_model::config::ModelConfig;
use serde::{Deserialize, Serialize};

use super::args::SlopesArgs;
use super::shape::{Shape, Sizes};
use super::{Axis, SizeArgs, Workload};
use crate::speech::print;

/// How much a slope may exceed the expected one.
const MOST_EXCESS: f64 = 0.15;

/// What was measured and counted at one size.
#[derive(Debug, Serialize)]
struct Point {
    what: Workload,
    shape: Shape,
    axis: Axis,
    value: usize,
    /// All that isn't the shape's.
    #[serde(flatten)]
    sizes: SizeArgs,
    backend: String,
    threads: usize,
    /// Seconds.
    median: f64,
    peak_rss_mib: Option<f64>,
    /// Multiplications and additions, attention included.
    operations: f64,
    /// Of weights, their moments, and what the backward needs.
    kept_mib: f64,
}

/// An exponent beside the expected one.
#[derive(Debug, Serialize)]
struct Slope {
    what: Workload,
    shape: Shape,
    axis: Axis,
    of: &'static str,
    slope: f64,
    expected: f64,
    /// Above what is expected by more than rounding and caches explain.
    worse: bool,
}

/// What a point's process prints, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Figures {
    backend: String,
    threads: usize,
    median: f64,
    peak_rss_mib: Option<f64>,
}

/// Prints a line for each point and, after those of an axis, its slopes.
pub(super) fn run(args: &SlopesArgs) -> Result<()> {
    let axes = if args.axes.is_empty() { Axis::value_variants() } else { &args.axes };
    for axis in axes {
        let points = points(args, *axis)?;
        for slope in slopes(&points) {
            print(&format!("{}\n", serde_json::to_string(&slope)?));
        }
    }
    Ok(())
}

fn points(args: &SlopesArgs, axis: Axis) -> Result<Vec<Point>> {
    let base = axis.of(&args.shape.sizes().with(&args.sizes)?, args.what);
    let values = (0..=args.doublings).map(|doubling| base << doubling);
    values
        .map(|value| {
            let named = axis.set(args.sizes, value);
            let sizes = args.shape.sizes().with(&named)?;
            let figures = measure(args, &named)?;
            let point = Point {
                what: args.what,
                shape: args.shape,
                axis,
                value,
                sizes: named,
                backend: figures.backend,
                threads: figures.threads,
                median: figures.median,
                peak_rss_mib: figures.peak_rss_mib,
                operations: operations(args.what, &sizes)?,
                kept_mib: kept_bytes(args.what, &sizes)? / 1048576.0,
            };
            print(&format!("{}\n", serde_json::to_string(&point)?));
            Ok(point)
        })
        .collect()
}

/// Runs the workload in a process of its own, so that its peak memory is its own.
fn measure(args: &SlopesArgs, sizes: &SizeArgs) -> Result<Figures> {
    let mut child = Command::new(env::current_exe().context("this program")?);
    child.args(["bench", &name(&args.what), "--shape", &name(&args.shape)]);
    child.args(["--iters", &args.iters.to_string()]);
    if let Some(backend) = args.backend {
        child.args(["--backend", &backend.name()]);
    }
    let SizeArgs { batch, length, width, vocabulary } = *sizes;
    for (option, value) in
        [("--batch", batch), ("--length", length), ("--width", width), ("--vocabulary", vocabulary)]
    {
        if let Some(value) = value {
            child.args([option, &value.to_string()]);
        }
    }
    let output = child.stderr(Stdio::inherit()).output().context("this program")?;
    if !output.status.success() {
        bail!("the process of a point failed: {}", output.status);
    }
    serde_json::from_slice(&output.stdout).context("the process of a point printed no figures")
}

/// As it is typed.
fn name(value: &impl ValueEnum) -> String {
    let value = value.to_possible_value().expect("no value is skipped");
    value.get_name().to_owned()
}

impl Axis {
    fn of(self, sizes: &Sizes, what: Workload) -> usize {
        let [n_rows, length] = rows(what, sizes);
        match self {
            Self::Batch => n_rows,
            Self::Length => length,
            Self::Width => sizes.model.hidden_size,
            Self::Vocabulary => sizes.model.vocab_size,
        }
    }

    fn set(self, sizes: SizeArgs, value: usize) -> SizeArgs {
        let value = Some(value);
        match self {
            Self::Batch => SizeArgs { batch: value, ..sizes },
            Self::Length => SizeArgs { length: value, ..sizes },
            Self::Width => SizeArgs { width: value, ..sizes },
            Self::Vocabulary => SizeArgs { vocabulary: value, ..sizes },
        }
    }
}

/// Rows and tokens of a row.
fn rows(what: Workload, sizes: &Sizes) -> [usize; 2] {
    match what {
        Workload::Sft => sizes.sft,
        Workload::Rollout | Workload::Ppo => [sizes.rollout[0], sizes.rollout_length()],
    }
}

/// Multiplications and additions of one forward pass; others take a multiple, which is no slope.
fn operations(what: Workload, sizes: &Sizes) -> Result<f64> {
    let [n_rows, length] = rows(what, sizes).map(|it| it as f64);
    let n_params = ModelConfig::llama(sizes.model)?.n_params() as f64;
    let model = &sizes.model;
    let n_seen = length / 2.0;
    let of_attention = 4.0 * (model.n_layers * model.hidden_size) as f64 * n_seen;
    Ok(n_rows * length * (2.0 * n_params + of_attention))
}

/// Bytes of weights and of what a pass leaves for its backward, or of the cache.
fn kept_bytes(what: Workload, sizes: &Sizes) -> Result<f64> {
    let [n_rows, length] = rows(what, sizes).map(|it| it as f64);
    let model = &sizes.model;
    let n_params = ModelConfig::llama(*model)?.n_params() as f64;
    let n_layers = model.n_layers as f64;
    // Inputs of norms, projections, attention and the feed-forward layer.
    let of_backward = n_layers * (8 * model.hidden_size + 3 * model.mlp_size) as f64;
    let key_width = model.hidden_size / model.n_heads * model.n_kv_heads;
    let of_cache = n_layers * (2 * key_width) as f64;
    let numbers = match what {
        // Weights, gradients and two moments.
        Workload::Sft => 4.0 * n_params + n_rows * length * of_backward,
        Workload::Rollout => n_params + n_rows * length * of_cache,
        Workload::Ppo => {
            let micro_batch_rows = n_rows.min(sizes.micro_batch_rows as f64);
            let of_updates = 2.0 * micro_batch_rows * length * of_backward;
            // Two that learn and two that don't.
            (2.0 * 4.0 + 2.0) * n_params + of_updates + n_rows * length * of_cache
        }
    };
    Ok(4.0 * numbers)
}

/// Of time, and of memory where the system tells of it.
fn slopes(points: &[Point]) -> Vec<Slope> {
    let Some(&Point { what, shape, axis, .. }) = points.first() else { return Vec::new() };
    let fit = |of: fn(&Point) -> Option<f64>| -> Option<f64> {
        let curve = points.iter().map(|point| Some((point.value as f64, of(point)?)));
        Some(exponent(&curve.collect::<Option<Vec<_>>>()?))
    };
    let slope = |of, measured, expected| {
        let (slope, expected) = (fit(measured)?, fit(expected)?);
        let worse = slope > expected + MOST_EXCESS;
        Some(Slope { what, shape, axis, of, slope, expected, worse })
    };
    let of_time = slope("time", |it| Some(it.median), |it| Some(it.operations));
    let of_memory = slope("memory", |it| it.peak_rss_mib, |it| Some(it.kept_mib));
    of_time.into_iter().chain(of_memory).collect()
}

/// The least-squares slope of `log y` over `log x`.
fn exponent(curve: &[(f64, f64)]) -> f64 {
    let logs: Vec<(f64, f64)> = curve.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let count = logs.len() as f64;
    let mean_x = logs.iter().map(|(x, _)| x).sum::<f64>() / count;
    let mean_y = logs.iter().map(|(_, y)| y).sum::<f64>() / count;
    let together: f64 = logs.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let alone: f64 = logs.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    together / alone
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_have_their_exponents() {
        let curve = |power: i32| [1.0, 2.0, 4.0, 8.0].map(|x: f64| (x, 3.0 * x.powi(power)));
        assert!((exponent(&curve(1)) - 1.0).abs() < 1e-12);
        assert!((exponent(&curve(2)) - 2.0).abs() < 1e-12);
        // log 1, 2, 2 over log 1, 2, 4: ½.
        assert!((exponent(&[(1.0, 1.0), (2.0, 2.0), (4.0, 2.0)]) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn operations_grow_once_with_rows_and_up_to_twice_with_length_and_width() {
        let slope = |axis: Axis| {
            let point = |doubling: usize| {
                let value = axis.of(&Shape::S.sizes(), Workload::Sft) << doubling;
                let sizes = Shape::S.sizes().with(&axis.set(SizeArgs::default(), value));
                let operations = operations(Workload::Sft, &sizes.expect("good sizes"));
                (value as f64, operations.expect("a good shape"))
            };
            exponent(&[0, 1, 2, 3].map(point))
        };
        assert!((slope(Axis::Batch) - 1.0).abs() < 1e-9);
        assert!((1.0..2.0).contains(&slope(Axis::Length)));
        assert!((1.0..2.0).contains(&slope(Axis::Width)));
        assert!((0.0..1.0).contains(&slope(Axis::Vocabulary)));
    }

    #[test]
    fn a_slope_beyond_the_expected_one_is_told() {
        let points = [1, 2, 4].map(|value| Point {
            what: Workload::Sft,
            shape: Shape::S,
            axis: Axis::Length,
            value,
            sizes: SizeArgs::default(),
            backend: "flex".into(),
            threads: 1,
            median: (value as f64).powf(1.2),
            peak_rss_mib: Some(100.0 + value as f64),
            operations: value as f64,
            kept_mib: value as f64,
        });
        let worse: Vec<_> = slopes(&points).iter().map(|it| (it.of, it.worse)).collect();
        assert_eq!(worse, [("time", true), ("memory", false)]);
    }
}
