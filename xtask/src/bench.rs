//! Time and memory of the standard workloads.

use std::process::Command;

use anyhow::Result;
use clap::Args;

use crate::backend::Backend;
use crate::process::run as run_command;
use crate::rein::build;

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// sft, rollout or ppo; all of them if left out
    workload: Option<String>,
    /// S (0.26 million parameters), M (5.8 million) or L (110 million)
    #[arg(long, default_value = "S")]
    shape: String,
    /// What to build for
    #[arg(long, value_enum, default_value = "flex")]
    backend: Backend,
    /// Threads of a CPU backend; all cores if left out
    #[arg(long)]
    threads: Option<usize>,
    /// Timed runs
    #[arg(long, value_name = "N", default_value_t = 5)]
    iters: usize,
}

/// Prints one line of JSON for each workload. Each runs in a process of its own, so that its memory
/// is its own.
pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    let program = build(args.backend)?;
    let all = ["sft", "rollout", "ppo"];
    let chosen = args.workload.as_deref().map_or(all.to_vec(), |workload| vec![workload]);
    for workload in chosen {
        let mut bench = Command::new(&program);
        bench.args(["bench", workload, "--shape", &args.shape]);
        bench.args(["--iters", &args.iters.to_string()]);
        if let Some(threads) = args.threads {
            bench.env("RAYON_NUM_THREADS", threads.to_string());
        }
        run_command(&mut bench)?;
    }
    Ok(())
}
