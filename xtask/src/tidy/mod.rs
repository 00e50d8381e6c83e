//! Rules of ARCHITECTURE.md that the compiler doesn't know.

mod chain;
mod sources;
mod words;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::process::root;

/// Checks all rules and tells all that is broken.
pub(crate) fn run() -> Result<()> {
    let files = tracked_files()?;
    let mut broken = chain::check()?;
    for path in &files {
        let Ok(text) = fs::read_to_string(root().join(path)) else { continue };
        broken.extend(words::check(path, &text));
        if path.extension().is_some_and(|it| it == "rs") {
            broken.extend(sources::check(path, &text)?);
        }
    }
    broken.extend(unexplained_dependencies()?);
    for rule in &broken {
        eprintln!("tidy: {rule}");
    }
    if !broken.is_empty() {
        bail!("{} rules are broken", broken.len());
    }
    eprintln!("tidy: {} files keep the rules", files.len());
    Ok(())
}

/// What git tracks or would track; without git, nothing can be said.
fn tracked_files() -> Result<Vec<PathBuf>> {
    let output = std::process::Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .current_dir(root())
        .output()
        .context("git")?;
    let names = String::from_utf8(output.stdout).context("file names")?;
    let files = names.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from);
    Ok(files.filter(|path| root().join(path).is_file()).collect())
}

/// Every dependency of the workspace has a sentence above it, its own or its group's.
fn unexplained_dependencies() -> Result<Vec<String>> {
    let path = root().join("Cargo.toml");
    let text = fs::read_to_string(&path)?;
    let lines = text.lines().skip_while(|line| *line != "[workspace.dependencies]").skip(1);
    let mut explained = false;
    let mut broken = Vec::new();
    for line in lines.take_while(|line| !line.starts_with('[')) {
        match line {
            "" => explained = false,
            _ if line.starts_with('#') => explained = true,
            _ if !explained => broken.push(format!("Cargo.toml: no reason for: {line}")),
            _ => {}
        }
    }
    Ok(broken)
}

fn is_below(path: &Path, folder: &str) -> bool {
    path.starts_with(folder)
}
