//! Several workers train what one trains. Needs `mpirun`.

#![cfg(unix)]
#![allow(dead_code, reason = "each test program uses a part of what they share")]

mod program;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use program::{Workplace, n_metrics, wait_until};
use safetensors::SafeTensors;
use serde_json::Value;

/// 20 steps of each stage that trains, all of whose gradients stay on disk.
const TWENTY_STEPS: [&str; 12] = [
    "data.demonstrations=320",
    "sft.checkpoints.keep_last=1000",
    "sft.checkpoints.save_every=1",
    "feedback.pairs=160",
    "reward.checkpoints.keep_last=1000",
    "reward.checkpoints.save_every=1",
    "rl.steps=20",
    "rl.checkpoints.keep_last=1000",
    "rl.checkpoints.save_every=1",
    "rl.epochs=1",
    "rl.minibatches=1",
    "rl.optimizer.warmup_ratio=0",
];

/// `mpirun -n COUNT rein ARGS`, whoever runs the test and however few cores there are.
fn mpirun(place: &Workplace, count: usize, args: &[&str]) -> Command {
    let mut command = Command::new("mpirun");
    command.args(["-n", &count.to_string(), "--oversubscribe", env!("CARGO_BIN_EXE_rein")]);
    command.args(args).current_dir(place.path("")).stdin(Stdio::null());
    command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    command
}

fn output(mut command: Command) -> Output {
    command.output().expect("mpirun is installed: on Debian, `apt install openmpi-bin`")
}

fn told(output: &Output) -> String {
    let [out, error] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
    format!("{out}\n{error}")
}

#[test]
fn two_and_four_workers_train_what_one_trains() {
    let place = Workplace::new();
    let sets = TWENTY_STEPS.map(|set| ["--set", set]).concat();
    let train =
        |run| [&["train", "--config", "tiny.toml", "--plain", "--run", run], &sets[..]].concat();
    place.succeed(&train("alone"));
    for (count, run) in [(2, "two"), (4, "four")] {
        let output = output(mpirun(&place, count, &train(run)));
        assert!(output.status.success(), "{}", told(&output));
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(text.matches("run:    ").count(), 1, "the first worker alone speaks: {text}");
        assert_same_metrics(&place.path("alone"), &place.path(run));
        for stage in ["sft", "reward", "rl"] {
            assert_same_gradient(stage, &place.path("alone"), &place.path(run));
        }
    }
}

#[test]
fn two_workers_go_round_as_one_does() {
    let place = Workplace::new();
    let rounds = "loop={ rounds = 2, pairs = 12, heldout_pairs = 8, candidates = 2, patience = 0 }";
    let sets = ["--set", rounds, "--set", "rl.steps=2"];
    let train =
        |run| [&["train", "--config", "tiny.toml", "--plain", "--run", run], &sets[..]].concat();
    place.succeed(&train("alone"));
    let output = output(mpirun(&place, 2, &train("two")));
    assert!(output.status.success(), "{}", told(&output));
    let rounds = |run: &str| -> Vec<Value> {
        let text = fs::read_to_string(place.path(run).join("rounds.json")).expect("reads");
        let told: Value = serde_json::from_str(&text).expect("is JSON");
        told["rounds"].as_array().expect("is a list").clone()
    };
    let (alone, two) = (rounds("alone"), rounds("two"));
    assert_eq!(two.len(), 2);
    for (one, other) in alone.iter().zip(&two) {
        for key in ["pairs", "answers", "policy", "began_with"] {
            assert_eq!(one[key], other[key], "{key}");
        }
        let reward = |it: &Value| it["reward"].as_f64().expect("a number");
        assert!((reward(one) - reward(other)).abs() < 1e-3, "{one} {other}");
    }
}

/// Losses within 1e-5, and everything else that doesn't tell the time within 1e-4 of its size.
fn assert_same_metrics(run: &Path, other: &Path) {
    let (lines, others) = (metrics(run), metrics(other));
    assert_eq!(lines.len(), others.len());
    let mut n_losses = 0;
    for (line, other) in lines.iter().zip(&others) {
        for (name, value) in line.as_object().expect("is a record") {
            let (Some(value), Some(other)) = (value.as_f64(), other[name].as_f64()) else {
                assert_eq!(*value, other[name], "{name} in {other}");
                continue;
            };
            let is_loss = name.contains("loss");
            n_losses += usize::from(is_loss);
            let room = if is_loss { 1e-5 } else { 1e-4 * value.abs().max(1.0) };
            let tells_time = name == "eps" || name.starts_with("timing_s/");
            assert!(tells_time || (value - other).abs() <= room, "{name} is {other} in {line}");
        }
    }
    assert!(n_losses >= 80, "{n_losses} losses were compared");
}

fn metrics(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).expect("has metrics");
    text.lines().map(|line| serde_json::from_str(line).expect("is JSON")).collect()
}

