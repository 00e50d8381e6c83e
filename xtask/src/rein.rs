//! Builds the program for a backend and becomes it, or `mpirun` with several of it.

use std::env::consts::EXE_EXTENSION;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};
use clap::Args;

use crate::backend::Backend;
use crate::process::{cargo, run as run_command, target_dir};

/// Seconds that workers have to end their step after Ctrl-C.
const PATIENCE: &str = "60";

#[derive(Debug, Args)]
pub(crate) struct TrainArgs {
    /// What to build for
    #[arg(long, value_enum, default_value = "flex")]
    backend: Backend,
    /// Processes that train together, started by `mpirun`
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u16).range(1..))]
    workers: u16,
    /// Arguments of the program; `-- --help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    rest: Vec<String>,
}

/// Builds and runs `rein FIRST... REST...`.
pub(crate) fn run(args: &TrainArgs, first: &[&str]) -> Result<()> {
    let mut rein = match args.workers {
        1 => Command::new(build(args.backend)?),
        count => mpirun(args.backend, count)?,
    };
    // So that the program's advice can be followed as it stands.
    rein.env("REIN_LAUNCHER", "cargo xtask").args(first).args(&args.rest);
    become_command(rein)
}

/// Builds the program with MPI; what comes back starts `count` of it.
fn mpirun(backend: Backend, count: u16) -> Result<Command> {
    let version = Command::new("mpirun").arg("--version").stdout(Stdio::null()).status();
    if !version.is_ok_and(|status| status.success()) {
        bail!(
            "mpirun isn't there; several workers need an MPI and, to build, clang's library: on Debian \
             `apt install libopenmpi-dev openmpi-bin libclang-dev clang`"
        );
    }
    let program = build_with(&format!("{},mpi", backend.features()))?;
    let mut mpirun = Command::new("mpirun");
    // Ctrl-C lets the current step end, and Open MPI waits for it.
    mpirun.env("OMPI_MCA_odls_base_sigkill_timeout", PATIENCE);
    mpirun.env("PRTE_MCA_odls_base_sigkill_timeout", PATIENCE);
    mpirun.args(["-n", &count.to_string()]).arg(program);
    Ok(mpirun)
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
