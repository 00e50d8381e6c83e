//! Every test.

use anyhow::Result;
use clap::Args;

use crate::process::{cargo, has_cargo_command, run as run_command};

/// The backends that tests compare with the default one.
pub(crate) const FEATURES: &str = "rein/ndarray,rein/wgpu";

#[derive(Debug, Default, Args)]
pub(crate) struct TestArgs {
    /// Arguments for nextest or cargo test, a filter for example
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    rest: Vec<String>,
}

/// With nextest where it is installed.
pub(crate) fn run(args: &TestArgs, features: &str) -> Result<()> {
    let mut tests = cargo();
    if has_cargo_command("nextest") {
        tests.args(["nextest", "run", "--workspace"]);
    } else {
        tests.args(["test", "--workspace", "--lib", "--bins", "--tests"]);
    }
    let features = ["--features", features];
    run_command(tests.args(features).args(&args.rest))?;
    // nextest doesn't know doc tests.
    let filtered = !args.rest.is_empty();
    if filtered {
        return Ok(());
    }
    run_command(cargo().args(["test", "--workspace", "--doc"]).args(features))
}