/// After one step, the first moments are the gradient times a constant: equal within 1e-6 of its norm.
fn assert_same_gradient(stage: &str, run: &Path, other: &Path) {
    let gradient = |run: &Path| {
        let path = run.join("checkpoints").join(stage).join("step-000001/optimizer.safetensors");
        let bytes = fs::read(&path).expect("has the first step's state");
        let tensors = SafeTensors::deserialize(&bytes).expect("is a file of tensors");
        let mut names: Vec<&str> = tensors.names();
        names.retain(|name| name.starts_with("first."));
        names.sort_unstable();
        let values = names.iter().flat_map(|name| {
            let data = tensors.tensor(name).expect("is there").data().to_vec();
            let value = |it: &[u8]| f32::from_le_bytes(it.try_into().expect("four bytes"));
            data.chunks_exact(4).map(value).map(f64::from).collect::<Vec<_>>()
        });
        values.collect::<Vec<f64>>()
    };
    let (values, others) = (gradient(run), gradient(other));
    assert_eq!(values.len(), others.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|it| it * it).sum::<f64>().sqrt();
    let size = norm(&mut values.iter().copied());
    let apart = norm(&mut values.iter().zip(&others).map(|(a, b)| a - b));
    assert!(size > 0.0 && apart <= 1e-6 * size, "{stage}: gradients differ by {}", apart / size);
}

#[test]
fn a_lost_worker_ends_the_run_which_any_number_of_workers_can_resume() {
    let place = Workplace::new();
    let run = place.path("lost");
    let sets = ["--set", "sft.epochs=50", "--set", "stages=[\"sft\"]"];
    let train = [&["train", "--config", "tiny.toml", "--run", "lost"], &sets[..]].concat();
    let mut rein = mpirun(&place, 2, &train);
    let child = rein.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("mpirun starts");
    wait_until("checkpoints", || newest(&run) >= Some(9));
    let workers = children(child.id());
    assert_eq!(workers.len(), 2, "{workers:?}");
    signal("-KILL", &workers[1]);
    let output = child.wait_with_output().expect("ends");
    assert!(!output.status.success(), "{}", told(&output));
    for words in ["exited on signal 9", "go on with: rein train --resume lost"] {
        assert!(told(&output).contains(words), "{}", told(&output));
    }
    let n_lines = n_metrics(&run);
    // Alone, as far as the next step; then by three.
    let mut alone = place.rein(&["train", "--plain", "--resume", "lost"]);
    let mut child = alone.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
    wait_until("more metrics", || n_metrics(&run) > n_lines + 3);
    signal("-INT", &child.id().to_string());
    assert_eq!(child.wait().expect("ends").code(), Some(130));
    let before = newest(&run);
    let output = output_of_resumed(&place);
    assert!(told(&output).contains("sft: resumed after step"), "{}", told(&output));
    assert!(newest(&run) > before);
    assert!(run.join("checkpoints/sft/finished.json").exists());
}

fn output_of_resumed(place: &Workplace) -> Output {
    let output = output(mpirun(place, 3, &["train", "--resume", "lost"]));
    assert!(output.status.success(), "{}", told(&output));
    output
}

#[test]
fn workers_stop_together_when_one_is_asked() {
    let place = Workplace::new();
    let run = place.path("asked");
    let args = ["sft", "--config", "tiny.toml", "--run", "asked", "--set", "sft.epochs=500"];
    let mut rein = mpirun(&place, 2, &args);
    let child = rein.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("mpirun starts");
    wait_until("metrics", || n_metrics(&run) >= 5);
    // Not the first one.
    signal("-INT", &children(child.id())[1]);
    let output = child.wait_with_output().expect("ends");
    assert!(told(&output).contains("rein train --resume asked"), "{}", told(&output));
    assert!(newest(&run).is_some_and(|step| step >= 4), "{:?}", newest(&run));
}

#[test]
fn what_several_workers_cannot_do_is_refused() {
    let place = Workplace::new();
    let refuse = |args: &[&str], reason: &str| {
        let output = output(mpirun(&place, 2, args));
        assert_eq!(output.status.code(), Some(2), "{}", told(&output));
        assert!(told(&output).contains(reason), "{}", told(&output));
    };
    refuse(&["config"], "a command that works alone");
    let small = ["--set", "sft.batch_rows=1", "--set", "sft.micro_batch_rows=1"];
    let args = [&["sft", "--config", "tiny.toml", "--run", "small"], &small[..]].concat();
    refuse(&args, "`sft.batch_rows` is 1 for 2 workers");
    assert!(!place.path("small").exists());
}

/// The newest step that has a checkpoint.
fn newest(run: &Path) -> Option<usize> {
    let entries = fs::read_dir(run.join("checkpoints/sft")).ok()?;
    let paths = entries.map(|entry| entry.expect("reads").path());
    let step = |path: PathBuf| path.file_name()?.to_str()?.strip_prefix("step-")?.parse().ok();
    paths.filter_map(step).max()
}

/// The processes that another has started, in the order of their ids.
fn children(parent: u32) -> Vec<String> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let text = fs::read_to_string(path).expect("Linux tells of children");
    text.split_whitespace().map(str::to_owned).collect()
}

fn signal(name: &str, process: &str) {
    assert!(Command::new("kill").args([name, process]).status().expect("kill runs").success());
}
