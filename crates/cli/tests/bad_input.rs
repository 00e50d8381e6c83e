//! Whatever is wrong with a run's input is told in one line that names it and the way out.

#![allow(dead_code, reason = "each test program uses a part of what they share")]

mod program;

use expect_test::{Expect, expect};
use program::Workplace;

/// `rein ARGS` is refused with this line, and nothing is written.
fn check(place: &Workplace, args: &[&str], expected: &Expect) {
    let output = place.output(args);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "rein {args:?}: {told}");
    expected.assert_eq(told.trim_end());
    assert!(!place.path("runs").exists(), "something was written");
}

fn train(place: &Workplace, sets: &[&str], expected: &Expect) {
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    let args = [&["train", "--config", "tiny.toml"][..], &sets].concat();
    check(place, &args, expected);
}

#[test]
fn missing_files() {
    let place = Workplace::new();
    check(
        &place,
        &["train", "--config", "nowhere.toml"],
        &expect![
            "error: nowhere.toml: No such file or directory (os error 2); `rein config` prints a config to start from"
        ],
    );
    check(
        &place,
        &["train", "--resume", "nowhere"],
        &expect!["error: nowhere: holds no run to resume (no config.toml)"],
    );
    check(
        &place,
        &["train", "--config", "tiny.toml", "--model", "nowhere"],
        &expect![
            "error: nowhere: holds no model.safetensors (nor an index of shards); name a folder in the Hugging Face layout"
        ],
    );
    place.write("hh.toml", "[data]\nkind = \"dialogues\"\npath = \"nowhere.jsonl.gz\"\n");
    check(
        &place,
        &["train", "--config", "hh.toml"],
        &expect![
            "error: nowhere.jsonl.gz: No such file or directory (os error 2); paths begin at the current folder"
        ],
    );
}

#[test]
fn keys_and_values() {
    let place = Workplace::new();
    train(
        &place,
        &["rl.stepz=3"],
        &expect!["error: --set rl.stepz=3: unknown key `rl.stepz`; did you mean `rl.steps`?"],
    );
    train(
        &place,
        &["sft.batch_rows=10"],
        &expect![
            "error: tiny.toml with --set: `sft.micro_batch_rows` (8) does not divide `sft.batch_rows` (10)"
        ],
    );
    train(
        &place,
        &["rl.minibatches=3"],
        &expect![
            "error: tiny.toml with --set: `rl.minibatches` (3) does not divide the 8 completions of a step (`rl.prompts_per_step` × `rl.samples_per_prompt`)"
        ],
    );
    train(
        &place,
        &["model.n_heads=3"],
        &expect!["error: model config: hidden_size 16 is not a multiple of n_heads 3"],
    );
    train(
        &place,
        &["sft.max_tokens=1000"],
        &expect!["error: `sft.max_tokens` is 1000, but the model has 128 positions; lower it"],
    );
    train(
        &place,
        &["model.vocab_size=10"],
        &expect![
            "error: `model.vocab_size`: vocab_size is 10; the 256 bytes and 3 special tokens need at least 259 entries"
        ],
    );
}

#[test]
fn too_large_for_the_machine() {
    let place = Workplace::new();
    let sets = ["model.hidden_size=65536", "model.mlp_size=131072", "model.n_layers=100"];
    let args = ["train", "--config", "tiny.toml"]
        .into_iter()
        .chain(sets.iter().flat_map(|it| ["--set", it]));
    let output = place.output(&args.collect::<Vec<_>>());
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("of memory are free"), "{told}");
    assert!(!place.path("runs").exists());
}

