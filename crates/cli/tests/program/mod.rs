//! Runs the program as its users do.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rein_feedback::{Annotation, Choice, Judgement, Shown, Task};
use serde_json::{Map, Value};

/// A run of all stages that takes seconds.
const TINY: &str = r#"
seed = 3

[data]
kind = "helpdesk"
demonstrations = 256
heldout_demonstrations = 16

[model]
kind = "new"
vocab_size = 400
hidden_size = 16
mlp_size = 40
n_layers = 1
n_heads = 2
n_kv_heads = 1
max_positions = 128

[sft]
batch_rows = 16
micro_batch_rows = 8
max_tokens = 96
optimizer = { learning_rate = 1e-2 }
checkpoints = { evaluate_every = 4, save_every = 3 }

[feedback]
pairs = 48
heldout_pairs = 16
batch_pairs = 16
annotators = 3
overlap = 3

[reward]
batch_rows = 8
micro_batch_rows = 4
max_tokens = 96
optimizer = { learning_rate = 2e-3 }
checkpoints = { evaluate_every = 3, save_every = 2 }

[rl]
algorithm = "ppo"
steps = 5
prompts_per_step = 8
max_new_tokens = 16
epochs = 2
minibatches = 2
micro_batch_rows = 4
eval_prompts = 4
sample_every = 2
kl = { kind = "adaptive", coefficient = 0.05, target_nats_per_completion = 4.0, horizon = 200.0 }
optimizer = { learning_rate = 1e-3, epsilon = 1e-5 }
checkpoints = { evaluate_every = 2, save_every = 2, use_best = false }

[evaluate]
prompts = 8
samples = 2
"#;

/// A folder with the config of a tiny run in it.
pub(crate) struct Workplace {
    folder: tempfile::TempDir,
}

impl Workplace {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join("tiny.toml"), TINY).expect("writes the config");
        Self { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("writes a file");
    }

    /// The program, at work in the folder.
    pub(crate) fn rein(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rein"));
        command.current_dir(self.folder.path()).args(args).stdin(Stdio::null());
        command
    }

    /// Runs to the end.
    pub(crate) fn output(&self, args: &[&str]) -> Output {
        self.rein(args).output().expect("starts")
    }

    /// Runs to the end, which must be a good one; returns what was printed.
    pub(crate) fn succeed(&self, args: &[&str]) -> String {
        let output = self.output(args);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "rein {args:?}: {}\n{error}", output.status);
        String::from_utf8(output.stdout).expect("prints text")
    }
}

/// The address and the token of the link that a server prints, whose output is piped.
pub(crate) fn link(server: &mut Child) -> (String, String) {
    let lines = BufReader::new(server.stdout.take().expect("is piped")).lines();
    let mut links = lines
        .map_while(Result::ok)
        .filter_map(|line| line.strip_prefix("open ").map(str::to_owned));
    let link = links.next().expect("it gives a link");
    let (address, token) = link.split_once("/#token=").expect("a link with a token");
    (address.to_owned(), token.to_owned())
}

/// What somebody says of a pair.
pub(crate) fn prefers(task: &Task, annotator: &str, choice: Choice) -> Annotation {
    Annotation {
        task: task.id,
        annotator: annotator.into(),
        answer: Judgement::preferred(choice).into(),
        shown: Shown(vec![0, 1]),
        idem_key: task.external_id.clone(),
        active_ms: None,
    }
}

/// Lines of the run's metrics.
pub(crate) fn n_metrics(run: &Path) -> usize {
    fs::read_to_string(run.join("metrics.jsonl")).map_or(0, |text| text.lines().count())
}

/// Waits until something is so, for a long time.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(300), "waited in vain for {what}");
        sleep(Duration::from_millis(2));
    }
}

/// All files of the checkpoints that stages ended with, by their path within the run.
pub(crate) fn final_files(run: &Path) -> Vec<(String, Vec<u8>)> {
    ["sft", "reward", "rl"].iter().flat_map(|stage| stage_files(run, stage)).collect()
}

/// All files of the checkpoint that a stage ended with, by their path within the run, in order.
pub(crate) fn stage_files(run: &Path, stage: &str) -> Vec<(String, Vec<u8>)> {
    let last = fs::read_dir(run.join("checkpoints").join(stage))
        .expect("the stage has checkpoints")
        .map(|entry| entry.expect("reads").path())
        .filter(|path| is_checkpoint(path))
        .max()
        .expect("the stage has checkpoints");
    let mut files = Vec::new();
    collect(&last, run, &mut files);
    files.sort();
    files
}

/// What a run's log says of a stage, but for the time it took.
pub(crate) fn told(run: &Path, stage: &str) -> Vec<Map<String, Value>> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).expect("has metrics");
    let rows = text.lines().map(|line| serde_json::from_str(line).expect("is JSON"));
    let mut rows: Vec<Map<String, Value>> = rows.collect();
    rows.retain(|row| row["stage"] == stage);
    rows.iter_mut().for_each(|row| row.retain(|key, _| key != "eps" && !key.contains("timing_s")));
    rows
}

/// `step-000005`, and not what was set aside.
fn is_checkpoint(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.is_dir() && name.strip_prefix("step-").is_some_and(|it| it.parse::<usize>().is_ok())
}

fn collect(folder: &Path, run: &Path, files: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(folder).expect("reads a folder") {
        let path = entry.expect("reads").path();
        if path.is_dir() {
            collect(&path, run, files);
        } else {
            let name = path.strip_prefix(run).expect("lies in the run").display().to_string();
            files.push((name, fs::read(&path).expect("reads a file")));
        }
    }
}

/// Two runs ended with the same weights, optimisers and counters, to the last bit.
pub(crate) fn assert_same_end(run: &Path, other: &Path) {
    let (files, others) = (final_files(run), final_files(other));
    let names = |files: &[(String, Vec<u8>)]| -> Vec<String> {
        files.iter().map(|(name, _)| name.clone()).collect()
    };
    assert_eq!(names(&files), names(&others));
    assert!(names(&files).iter().any(|name| name.ends_with("optimizer.safetensors")));
    for ((name, bytes), (_, others)) in files.iter().zip(&others) {
        assert!(bytes == others, "{name} differs");
    }
}
