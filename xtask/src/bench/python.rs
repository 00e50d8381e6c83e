//! The Python that runs the peers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::{output, root, run as run_command, target_dir};

/// The interpreter that was named if it has what it needs, or one of our own.
pub(super) fn find(named: Option<&Path>) -> Result<PathBuf> {
    let Some(python) = named else { return own() };
    output(&mut imports(python)).context(
        "the named Python can't run the peers; benches/peers/requirements.txt says what they need",
    )?;
    Ok(python.to_owned())
}

/// Whether this Python is there and has what the peers need.
pub(crate) fn has_peers(python: &Path) -> bool {
    imports(python).output().is_ok_and(|output| output.status.success())
}

fn imports(python: &Path) -> Command {
    let mut imports = Command::new(python);
    imports.args(["-c", "import torch, transformers, trl"]);
    imports
}

/// A virtual environment below the target folder, made anew whenever what it should hold changes.
fn own() -> Result<PathBuf> {
    let folder = target_dir().join("peers-venv");
    let python = folder.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    let requirements = root().join("benches/peers/requirements.txt");
    let wanted = fs::read_to_string(&requirements).context("benches/peers/requirements.txt")?;
    // Written last: what was left half installed is installed again.
    let installed = folder.join("installed.txt");
    if python.is_file() && fs::read_to_string(&installed).is_ok_and(|it| it == wanted) {
        return Ok(python);
    }
    run_command(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder)).context(
        "no virtual environment for the peers; it takes `python3` with its modules `venv` and \
         `ensurepip`, or `--python PATH`",
    )?;
    let install = ["-m", "pip", "install", "--quiet", "--requirement"];
    run_command(Command::new(&python).args(install).arg(&requirements)).context(
        "pip couldn't install benches/peers/requirements.txt; `--python PATH` takes a Python that \
         has these packages",
    )?;
    fs::write(&installed, wanted).with_context(|| installed.display().to_string())?;
    Ok(python)
}
