//! All that a machine with a GPU is asked, in one call.
//!
//! First whether the backend runs at all, then whether it is right, and only then how fast it is: times of
//! wrong results mean nothing.

mod parity;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::{Args, value_parser};

use crate::backend::Backend;
use crate::bench::{Cell, WORKLOADS, chosen, peers, python};
use crate::process::{output, run as run_command};
use crate::rein::{build, build_with};

const SHAPES: [&str; 4] = ["S", "M", "L", "XL"];

#[derive(Debug, Args)]
pub(crate) struct GpuCheckArgs {
    /// What is timed; all of sft, rollout and ppo if left out
    #[arg(value_name = "WORKLOAD", value_parser = WORKLOADS)]
    workloads: Vec<String>,
    /// What is checked
    #[arg(long, value_enum, default_value = "cuda")]
    backend: Backend,
    /// A program with that backend; it is built if left out
    #[arg(long, value_name = "PATH")]
    program: Option<PathBuf>,
    /// A program with the backend `flex`, whose losses are taken for right; built if left out
    #[arg(long, value_name = "PATH")]
    reference: Option<PathBuf>,
    /// Steps of each stage that are compared
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = value_parser!(u32).range(1..))]
    steps: u32,
    /// How far losses may lie apart
    #[arg(long, value_name = "LOSS", default_value_t = 1e-3)]
    tolerance: f64,
    /// S (0.26 million parameters), M (5.8 million), L (110 million) or XL (0.5 billion); all if left out
    #[arg(long = "shape", value_name = "SHAPE", value_parser = SHAPES)]
    shapes: Vec<String>,
    /// Timed runs of a process
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = value_parser!(u32).range(1..))]
    iters: u32,
    /// The Python that is asked for torch, transformers and trl
    #[arg(long, value_name = "PATH", default_value = "python3")]
    python: PathBuf,
}

/// The machine or a program can't do what was asked for: nothing was found out about the backend.
#[derive(Debug)]
pub(crate) struct Unusable(String);

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unusable {}

/// Programs with the two backends, and a folder for what they write.
struct Check<'a> {
    args: &'a GpuCheckArgs,
    program: PathBuf,
    reference: PathBuf,
    folder: PathBuf,
}

/// Stops at the first that is wrong.
pub(crate) fn run(args: &GpuCheckArgs) -> Result<()> {
    let check = Check::new(args)?;
    let passed = check.all();
    fs::remove_dir_all(&check.folder).ok();
    let passed = passed?;
    println!("{}", serde_json::json!({ "what": "gpu_check", "passed": passed }));
    if !passed {
        bail!("`{}` doesn't give the losses of `flex`", args.backend.name());
    }
    Ok(())
}

impl<'a> Check<'a> {
    fn new(args: &'a GpuCheckArgs) -> Result<Self> {
        let (program, reference) = match (&args.program, &args.reference) {
            (Some(program), Some(reference)) => (program.clone(), reference.clone()),
            (Some(program), None) => (program.clone(), build(Backend::Flex)?),
            (None, reference) => {
                // One build has both: a second one would take the first one's place.
                let both = build_with(&format!("flex,{}", args.backend.features()))?;
                (both.clone(), reference.clone().unwrap_or(both))
            }
        };
        let folder = std::env::temp_dir().join(format!("rein-gpu-check-{}", std::process::id()));
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        Ok(Self { args, program, reference, folder })
    }

    /// Whether the backend is right; if it is, its times follow.
    fn all(&self) -> Result<bool> {
        self.probe()?;
        let is_right = self.parity()?;
        if is_right {
            self.bench()?;
            self.peers();
        }
        Ok(is_right)
    }

    /// A step of almost nothing: whether there is a device that can take it.
    fn probe(&self) -> Result<()> {
        let mut step = Command::new(&self.program);
        step.args(["bench", "sft", "--backend", self.args.backend.name(), "--iters", "1"]);
        step.args(["--batch", "1", "--length", "8", "--width", "16", "--vocabulary", "8"]);
        usable(&mut step).map(drop)
    }

    /// The workloads, each in a process of its own.
    fn bench(&self) -> Result<()> {
        for Cell { workload, shape } in self.cells() {
            let mut bench = Command::new(&self.program);
            bench.args(["bench", workload, "--shape", shape]);
            bench.args(["--backend", self.args.backend.name()]);
            run_command(bench.args(["--iters", &self.args.iters.to_string()]))?;
        }
        Ok(())
    }

    /// Those of others, if they are there. They are no part of the check: what fails is told and left.
    fn peers(&self) {
        let GpuCheckArgs { python, backend, iters, .. } = self.args;
        let Some(device) = peers::device(*backend) else {
            return eprintln!("no peers: PyTorch has no device for `{}`", backend.name());
        };
        if !python::has_peers(python) {
            return eprintln!("no peers: `{}` lacks torch, transformers or trl", python.display());
        }
        for cell in self.cells() {
            match output(&mut peers::command(python, cell, device, *iters)) {
                Ok(figures) => print!("{figures}"),
                Err(error) => eprintln!("no figures of a peer: {error:#}"),
            }
        }
    }

    fn cells(&self) -> Vec<Cell<'_>> {
        let workloads = chosen(&self.args.workloads, &WORKLOADS);
        let shapes = chosen(&self.args.shapes, &SHAPES);
        let row = |shape| workloads.iter().map(move |workload| Cell { workload, shape });
        shapes.into_iter().flat_map(row).collect()
    }
}

/// What a program says to its end. Exit code 2 is its word for a machine without what it needs.
fn usable(command: &mut Command) -> Result<String> {
    let name = Path::new(command.get_program()).display().to_string();
    let refused = |why: &str| Unusable(format!("{name}: {why}"));
    let output = command.output().map_err(|error| refused(&error.to_string()))?;
    let told = String::from_utf8_lossy(&output.stderr);
    let told = told.trim_end();
    match output.status.code() {
        Some(0) => String::from_utf8(output.stdout).context(name),
        Some(2) => Err(refused(told.trim_start_matches("error: ")).into()),
        _ => bail!("{name}: {}: {told}", output.status),
    }
}
