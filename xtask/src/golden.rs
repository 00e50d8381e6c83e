//! New golden numbers, and the golden tests against them.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;

use crate::process::{cargo, root, run as run_command, target_dir};
use crate::test::FEATURES;

#[derive(Debug, Args)]
pub(crate) struct GoldenArgs {
    /// A Python with PyTorch and transformers
    #[arg(long, default_value = "python3")]
    python: String,
    /// Draws other numbers
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Draws new cases into a copy of the fixtures and tests against that.
pub(crate) fn run(args: &GoldenArgs) -> Result<()> {
    let folder = target_dir().join("golden");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    copy(&root().join("fixtures"), &folder)?;
    let oracle = root().join("fixtures/oracle/oracle.py");
    run_command(Command::new(&args.python).arg(oracle).arg(&folder).arg(args.seed.to_string()))?;
    run_command(
        cargo()
            .args(["test", "--workspace", "--test", "golden", "--no-fail-fast"])
            .args(["--features", FEATURES])
            .env("REIN_FIXTURES", &folder),
    )
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
