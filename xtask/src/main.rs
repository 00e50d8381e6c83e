//! The tasks of this workspace: `cargo xtask --help`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is where the program talks")]

mod backend;
mod bench;
mod ci;
mod golden;
mod gpu_check;
mod process;
mod rein;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Trains, tests and checks Rein.
#[derive(Debug, Parser)]
#[command(max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Build `rein` for a backend and run `rein train` with all further arguments
    Train(rein::TrainArgs),
    /// Build `rein` for a backend and run it with all further arguments
    Rein(rein::TrainArgs),
    /// Run every test
    Test(test::TestArgs),
    /// Do what must pass before a change lands: format, tidy, clippy, tests, docs
    Ci(ci::CiArgs),
    /// Check the rules of ARCHITECTURE.md that the compiler doesn't know
    Tidy,
    /// Make golden numbers with PyTorch and transformers, and test against them
    Golden(golden::GoldenArgs),
    /// Measure time and memory of the standard workloads, and of what they are made of
    Bench(bench::BenchArgs),
    /// Check a GPU backend on this machine, and measure it: parity with the CPU, then the benchmark
    ///
    /// All stages take some steps on both backends, whose losses must agree; then the standard workloads
    /// are timed, and those of transformers and TRL on the same card where a Python has them. Prints JSON
    /// objects, one a line. Exit code 2 says that the machine lacks the driver or a library, or that a
    /// program can't be run; 1 that a check failed.
    GpuCheck(gpu_check::GpuCheckArgs),
    /// Compile the program for backends that this machine may be unable to run
    CheckBackends,
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Train(args) => rein::run(&args, &["train"]),
        Task::Rein(args) => rein::run(&args, &[]),
        Task::Test(args) => test::run(&args, test::FEATURES),
        Task::Ci(args) => ci::run(&args),
        Task::Tidy => tidy::run(),
        Task::Golden(args) => golden::run(&args),
        Task::Bench(args) => bench::run(&args),
        Task::GpuCheck(args) => gpu_check::run(&args),
        Task::CheckBackends => backend::check(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(if error.is::<gpu_check::Unusable>() { 2 } else { 1 })
        }
    }
}
