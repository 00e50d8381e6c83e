//! What is measured besides the standard workloads.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand, value_parser};

use super::{ProgramArgs, SHAPES, WORKLOADS, chosen};
use crate::process::run as run_command;

#[derive(Debug, Subcommand)]
pub(super) enum Further {
    /// Time each fused operation beside its composition of ordinary ones
    ///
    /// A line of JSON for each, at the sizes of a step of fine-tuning. The two take turns; a ratio below 1
    /// says that the fused operation is the faster one.
    Ops(OpsArgs),
    /// Say how time and memory grow with batch, length, width and vocabulary
    ///
    /// Each is doubled a few times while the others stay, every point in a process of its own; then the
    /// exponents, beside those of operations and kept numbers. `worse` marks one that is more than 0.15
    /// above.
    Slopes(SlopesArgs),
    /// Say whether memory stays as it is while PPO goes on
    ///
    /// Resident memory every 10 iterations, compared with that after 50. Fails if it strays by more than
    /// 2 %.
    Soak(SoakArgs),
    /// Say whether every algorithm learns, on bandits and sums whose best answers are known
    ///
    /// A table and a picture of all algorithms, five seeds each. Fails if one falls short: what samples
    /// shall reach 0.95 of a bandit's optimum and 0.9 of the best algorithm's success on sums, what learns
    /// from pairs shall gain more than chance would. Takes about a quarter of an hour; started again, it
    /// goes on where it was.
    Learn(LearnArgs),
}

#[derive(Debug, Args)]
pub(super) struct OpsArgs {
    /// S, M, L, all of these, or XL; may be repeated
    #[arg(long = "shape", value_name = "SHAPE", default_value = "S")]
    #[arg(value_parser = ["S", "M", "L", "XL", "all"])]
    shapes: Vec<String>,
    /// Timed runs of an operation
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = value_parser!(u32).range(1..))]
    iters: u32,
    #[command(flatten)]
    rein: ProgramArgs,
}

#[derive(Debug, Args)]
pub(super) struct SlopesArgs {
    /// What is timed; all of them if left out, may be repeated
    #[arg(long = "what", value_name = "WORKLOAD", value_parser = WORKLOADS)]
    workloads: Vec<String>,
    /// What is doubled: batch, length, width or vocabulary; all of them if left out, may be repeated
    #[arg(long = "axis", value_name = "AXIS")]
    #[arg(value_parser = ["batch", "length", "width", "vocabulary"])]
    axes: Vec<String>,
    /// Where the doubling begins
    #[arg(long, value_name = "SHAPE", default_value = "S", value_parser = ["S", "M", "L", "XL"])]
    shape: String,
    /// How often each is doubled
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = value_parser!(u32).range(1..=8))]
    doublings: u32,
    /// Timed runs of a point
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = value_parser!(u32).range(1..))]
    iters: u32,
    #[command(flatten)]
    rein: ProgramArgs,
}

#[derive(Debug, Args)]
pub(super) struct SoakArgs {
    /// How large
    #[arg(long, value_name = "SHAPE", default_value = "S", value_parser = ["S", "M", "L", "XL"])]
    shape: String,
    /// Iterations of PPO
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = value_parser!(u32).range(60..))]
    iterations: u32,
    #[command(flatten)]
    rein: ProgramArgs,
}

#[derive(Debug, Args)]
pub(super) struct LearnArgs {
    /// bandit, noisy-bandit or arithmetic; all of them if left out, may be repeated
    #[arg(long = "task", value_name = "TASK", value_parser = ["bandit", "noisy-bandit", "arithmetic"])]
    tasks: Vec<String>,
    /// Names of algorithms, separated by commas; all of them if left out
    #[arg(long, value_name = "NAMES")]
    algorithms: Option<String>,
    /// Run each with the seeds 1 to N
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = value_parser!(u32).range(1..))]
    seeds: u32,
    /// Where all of it is written
    #[arg(long, value_name = "DIR", default_value = "runs/learn")]
    out: PathBuf,
    #[command(flatten)]
    rein: ProgramArgs,
}

impl Further {
    pub(super) fn run(&self) -> Result<()> {
        match self {
            Self::Ops(args) => ops(args),
            Self::Slopes(args) => slopes(args),
            Self::Soak(args) => soak(args),
            Self::Learn(args) => learn(args),
        }
    }
}

fn ops(args: &OpsArgs) -> Result<()> {
    let program = args.rein.find()?;
    let all = args.shapes.iter().any(|shape| shape == "all");
    for shape in chosen(if all { &[] } else { &args.shapes }, &SHAPES) {
        let mut ops = args.rein.command(&program);
        ops.args(["ops", "--shape", shape, "--iters", &args.iters.to_string()]);
        run_command(&mut ops)?;
    }
    Ok(())
}

fn slopes(args: &SlopesArgs) -> Result<()> {
    let program = args.rein.find()?;
    for workload in chosen(&args.workloads, &WORKLOADS) {
        let mut slopes = args.rein.command(&program);
        slopes.args(["slopes", "--what", workload, "--shape", &args.shape]);
        slopes.args(["--doublings", &args.doublings.to_string()]);
        slopes.args(["--iters", &args.iters.to_string()]);
        slopes.args(args.axes.iter().flat_map(|axis| ["--axis", axis]));
        run_command(&mut slopes)?;
    }
    Ok(())
}

fn soak(args: &SoakArgs) -> Result<()> {
    let mut soak = args.rein.command(&args.rein.find()?);
    soak.args(["soak", "--shape", &args.shape, "--iterations", &args.iterations.to_string()]);
    run_command(&mut soak)
}

fn learn(args: &LearnArgs) -> Result<()> {
    let mut learn = args.rein.command(&args.rein.find()?);
    learn.args(["learn", "--seeds", &args.seeds.to_string(), "--out"]).arg(&args.out);
    learn.args(args.tasks.iter().flat_map(|task| ["--task", task]));
    learn.args(args.algorithms.iter().flat_map(|names| ["--algorithms", names]));
    run_command(&mut learn)
}