#[test]
fn rows() {
    let place = Workplace::new();
    let rows = "{\"prompt\": \"a\", \"completion\": \"b\"}\n";
    place.write("good.jsonl", &rows.repeat(3));
    place.write("malformed.jsonl", &format!("{rows}{{\"prompt\": \"a\", \"completion\"\n"));
    place.write("column.jsonl", "{\"prompt\": \"a\", \"answer\": \"b\"}\n");
    place.write("empty.jsonl", "");
    let data = |demonstrations: &str, preferences: &str| {
        let data = format!(
            "stages = [\"sft\"]\n[data]\nkind = \"files\"\ndemonstrations = \"{demonstrations}\"\n\
             preferences = \"{preferences}\"\nheldout_share = 0.0\n\
             [model]\nkind = \"new\"\nvocab_size = 300\n[sft]\nmax_tokens = 64\n"
        );
        place.write("data.toml", &data);
        ["train", "--config", "data.toml"]
    };
    check(
        &place,
        &data("malformed.jsonl", "good.jsonl"),
        &expect![
            "error: malformed.jsonl:2: not JSON: EOF while parsing an object; write one whole object on each line"
        ],
    );
    check(
        &place,
        &data("column.jsonl", "good.jsonl"),
        &expect![
            "error: column.jsonl:1: a prompt alone is no demonstration; a completion must follow it"
        ],
    );
    check(
        &place,
        &data("empty.jsonl", "good.jsonl"),
        &expect!["error: empty.jsonl: holds no rows; a run needs one at least"],
    );
    check(
        &place,
        &data("good.jsonl", "good.jsonl"),
        &expect![
            "error: good.jsonl:1: a reward model learns from preferences, labels, rankings or scores; this row holds none of them"
        ],
    );
    let long = format!("{{\"prompt\": \"{}\", \"completion\": \"b\"}}\n", "word ".repeat(400));
    place.write("long.jsonl", &long);
    place.write("pairs.jsonl", "{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"c\"}\n");
    check(
        &place,
        &data("long.jsonl", "pairs.jsonl"),
        &expect![
            "error: long.jsonl:1: a prompt of 402 tokens; cut at 64, nothing is left to learn: raise `max_tokens` or shorten the prompt"
        ],
    );
}

/// The arguments of a run on rows of files, whose `[data]` says this.
fn files(place: &Workplace, data: &str) -> [&'static str; 3] {
    let model = "[model]\nkind = \"new\"\nvocab_size = 300\n[sft]\nmax_tokens = 64\n";
    let text = format!("stages = [\"sft\"]\n{model}[data]\nkind = \"files\"\n{data}\n");
    place.write("data.toml", &text);
    ["train", "--config", "data.toml"]
}

#[test]
fn data_that_do_not_fit_together() {
    let place = Workplace::new();
    place.write("rows.jsonl", "{\"prompt\": \"a\", \"completion\": \"b\"}\n");
    place.write("chat.jsonl", "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}\n");
    place.write("odd.jsonl", "{\"question\": \"a\", \"answer\": \"b\"}\n");
    place.write("other.jsonl", "{\"prompt\": \"a\", \"completion\": \"b\"}\n{\"text\": \"a\"}\n");
    let data = |data: &str| files(&place, data);
    check(
        &place,
        &data(""),
        &expect![
            "error: data.toml: `data` names neither `data.demonstrations` nor a `data.mix` nor `data.preferences`"
        ],
    );
    check(
        &place,
        &data("demonstrations = \"chat.jsonl\"\nheldout_share = 0"),
        &expect![
            "error: chat.jsonl:1: a conversation needs a chat template, and the model's folder holds none; name one: `chatml`, `llama3` or `zephyr`"
        ],
    );
    check(
        &place,
        &data("demonstrations = \"odd.jsonl\""),
        &expect![
            "error: odd.jsonl:1: no schema has only the columns `question`, `answer`; known are `text` or `messages` (language-modeling), `prompt` (prompt-only), `prompt` and `completion` (prompt-completion), `prompt`, `chosen` and `rejected` (preference), `chosen` and `rejected` (implicit-preference), `completion`, `label` and perhaps `prompt` (unpaired-preference), `prompt`, `completions` and `ranks` (ranking), `prompt` and lists of `chosen` and `rejected` (best-of), `completion`, `score` and perhaps `prompt` (scored), `instruction`, `output` and perhaps `input` (alpaca), `conversations` (sharegpt), `chosen` and `rejected` (hh)"
        ],
    );
    check(
        &place,
        &data("demonstrations = \"other.jsonl\"\nheldout_share = 0"),
        &expect![
            "error: other.jsonl:2: no column `prompt`; found `text` (the schema is prompt-completion)"
        ],
    );
    check(
        &place,
        &data("demonstrations = \"rows.jsonl\"\nlearn = \"assistant\"\nheldout_share = 0"),
        &expect![
            "error: rows.jsonl:1: a text has no assistant to learn from; learn `completion` or `all`"
        ],
    );
    check(
        &place,
        &data("[[data.mix]]\npath = \"rows.jsonl\"\nweight = 0"),
        &expect!["error: data.toml: `data.mix` has a weight that isn't above 0"],
    );
    check(
        &place,
        &data("demonstrations = \"rows.jsonl\"\nchat_template = \"chatty\""),
        &expect!["error: rows.jsonl: too few prompts to split: 1 rows to train on and 0 held out"],
    );
}

