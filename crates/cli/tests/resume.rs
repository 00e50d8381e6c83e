//! A run that was stopped, in whatever way, ends as if it hadn't been.

#![cfg(unix)]
#![allow(dead_code, reason = "each test program uses a part of what they share")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a test tells what it skipped")]

mod program;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use program::{Workplace, assert_same_end, n_metrics, wait_until};
use serde_json::Value;

const TRAIN: [&str; 6] = ["train", "--config", "tiny.toml", "--plain", "--run", "whole"];

fn whole(place: &Workplace) {
    place.succeed(&TRAIN);
}

#[test]
fn a_run_killed_again_and_again_ends_bit_identical() {
    kill_again_and_again(&Workplace::new(), &[]);
}

#[test]
fn adapters_are_resumed_bit_identical_too() {
    let place = Workplace::new();
    let sets = ["sft.lora.rank=4", "sft.lora.dropout=0.1", "reward.lora.rank=2", "rl.lora.rank=2"];
    kill_again_and_again(&place, &sets.map(|set| ["--set", set]).concat());
    // New adapters change nothing: the policy begins as its own reference, to the bit.
    let metrics = fs::read_to_string(place.path("whole/metrics.jsonl")).expect("has metrics");
    let first = metrics.lines().map(|line| serde_json::from_str::<Value>(line).expect("is JSON"));
    let first = first.into_iter().find(|line| line["stage"] == "rl").expect("has the stage");
    assert_eq!(first["objective/kl"], 0.0, "{first}");
    let checkpoints = place.path("whole/checkpoints");
    let adapter = checkpoints.join("rl/step-000005/adapter/adapter_model.safetensors");
    assert!(adapter.exists(), "{}", adapter.display());
}

#[test]
fn overlapping_steps_are_resumed_bit_identical_too() {
    kill_again_and_again(&Workplace::new(), &["--set", "rl.overlap=true"]);
}

/// Kills a run at a third and at two thirds of each stage and compares it with one that wasn't.
fn kill_again_and_again(place: &Workplace, sets: &[&str]) {
    place.succeed(&[&TRAIN, sets].concat());
    // In another folder, under the same name: adapters name the base that lies in the run.
    let other = Workplace::new();
    let run = other.path("whole");
    let mut args = [&TRAIN, sets].concat();
    let mut n_killed = 0;
    for n_lines in middles_of_stages(&place.path("whole")) {
        let mut child =
            other.rein(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
        wait_until("metrics", || {
            child.try_wait().expect("waits").is_some() || n_metrics(&run) >= n_lines
        });
        child.kill().expect("kills");
        let status = child.wait().expect("waits");
        n_killed += usize::from(status.signal() == Some(9));
        args = vec!["train", "--plain", "--resume", "whole"];
    }
    // The last kill may come too late; the others can't.
    assert!(n_killed >= 7, "only {n_killed} processes were killed");
    other.succeed(&args);
    assert_same_end(&place.path("whole"), &run);
}

/// Numbers of metrics after which each stage is at a third and at two thirds.
fn middles_of_stages(run: &Path) -> Vec<usize> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).expect("has metrics");
    let stages: Vec<String> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("is JSON")["stage"].to_string())
        .collect();
    let mut begin = 0;
    let mut middles = Vec::new();
    for stage in stages.chunk_by(|a, b| a == b) {
        assert!(stage.len() >= 4, "{} is too short to be killed twice", stage[0]);
        middles.extend([begin + stage.len() / 3, begin + 2 * stage.len() / 3]);
        begin += stage.len();
    }
    assert_eq!(middles.len(), 8, "four stages measure something");
    middles
}

#[test]
fn an_interrupted_run_says_how_to_go_on_and_can() {
    let place = Workplace::new();
    whole(&place);
    let args = ["train", "--config", "tiny.toml", "--plain", "--run", "interrupted"];
    let run = place.path("interrupted");
    let mut rein = place.rein(&args);
    let child = rein.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    wait_until("metrics", || n_metrics(&run) >= 5);
    let interrupt = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupt.expect("kill runs").success());
    let output = child.wait_with_output().expect("waits");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(130), "{text}");
    assert!(text.contains("rein train --resume interrupted"), "{text}");
    place.succeed(&["train", "--plain", "--resume", "interrupted"]);
    assert_same_end(&place.path("whole"), &run);
}

#[test]
fn a_damaged_checkpoint_is_set_aside_and_the_one_before_is_used() {
    let place = Workplace::new();
    whole(&place);
    let run = place.path("whole");
    let expected = program::final_files(&run);
    // As if the run had stopped after its last checkpoint of reinforcement learning was written.
    let rl = run.join("checkpoints").join("rl");
    fs::remove_file(rl.join("finished.json")).expect("removes");
    let weights = rl.join("step-000005").join("model").join("model.safetensors");
    let mut bytes = fs::read(&weights).expect("reads");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&weights, bytes).expect("writes");
    let output = place.output(&["train", "--plain", "--resume", "whole"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("step-000005") && told.contains("model.safetensors"), "{told}");
    assert!(told.contains("resumed after step 4"), "{told}");
    assert!(expected == program::final_files(&run), "the run ended differently");
}

#[test]
fn a_full_disk_is_told_and_leaves_the_checkpoints_intact() {
    let place = Workplace::new();
    whole(&place);
    let disk = place.path("disk");
    fs::create_dir(&disk).expect("creates");
    let mount = |options: &str| {
        let options = format!("size={options}");
        let args = ["-t", "tmpfs", "-o", &options, "tmpfs"];
        Command::new("mount").args(args).arg(&disk).output().is_ok_and(|it| it.status.success())
    };
    let needed = size_of(&place.path("whole"));
    if !mount(&(needed / 2).to_string()) {
        eprintln!("skipped: mounting a small tmpfs needs to be root");
        return;
    }
    let unmount = Unmount(&disk);
    let args = ["train", "--config", "tiny.toml", "--plain", "--run", "disk/run"];
    let output = place.output(&args);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("free some space"), "{told}");
    let larger = format!("remount,size={}", 4 * needed);
    let remounted = Command::new("mount").args(["-o", &larger]).arg(&disk).status();
    assert!(remounted.expect("mount runs").success());
    place.succeed(&["train", "--plain", "--resume", "disk/run"]);
    assert_same_end(&place.path("whole"), &disk.join("run"));
    drop(unmount);
}

struct Unmount<'a>(&'a Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}

fn size_of(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).expect("reads").map(|entry| entry.expect("reads"));
    let size = |entry: fs::DirEntry| {
        let kind = entry.metadata().expect("has metadata");
        if kind.is_dir() { size_of(&entry.path()) } else { kind.len().next_multiple_of(4096) }
    };
    entries.map(size).sum()
}
