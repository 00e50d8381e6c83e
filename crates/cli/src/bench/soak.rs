//! Whether memory stays as it is while PPO goes on.

use anyhow::{Context, Result};
use rein_model::Precision;
use rein_model::backend::LmAutodiffBackend;
use rein_model::config::ModelConfig;
use serde::Serialize;

use super::args::SoakArgs;
use super::clock::time;
use super::shape::Shape;
use super::workloads::Networks;
use super::{SizeArgs, mib};
use crate::device::Work;
use crate::memory;
use crate::speech::{note, print};

/// Iterations between two looks.
const EVERY: usize = 10;
/// Iterations after which memory has grown to what it will be.
const SETTLED: usize = 50;
/// How far memory may stray from what it was then, in percent.
const MOST_PERCENT: f64 = 2.0;

/// Runs iterations of PPO and tells whether memory stayed.
#[derive(Debug)]
pub(super) struct Soak<'a> {
    pub(super) args: &'a SoakArgs,
}

/// A look at this process.
#[derive(Clone, Copy, Debug, Serialize)]
struct Sample {
    what: &'static str,
    iteration: usize,
    rss_mib: f64,
}

/// What came of it.
#[derive(Debug, PartialEq, Serialize)]
struct Summary {
    what: &'static str,
    shape: Shape,
    #[serde(flatten)]
    sizes: SizeArgs,
    iterations: usize,
    /// Seconds of an iteration.
    median: f64,
    settled_rss_mib: f64,
    /// Of a later look, more or less.
    largest_deviation_percent: f64,
    verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Steady,
    Strays,
}

impl Work for Soak<'_> {
    type Output = bool;

    fn run<B: LmAutodiffBackend>(self, device: B::Device) -> Result<bool> {
        let SoakArgs { shape, iterations, sizes: named, .. } = *self.args;
        let sizes = shape.sizes().with(&named)?;
        let (config, precision) = (ModelConfig::llama(sizes.model)?, Precision::F32);
        let moments = precision;
        let networks =
            Networks::<B> { sizes, config, device, precision, moments, recomputes: false };
        let iterations = iterations as usize;
        let mut samples = Vec::new();
        let (seconds, ..) = networks.ppo(false, |run| {
            // The run that warms up counts here.
            let mut iteration = 0;
            time(iterations - 1, || {
                run()?;
                iteration += 1;
                if iteration % EVERY == 0 {
                    samples.push(look(iteration, iterations)?);
                }
                Ok(())
            })
        })?;
        let (settled_rss_mib, largest_deviation_percent) = strayed(&samples)?;
        let is_steady = largest_deviation_percent <= MOST_PERCENT;
        let summary = Summary {
            what: "soak",
            shape,
            sizes: named,
            iterations,
            median: seconds[seconds.len() / 2],
            settled_rss_mib,
            largest_deviation_percent,
            verdict: if is_steady { Verdict::Steady } else { Verdict::Strays },
        };
        print(&format!("{}\n", serde_json::to_string(&summary)?));
        Ok(is_steady)
    }
}

/// Says how large the process is, and on the other stream how far it has come.
fn look(iteration: usize, iterations: usize) -> Result<Sample> {
    let bytes = memory::resident().context("this system doesn't say how large a process is")?;
    let sample = Sample { what: "soak_sample", iteration, rss_mib: mib(bytes) };
    print(&format!("{}\n", serde_json::to_string(&sample)?));
    note(&format!("iteration {iteration} of {iterations}: {:.1} MiB", sample.rss_mib));
    Ok(sample)
}

/// MiB when memory had settled, and how far a later sample lies from it, in percent.
fn strayed(samples: &[Sample]) -> Result<(f64, f64)> {
    let mut later = samples.iter().skip_while(|sample| sample.iteration < SETTLED);
    let settled = later.next().context("ended before memory had settled")?.rss_mib;
    let off = later.map(|sample| (sample.rss_mib / settled - 1.0).abs() * 100.0);
    Ok((settled, off.fold(0.0, f64::max)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(mib: &[f64]) -> Vec<Sample> {
        let sample = |(number, rss_mib): (usize, &f64)| Sample {
            what: "soak_sample",
            iteration: (number + 1) * EVERY,
            rss_mib: *rss_mib,
        };
        mib.iter().enumerate().map(sample).collect()
    }

    #[test]
    fn memory_is_compared_with_that_after_fifty_iterations() {
        let looks = samples(&[10.0, 50.0, 90.0, 99.0, 100.0, 101.0, 99.5]);
        let (settled, off) = strayed(&looks).expect("enough samples");
        assert!(settled == 100.0 && (off - 1.0).abs() < 1e-9, "{off}");
        // What shrinks strays, too.
        let (_, off) = strayed(&samples(&[1.0, 1.0, 1.0, 1.0, 100.0, 97.0])).expect("enough");
        assert!((off - 3.0).abs() < 1e-9, "{off}");
        assert!(strayed(&samples(&[10.0; 4])).is_err());
    }
}
