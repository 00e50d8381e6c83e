//! Builds the program for a backend and becomes it.

use std::env::consts::EXE_EXTENSION;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};
use clap::Args;

use crate::backend::Backend;
use crate::process::{cargo, run as run_command, target_dir};

#[derive(Debug, Args)]
pub(crate) struct TrainArgs {
    /// What to build for
    #[arg(long, value_enum, default_value = "flex")]
    backend: Backend,
    /// Arguments of the program; `-- --help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    rest: Vec<String>,
}

/// Builds and runs `rein FIRST... REST...`.
pub(crate) fn run(args: &TrainArgs, first: &[&str]) -> Result<()> {
    let mut rein = Command::new(build(args.backend)?);
    // So that the program's advice can be followed as it stands.
    rein.env("REIN_LAUNCHER", "cargo xtask").args(first).args(&args.rest);
    become_command(rein)
}

/// Builds the program for one backend and returns its path.
pub(crate) fn build(backend: Backend) -> Result<PathBuf> {
    build_with(backend.features())
}

/// Builds the program with these features and returns its path.
pub(crate) fn build_with(features: &str) -> Result<PathBuf> {
    let features = ["--no-default-features", "--features", features];
    run_command(cargo().args(["build", "--release", "-p", "rein"]).args(features))?;
    let program = target_dir().join("release").join("rein");
    Ok(program.with_extension(EXE_EXTENSION))
}

/// Nothing stands between the program and its terminal: signals and exit codes are its own.
#[cfg(unix)]
fn become_command(mut command: Command) -> Result<()> {
    use std::os::unix::process::CommandExt;
    bail!("{:?}: {}", command.get_program().to_owned(), command.exec())
}

#[cfg(not(unix))]
fn become_command(mut command: Command) -> Result<()> {
    match command.status()?.code() {
        Some(0) => Ok(()),
        code => std::process::exit(code.unwrap_or(1)),
    }
}
