//! Policy optimisation that is killed at random moments ends as if it hadn't been, whatever the algorithm.

#![cfg(unix)]
#![allow(dead_code, reason = "each test program uses a part of what they share")]

mod program;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Instant;

use program::{Workplace, stage_files, told};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Kills of each run, if `REIN_KILLS` says no other number.
const N_KILLS: usize = 5;

#[test]
fn ppo_ends_bit_identical() {
    kill_at_random("rl", &["rl.algorithm=ppo"]);
}

#[test]
fn grpo_ends_bit_identical() {
    kill_at_random("rl", &["rl.algorithm=grpo", "rl.kl={ kind = \"fixed\", coefficient = 0.04 }"]);
}

#[test]
fn trpo_ends_bit_identical() {
    kill_at_random("rl", &["rl.algorithm=trpo"]);
}

#[test]
fn dpo_ends_bit_identical() {
    let stages = "stages=[\"sft\", \"feedback\", \"dpo\"]";
    let sets = [stages, "dpo.max_tokens=96", "dpo.batch_rows=4", "dpo.epochs=3.0"];
    let cadence = "dpo.checkpoints={ evaluate_every = 4, save_every = 3 }";
    kill_at_random("dpo", &[&sets[..], &["dpo.micro_batch_rows=4", cadence]].concat());
}

/// Runs a stage once as it is, and once more, killed at moments that are spread over its whole time.
fn kill_at_random(stage: &str, sets: &[&str]) {
    let (place, other) = (Workplace::new(), Workplace::new());
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    let train = ["train", "--config", "tiny.toml", "--plain", "--run", "run", "--set"];
    place.succeed(&[&train[..], &["rl.steps=16"], &sets[..]].concat());
    let (whole, killed) = (place.path("run"), other.path("run"));
    copy(&whole, &killed);
    let resume = ["train", "--plain", "--resume", "run"];
    forget(&killed, stage);
    let start = Instant::now();
    other.succeed(&resume);
    let time = start.elapsed();
    forget(&killed, stage);

    let n_kills = std::env::var("REIN_KILLS").map_or(N_KILLS, |it| it.parse().expect("a number"));
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let mut n_killed = 0;
    for _ in 0..n_kills {
        let mut child = other
            .rein(&resume)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        sleep(time.mul_f64(rng.random_range(0.05..0.95)));
        child.kill().expect("kills");
        n_killed += usize::from(child.wait().expect("waits").signal() == Some(9));
        // A run that was through before it was killed begins anew.
        if killed.join("checkpoints").join(stage).join("finished.json").exists() {
            forget(&killed, stage);
        }
    }
    assert!(2 * n_killed > n_kills, "only {n_killed} of {n_kills} processes were killed");
    other.succeed(&resume);
    assert!(stage_files(&whole, stage) == stage_files(&killed, stage), "other weights");
    assert_eq!(told(&whole, stage), told(&killed, stage));
}

/// As if the stage, and what came after it, had not begun.
fn forget(run: &Path, stage: &str) {
    for stage in [stage, "evaluate"] {
        let _ = fs::remove_dir_all(run.join("checkpoints").join(stage));
    }
    let _ = fs::remove_file(run.join("evaluation.json"));
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("creates");
    for entry in fs::read_dir(from).expect("reads") {
        let (from, name) = entry.map(|it| (it.path(), it.file_name())).expect("reads");
        if from.is_dir() {
            copy(&from, &to.join(name));
        } else {
            fs::copy(&from, to.join(name)).expect("copies");
        }
    }
}
