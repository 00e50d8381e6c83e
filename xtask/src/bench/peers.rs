//! Rein beside transformers and TRL: the same workloads, in turn, in one period.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::available_parallelism;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::{BenchArgs, Cell, python, targets};
use crate::backend::Backend;
use crate::process::{output, root};

/// What has to agree for times to compare. Peers compute in f32 whatever Rein computes in.
const CONDITIONS: [&str; 4] = ["what", "shape", "params", "threads"];

const HEADING: &str = "| workload | shape | rein, s | peer, s | ratio | target \
                       | rein, MiB | peer, MiB | ratio | target |";

/// Prints a table with a row for each workload and shape.
pub(super) fn run(args: &BenchArgs) -> Result<()> {
    let match_up = MatchUp::new(args)?;
    let MatchUp { threads, device, .. } = match_up;
    let (iters, rounds) = (args.iters, args.rounds);
    println!("Medians of {iters} runs in each of {rounds} rounds, {threads} threads, {device}.");
    println!("Rein in {}, moments in {}; peers in f32.\n", args.dtype, args.moments());
    println!("{HEADING}\n|---|---|---|---|---|---|---|---|---|---|");
    for cell in args.cells() {
        println!("{}", match_up.row(cell)?);
    }
    Ok(())
}

/// What PyTorch calls a backend's device, if it has it.
pub(crate) fn device(backend: Backend) -> Option<&'static str> {
    match backend {
        Backend::Flex | Backend::Ndarray => Some("cpu"),
        // What PyTorch calls either.
        Backend::Cuda | Backend::Rocm => Some("cuda"),
        Backend::Wgpu | Backend::Vulkan | Backend::Metal => None,
    }
}

/// The peer of a workload.
pub(crate) fn command(python: &Path, cell: Cell<'_>, device: &str, iters: u32) -> Command {
    let mut peer = Command::new(python);
    peer.arg(root().join("benches/peers/bench.py"));
    peer.args([cell.workload, "--shape", cell.shape, "--device", device]);
    peer.args(["--iters", &iters.to_string()]);
    peer
}

/// The two sides and what both are told.
struct MatchUp<'a> {
    args: &'a BenchArgs,
    program: PathBuf,
    python: PathBuf,
    device: &'static str,
    threads: usize,
}

impl<'a> MatchUp<'a> {
    fn new(args: &'a BenchArgs) -> Result<Self> {
        let Some(device) = device(args.rein.backend) else {
            bail!("the peers run on the devices of flex, ndarray, cuda and rocm only")
        };
        let threads = match args.rein.threads {
            Some(threads) => threads as usize,
            None => available_parallelism().context("threads of this machine")?.get(),
        };
        let python = python::find(args.python.as_deref())?;
        Ok(Self { args, program: args.rein.find()?, python, device, threads })
    }

    fn row(&self, cell: Cell<'_>) -> Result<String> {
        let [mut rein, mut peer] = [Side::default(), Side::default()];
        for _ in 0..self.args.rounds {
            let ours = figures(&mut self.limited(self.args.rein(&self.program, cell)))?;
            let theirs = figures(&mut self.limited(self.peer(cell)))?;
            for key in CONDITIONS {
                let [ours, theirs] = [&ours[key], &theirs[key]];
                ensure!(ours == theirs, "`{key}` differs: {ours} of rein, {theirs} of its peer");
            }
            rein.add(&ours)?;
            peer.add(&theirs)?;
        }
        let Cell { workload, shape } = cell;
        let [of_time, of_memory] = targets::of(&self.args.dtype, cell);
        let time = compared(rein.median(), peer.median(), of_time, 3);
        let memory = compared(rein.peak_mib, peer.peak_mib, of_memory, 0);
        Ok(format!("| {workload} | {shape} | {time} | {memory} |"))
    }

    fn peer(&self, cell: Cell<'_>) -> Command {
        let mut peer = command(&self.python, cell, self.device, self.args.iters);
        peer.args(["--threads", &self.threads.to_string()]);
        peer
    }

    fn limited(&self, mut command: Command) -> Command {
        for name in ["RAYON_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"] {
            command.env(name, self.threads.to_string());
        }
        command
    }
}

/// What the processes of one side have shown.
#[derive(Debug, Default)]
struct Side {
    /// Seconds: each process's median.
    medians: Vec<f64>,
    /// 0 where a platform doesn't say.
    peak_mib: f64,
}

impl Side {
    fn add(&mut self, figures: &Value) -> Result<()> {
        self.medians.push(figures["median"].as_f64().context("figures lack `median`")?);
        self.peak_mib = self.peak_mib.max(figures["peak_rss_mib"].as_f64().unwrap_or(0.0));
        Ok(())
    }

    fn median(&self) -> f64 {
        let mut sorted = self.medians.clone();
        sorted.sort_by(f64::total_cmp);
        let n_rounds = sorted.len();
        f64::midpoint(sorted[(n_rounds - 1) / 2], sorted[n_rounds / 2])
    }
}

/// The last line that a process prints, as JSON.
fn figures(command: &mut Command) -> Result<Value> {
    let text = output(command)?;
    let line = text.lines().last().unwrap_or_default();
    eprintln!("  {line}");
    let name = Path::new(command.get_program()).display();
    serde_json::from_str(line).with_context(|| format!("`{name}` printed no figures: {line}"))
}

/// Four columns: ours, theirs, the ratio, what it should be and whether it is.
fn compared(ours: f64, theirs: f64, target: Option<f64>, digits: usize) -> String {
    if ours <= 0.0 || theirs <= 0.0 {
        return "- | - | - | -".to_owned();
    }
    let ratio = ours / theirs;
    let judged = target.map_or("-".to_owned(), |target| {
        format!("{target} {}", if ratio <= target { "met" } else { "missed" })
    });
    format!("{ours:.digits$} | {theirs:.digits$} | {ratio:.2} | {judged}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_counts_with_the_median_of_medians_and_its_highest_peak() {
        let mut side = Side::default();
        for (seconds, mib) in [(0.3, 10.0), (0.1, 30.0), (0.2, 20.0)] {
            let figures = serde_json::json!({ "median": seconds, "peak_rss_mib": mib });
            side.add(&figures).expect("the figures are whole");
        }
        assert_eq!((side.median(), side.peak_mib), (0.2, 30.0));
        side.medians.push(0.4);
        assert_eq!(side.median(), 0.25);
    }

    #[test]
    fn a_ratio_stands_beside_its_target() {
        assert_eq!(compared(0.25, 1.0, Some(0.3), 3), "0.250 | 1.000 | 0.25 | 0.3 met");
        assert_eq!(compared(0.5, 1.0, Some(0.3), 3), "0.500 | 1.000 | 0.50 | 0.3 missed");
        assert_eq!(compared(200.0, 400.0, None, 0), "200 | 400 | 0.50 | -");
        assert_eq!(compared(0.0, 400.0, None, 0), "- | - | - | -");
    }
}