#[test]
fn stages_without_data_to_learn_from() {
    let place = Workplace::new();
    place.write("rows.jsonl", "{\"prompt\": \"a\", \"completion\": \"b\"}\n");
    let mut stages = files(&place, "demonstrations = \"rows.jsonl\"").to_vec();
    stages.extend(["--set", "stages=[\"sft\", \"reward\"]"]);
    check(
        &place,
        &stages,
        &expect![
            "error: data.toml with --set: `stages` holds \"reward\", but nothing says what is good: name `data.preferences` or a `reward_model`"
        ],
    );
}

#[test]
fn several_processes_of_a_build_that_works_in_one() {
    if cfg!(feature = "mpi") {
        return;
    }
    let place = Workplace::new();
    let launchers: [&[(&str, &str)]; 3] = [
        &[("OMPI_COMM_WORLD_SIZE", "2")],
        &[("PMI_SIZE", "2")],
        &[("SLURM_NTASKS", "2"), ("PMIX_RANK", "0")],
    ];
    for variables in launchers {
        let mut rein = place.rein(&["train", "--config", "tiny.toml", "--run", "run"]);
        let output = rein.envs(variables.iter().copied()).output().expect("starts");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains("2 processes were started, but this build works in one"), "{told}");
        assert!(told.contains("--features mpi"), "{told}");
        assert!(!place.path("run").exists());
    }
}

#[test]
fn a_model_and_a_tokenizer_that_do_not_fit() {
    let place = Workplace::new();
    place.succeed(&["sft", "--config", "tiny.toml", "--plain", "--run", "first"]);
    let checkpoints = std::fs::read_dir(place.path("first/checkpoints/sft")).expect("reads");
    let last = checkpoints.map(|entry| entry.expect("reads").path()).filter(|it| it.is_dir()).max();
    let model = last.expect("has a checkpoint").join("model");
    let config = std::fs::read_to_string(model.join("config.json")).expect("reads");
    let smaller = config.replace("\"vocab_size\": 400", "\"vocab_size\": 399");
    assert_ne!(config, smaller);
    std::fs::rename(&model, place.path("model")).expect("moves");
    place.write("model/config.json", &smaller);
    check(
        &place,
        &["train", "--config", "tiny.toml", "--model", "model"],
        &expect![
            "error: model: the tokenizer has 400 tokens, but the model has embeddings for 399: they don't belong together; name a folder that holds a model with its own tokenizer.json"
        ],
    );
}

/// Only machines without the instructions refuse bf16; which this one is decides what is tested.
#[test]
fn precisions_that_the_machine_lacks() {
    let place = Workplace::new();
    if rein_kernels::cpu::bf16::is_fast() {
        return train(
            &place,
            &["precision.rollout=f16"],
            &expect![[
                r#"error: --set precision.rollout=f16: `precision.rollout` is "f16", which isn't known; did you mean "bf16"?"#
            ]],
        );
    }
    train(
        &place,
        &["precision.rollout=bf16"],
        &expect![[
            r#"error: `precision.rollout` is "bf16", but the processor doesn't compute in bf16 (AVX512-BF16); set it to "f32" or leave it out"#
        ]],
    );
}

#[test]
fn projects_that_are_there() {
    let place = Workplace::new();
    place.write("rows.jsonl", "{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"c\"}\n");
    place.succeed(&["feedback", "import", "--store", "s.sqlite", "rows.jsonl"]);
    check(
        &place,
        &["feedback", "serve", "--store", "s.sqlite", "--kind", "thumbs", "--port", "0"],
        &expect![
            "error: project `people` is there and asks something else (`pair`); name another one by `--project`"
        ],
    );
}
