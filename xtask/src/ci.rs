//! What must pass before a change lands, cheapest first.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::process::{cargo, has_cargo_command, run as run_command, target_dir};
use crate::test::{self, TestArgs};
use crate::{backend, tidy};

/// The crates meant to be embedded, each after those it depends on.
pub(crate) const LIBRARIES: [&str; 6] =
    ["rein-data", "rein-feedback", "rein-kernels", "rein-model", "rein-reward", "rein-ppo"];

/// What is built: the backends that tests compare, and several workers (which takes MPI).
const FEATURES: &str = "rein/ndarray,rein/wgpu,rein/mpi";

#[derive(Debug, Args)]
pub(crate) struct CiArgs {
    /// Licences, bans and sources of dependencies too, and every backend
    #[arg(long)]
    full: bool,
}

/// Stops at the first failure. All steps build with the same features, so that what one has built serves the next.
pub(crate) fn run(args: &CiArgs) -> Result<()> {
    run_command(cargo().args(["fmt", "--all", "--check"]))?;
    tidy::run()?;
    run_command(
        cargo()
            .args(["clippy", "--workspace", "--all-targets"])
            .args(["--features", FEATURES])
            .args(["--", "-D", "warnings"]),
    )?;
    test::run(&TestArgs::default(), FEATURES)?;
    run_command(
        cargo()
            .args(["doc", "--workspace", "--no-deps"])
            .args(["--features", FEATURES])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    package()?;
    if args.full {
        deny()?;
        backend::check()?;
    }
    Ok(())
}

/// What a user of a library would download builds by itself. Nothing of it is run, so nothing is optimised.
///
/// Each time in a new folder: Cargo neither unpacks nor builds a package again whose version and place stay the same, so what
/// was packaged earlier would be built.
fn package() -> Result<()> {
    let place = target_dir().join("packages");
    if place.exists() {
        fs::remove_dir_all(&place).with_context(|| place.display().to_string())?;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let packages = LIBRARIES.iter().flat_map(|name| ["-p", *name]);
    run_command(
        cargo()
            .args(["package", "--allow-dirty"])
            .args(packages)
            .arg("--target-dir")
            .arg(place.join(now.to_string())),
    )
}

fn deny() -> Result<()> {
    if !has_cargo_command("deny") {
        bail!("cargo-deny isn't installed; `cargo install --locked cargo-deny`");
    }
    run_command(cargo().args(["deny", "--all-features", "check", "licenses", "bans", "sources"]))
}
