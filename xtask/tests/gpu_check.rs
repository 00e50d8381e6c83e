//! The check of a GPU passes where backends agree, fails where they don't, and says what is missing.

#![cfg(unix)]
#![allow(clippy::print_stderr, reason = "a test tells what it compared")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;

/// The program that was built beside this task; built now if this package is tested alone.
fn rein() -> &'static Path {
    static REIN: OnceLock<PathBuf> = OnceLock::new();
    REIN.get_or_init(|| {
        let program = Path::new(env!("CARGO_BIN_EXE_xtask")).with_file_name("rein");
        if !program.exists() {
            let mut build = Command::new(env!("CARGO"));
            build.args(["build", "-p", "rein"]);
            if program.parent().is_some_and(|folder| folder.ends_with("release")) {
                build.arg("--release");
            }
            assert!(build.status().expect("cargo starts").success(), "`rein` builds");
        }
        program
    })
}

fn gpu_check(args: &[&str]) -> Output {
    let mut check = Command::new(env!("CARGO_BIN_EXE_xtask"));
    check.args(["gpu-check", "--steps", "2", "--python", "no-python"]).args(args);
    check.output().expect("starts")
}

/// A program of a few lines in a folder of its own.
fn script(folder: &tempfile::TempDir, text: &str) -> String {
    let path = folder.path().join("program");
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("writes");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("may be run");
    path.display().to_string()
}

fn lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| serde_json::from_str(line).expect("is JSON")).collect()
}

#[test]
fn backends_that_agree_are_measured() {
    let rein = rein().display().to_string();
    let help = Command::new(&rein).args(["parity", "--help"]).output().expect("starts");
    let has_other = String::from_utf8_lossy(&help.stdout).contains("ndarray");
    let backend = if has_other { "ndarray" } else { "flex" };
    eprintln!("compares {backend} with flex");
    let programs = ["--program", &rein, "--reference", &rein];
    let sizes = ["sft", "--shape", "S", "--iters", "1", "--backend", backend];
    let output = gpu_check(&[&programs[..], &sizes].concat());
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.contains("no peers: `no-python` lacks torch"), "{told}");
    let lines = lines(&output);
    let what: Vec<_> = lines.iter().map(|line| line["what"].as_str().unwrap_or("")).collect();
    assert_eq!(what, ["parity", "parity", "parity", "parity", "sft", "gpu_check"]);
    let parts: Vec<_> = lines[..4].iter().map(|line| line["part"].as_str().unwrap_or("")).collect();
    assert_eq!(parts, ["sft", "reward", "policy", "value"]);
    assert!(lines[..4].iter().all(|line| line["passed"] == true && line["steps"] == 2));
    assert_eq!((&lines[4]["backend"], &lines[5]["passed"]), (&backend.into(), &true.into()));
}

#[test]
fn backends_that_disagree_fail_and_are_not_measured() {
    let rein = rein().display().to_string();
    let folder = tempfile::tempdir().expect("a folder");
    // Does what it is told and then writes other losses, also where they are almost 0.
    let wrong = format!(
        "{rein} \"$@\" || exit 1\nfor out; do :; done\n\
         sed 's/\\([0-9]\\)\\.\\([0-9]\\)/\\1.5\\2/; s/e-[0-9]*//' \"$out\" > \"$out.wrong\"\n\
         mv \"$out.wrong\" \"$out\""
    );
    let wrong = script(&folder, &wrong);
    let output =
        gpu_check(&["--program", &rein, "--reference", &wrong, "--backend", "flex", "sft"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("error: `flex` doesn't give the losses of `flex`"), "{told}");
    let lines = lines(&output);
    assert!(lines[..4].iter().all(|line| line["what"] == "parity" && line["passed"] == false));
    assert_eq!(lines[4]["passed"], false);
    assert_eq!(lines.len(), 5, "nothing is measured");
}

#[test]
fn what_is_missing_is_told_before_anything_is_done() {
    if Path::new("/dev/nvidia0").exists() {
        return eprintln!("skipped: nothing is missing here");
    }
    let rein = rein().display().to_string();
    let output = gpu_check(&["--program", &rein, "--reference", &rein, "--backend", "cuda"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.starts_with("error: ") && output.stdout.is_empty(), "{told}");
}

#[test]
fn the_words_of_a_program_that_lacks_a_driver_are_passed_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let without = script(&folder, "echo 'error: the NVIDIA driver was not found' >&2; exit 2");
    let output = gpu_check(&["--program", &without, "--reference", &without]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert_eq!(told, format!("error: {without}: the NVIDIA driver was not found\n"));
    let nowhere = gpu_check(&["--program", "nowhere", "--reference", "nowhere"]);
    assert_eq!(nowhere.status.code(), Some(2));
}
