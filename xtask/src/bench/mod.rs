//! Time and memory of the standard workloads, and of what they are made of: docs/benchmarks.md.

mod further;
pub(crate) mod peers;
pub(crate) mod python;
mod targets;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use clap::{Args, value_parser};

use crate::backend::Backend;
use crate::process::run as run_command;
use crate::rein::build;

pub(crate) const WORKLOADS: [&str; 3] = ["sft", "rollout", "ppo"];
const SHAPES: [&str; 3] = ["S", "M", "L"];

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_value_name = "FURTHER")]
#[command(subcommand_help_heading = "Further measurements")]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    further: Option<further::Further>,
    /// All of them if left out
    #[arg(value_name = "WORKLOAD", value_parser = WORKLOADS)]
    workloads: Vec<String>,
    /// S (0.26 million parameters), M (5.8 million), L (110 million), all of these, or XL (0.5 billion); may
    /// be repeated
    #[arg(long = "shape", value_name = "SHAPE", default_value = "S")]
    #[arg(value_parser = ["S", "M", "L", "XL", "all"])]
    shapes: Vec<String>,
    #[command(flatten)]
    rein: ProgramArgs,
    /// Timed runs of a process
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = value_parser!(u32).range(1..))]
    iters: u32,
    /// f32, or bf16 where the processor has it; peers compute in f32
    #[arg(long, value_name = "TYPE", default_value = "f32", value_parser = ["f32", "bf16"])]
    dtype: String,
    /// In what the optimiser keeps its moments; f32 if left out, and with `--against-peers` as `--dtype`
    #[arg(long, value_name = "TYPE", value_parser = ["f32", "bf16"])]
    moments: Option<String>,
    /// Let PPO sample the next iteration's completions during an update
    #[arg(long, conflicts_with = "against_peers")]
    overlap: bool,
    /// Run transformers and TRL in turn with Rein, and print the ratios
    #[arg(long)]
    against_peers: bool,
    /// How often Rein and its peer take turns, each with a process of its own
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = value_parser!(u32).range(1..))]
    #[arg(requires = "against_peers")]
    rounds: u32,
    /// A Python with the packages of benches/peers/requirements.txt; they are installed below the
    /// target folder if left out
    #[arg(long, value_name = "PATH", requires = "against_peers")]
    python: Option<PathBuf>,
}

/// The program that is measured.
#[derive(Debug, Args)]
struct ProgramArgs {
    /// What to build for
    #[arg(long, value_enum, default_value = "flex")]
    backend: Backend,
    /// A program that was built before; it is built if left out
    #[arg(long, value_name = "PATH")]
    program: Option<PathBuf>,
    /// Threads of a CPU backend; all cores if left out
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    threads: Option<u32>,
}

/// A workload at one size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell<'a> {
    pub(crate) workload: &'a str,
    pub(crate) shape: &'a str,
}

/// Prints one line of JSON for each workload, or how it compares with its peer's.
pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    if let Some(further) = &args.further {
        return further.run();
    }
    if args.against_peers {
        return peers::run(args);
    }
    let program = args.rein.find()?;
    for cell in args.cells() {
        run_command(&mut args.rein(&program, cell))?;
    }
    Ok(())
}

impl BenchArgs {
    fn cells(&self) -> Vec<Cell<'_>> {
        let all_shapes = self.shapes.iter().any(|shape| shape == "all");
        let shapes = chosen(if all_shapes { &[] } else { &self.shapes }, &SHAPES);
        let workloads = chosen(&self.workloads, &WORKLOADS);
        let row = |workload| shapes.iter().map(move |shape| Cell { workload, shape });
        workloads.into_iter().flat_map(row).collect()
    }

    /// Each cell runs in a process of its own, so that its memory is its own.
    fn rein(&self, program: &Path, cell: Cell<'_>) -> Command {
        let mut bench = self.rein.command(program);
        bench.args([cell.workload, "--shape", cell.shape]);
        bench.args(["--iters", &self.iters.to_string()]);
        bench.args(["--dtype", &self.dtype, "--moments", self.moments()]);
        bench.args((self.overlap && cell.workload == "ppo").then_some("--overlap"));
        bench
    }

    fn moments(&self) -> &str {
        match &self.moments {
            Some(moments) => moments,
            None if self.against_peers => &self.dtype,
            None => "f32",
        }
    }
}

impl ProgramArgs {
    fn find(&self) -> Result<PathBuf> {
        self.program.clone().map_or_else(|| build(self.backend), Ok)
    }

    /// `rein bench`
    fn command(&self, program: &Path) -> Command {
        let mut bench = Command::new(program);
        bench.arg("bench");
        if let Some(threads) = self.threads {
            bench.env("RAYON_NUM_THREADS", threads.to_string());
        }
        bench
    }
}

/// What was named, or all if nothing was.
pub(crate) fn chosen<'a>(named: &'a [String], all: &[&'static str]) -> Vec<&'a str> {
    if named.is_empty() { all.to_vec() } else { named.iter().map(String::as_str).collect() }
}
