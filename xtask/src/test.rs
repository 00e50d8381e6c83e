//! Every test.

use anyhow::Result;
use clap::Args;

use crate::process::{cargo, has_cargo_command, run as run_command};

/// The backends that tests compare with the default one.
pub(crate) const FEATURES: [&str; 2] = ["--features", "rein/ndarray,rein/wgpu"];

#[derive(Debug, Default, Args)]
pub(crate) struct TestArgs {
    /// Arguments for nextest or cargo test, a filter for example
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    rest: Vec<String>,
}

/// The tests that start `mpirun`. All else of the workspace is as in the other tests, so that little is built.
pub(crate) fn workers() -> Result<()> {
    let features = ["--features", "rein/ndarray,rein/wgpu,rein/mpi"];
    let mut tests = cargo();
    if has_cargo_command("nextest") {
        tests.args(["nextest", "run", "--workspace", "--test", "workers"]);
    } else {
        tests.args(["test", "--workspace", "--test", "workers"]);
    }
    run_command(tests.args(features))
}

/// With nextest where it is installed.
pub(crate) fn run(args: &TestArgs) -> Result<()> {
    let mut tests = cargo();
    if has_cargo_command("nextest") {
        tests.args(["nextest", "run", "--workspace"]);
    } else {
        tests.args(["test", "--workspace", "--lib", "--bins", "--tests"]);
    }
    run_command(tests.args(FEATURES).args(&args.rest))?;
    // nextest doesn't know doc tests.
    let filtered = !args.rest.is_empty();
    if filtered {
        return Ok(());
    }
    run_command(cargo().args(["test", "--workspace", "--doc"]).args(FEATURES))
}
