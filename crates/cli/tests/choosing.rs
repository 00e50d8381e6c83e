//! Best-of-n and rejection sampling: a reward model picks among a model's completions.

#![allow(dead_code, reason = "each test program uses a part of what they share")]

mod program;

use std::fs;
use std::path::PathBuf;

use program::Workplace;
use serde_json::{Value, json};

/// A fine-tuned model and a reward model, of one run.
struct Models {
    place: Workplace,
    model: String,
    reward: String,
}

impl Models {
    fn train() -> Self {
        let place = Workplace::new();
        let stages = "stages=[\"sft\", \"feedback\", \"reward\", \"evaluate\"]";
        let train = ["train", "--config", "tiny.toml", "--plain", "--run", "run", "--set", stages];
        place.succeed(&[&train[..], &["--set", "evaluate.best_of=4"]].concat());
        let newest = |stage: &str| -> PathBuf {
            let folder = place.path("run/checkpoints").join(stage);
            let entries = fs::read_dir(folder).expect("reads").map(|it| it.expect("reads").path());
            entries.filter(|it| it.is_dir()).max().expect("there is a checkpoint").join("model")
        };
        let [model, reward] = ["sft", "reward"].map(|it| newest(it).display().to_string());
        Self { place, model, reward }
    }

    fn generate(&self, flags: &[&str]) -> Vec<Value> {
        let args = ["generate", "--model", &self.model, "--input", "rows.jsonl"];
        let args = [&args[..], &["--max-new-tokens", "12", "--samples", "4"], flags].concat();
        lines(&self.place.succeed(&args))
    }

    fn judged(&self, flags: &[&str]) -> Vec<Value> {
        self.generate(&[&["--reward-model", &self.reward], flags].concat())
    }

    fn refused(&self, flags: &[&str]) -> String {
        let args = ["generate", "--model", &self.model, "--input", "rows.jsonl"];
        let output = self.place.output(&[&args[..], flags].concat());
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{told}");
        told
    }
}

/// People of whom one half likes " yes" and the other half " no", and a reward model that knows of them.
fn train_on_people(place: &Workplace) -> String {
    let demonstration = |n: usize| {
        let completion = if n.is_multiple_of(2) { " yes" } else { " no" };
        json!({ "prompt": format!("count to {n}"), "completion": completion })
    };
    place.write("rows.jsonl", &rows(40, demonstration));
    place.write("pairs.jsonl", &rows(180, |n| answered(n, n % 12 < 6)));
    let config = "seed = 3\nstages = [\"sft\", \"reward\"]\n[model]\nkind = \"new\"\nvocab_size = 300\n\
        hidden_size = 8\nmlp_size = 16\nn_layers = 1\nn_heads = 2\nn_kv_heads = 1\nmax_positions = 64\n\
        [sft]\nbatch_rows = 8\nmicro_batch_rows = 8\nmax_tokens = 48\n[reward]\nmax_tokens = 48\nepochs = 6\n\
        batch_rows = 8\nmicro_batch_rows = 8\noptimizer = { learning_rate = 1e-2 }\n\
        personal = { joint = true }\n[data]\nkind = \"files\"\nheldout_share = 0.2\n\
        demonstrations = \"rows.jsonl\"\npreferences = \"pairs.jsonl\"\n";
    place.write("people.toml", config);
    place.succeed(&["train", "--config", "people.toml", "--plain", "--run", "run"]);
    let folder = fs::read_dir(place.path("run/checkpoints/reward")).expect("reads");
    let steps = folder.map(|it| it.expect("reads").path()).filter(|it| it.is_dir());
    steps.max().expect("there is a checkpoint").join("model").display().to_string()
}

fn rows(count: usize, row: impl Fn(usize) -> Value) -> String {
    (0..count).map(|n| format!("{}\n", row(n))).collect()
}

fn answered(n: usize, likes_yes: bool) -> Value {
    let [chosen, rejected] = if likes_yes { [" yes", " no"] } else { [" no", " yes"] };
    let prompt = format!("count to {n}");
    json!({ "prompt": prompt, "chosen": chosen, "rejected": rejected, "annotator": n % 12 })
}

#[test]
fn a_person_is_known_by_a_few_pairs_and_scored_as_they_like() {
    let place = Workplace::new();
    let reward = train_on_people(&place);
    let completion = |text| json!({ "prompt": "count to 7", "completion": text });
    place.write("said.jsonl", &rows(2, |n| completion([" yes", " no"][n])));
    for likes_yes in [true, false] {
        place.write("labels.jsonl", &rows(8, |n| answered(n, likes_yes)));
        let _ = fs::remove_dir_all(place.path("own"));
        let adapt = ["reward", "adapt", "--reward-model", &reward, "--labels", "labels.jsonl"];
        let flags = ["--first", "4", "--output", "it.json", "--model-output", "own"];
        let told = place.succeed(&[&adapt[..], &flags].concat());
        assert!(told.contains("told right: 100.0 % of 4"), "{told}");
        let scored = |flags: &[&str]| {
            let args = ["score", "--input", "said.jsonl"];
            lines(&place.succeed(&[&args[..], flags].concat()))
        };
        let theirs = scored(&["--model", &reward, "--person", "it.json"]);
        let [yes, no] = [&theirs[0], &theirs[1]].map(score);
        assert_eq!(yes > no, likes_yes, "{theirs:?}");
        assert!(theirs.iter().all(|it| it["std"].as_f64().is_some_and(|std| std > 0.0)));
        let own = scored(&["--model", "own"]);
        assert!((score(&own[0]) - yes).abs() < 1e-4, "{own:?}, not {theirs:?}");
    }
    // An export keeps what is known of people.
    place.succeed(&["export", "--model", &reward, "--output", "copy"]);
    let args = ["score", "--input", "said.jsonl", "--model", "copy", "--person", "it.json"];
    let exported = lines(&place.succeed(&args));
    assert!(exported.iter().all(|it| it["std"].is_number()), "{exported:?}");
    // Of another model, and of rows that don't say who judged them.
    let person = fs::read_to_string(place.path("it.json")).expect("reads");
    place.write("it.json", &person.replace("\"personal\": \"", "\"personal\": \"0"));
    let refused = |args: &[&str]| {
        let output = place.output(args);
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let args = ["score", "--model", &reward, "--person", "it.json", "--input", "said.jsonl"];
    assert!(refused(&args).contains("adapted to another reward model"));
    let nameless = |n| json!({ "prompt": format!("count to {n}"), "chosen": "y", "rejected": "n" });
    place.write("pairs.jsonl", &rows(40, nameless));
    let told = refused(&["train", "--config", "people.toml", "--plain", "--run", "other"]);
    assert!(told.contains("has no column `annotator`"), "{told}");
    assert!(!place.path("other").exists());
    let nobody = "rl.rewards=[{ kind = \"model\", person = \"nobody.json\" }]";
    let told = refused(&["train", "--config", "tiny.toml", "--run", "other", "--set", nobody]);
    assert!(told.contains("nobody.json"), "{told}");
    assert!(!place.path("other").exists());
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("is JSON")).collect()
}

fn score(line: &Value) -> f64 {
    line["score"].as_f64().expect("a number")
}

#[test]
fn a_reward_model_picks_and_its_picks_are_learned_from() {
    let models = Models::train();
    the_table_compares_with_the_best(&models);
    the_best_are_kept(&models);
    picks_are_demonstrations(&models);
    what_cannot_be_chosen_is_refused(&models);
}

fn the_table_compares_with_the_best(models: &Models) {
    let text = fs::read_to_string(models.place.path("run/evaluation.json")).expect("reads");
    let found: Value = serde_json::from_str(&text).expect("is JSON");
    let of = |name: &str| {
        let reports = found["models"].as_array().expect("a list");
        reports.iter().find(|it| it["name"] == name).expect("was measured").clone()
    };
    let (tuned, best) = (of("SFT"), of("best of 4"));
    assert!(best["reward"].as_f64() > tuned["reward"].as_f64(), "{best}, {tuned}");
    // ln 4 − 3/4
    assert!((best["kl"].as_f64().expect("a number") - 0.636_294).abs() < 1e-6);
    assert_eq!(best["folder"], Value::Null);
}

fn the_best_are_kept(models: &Models) {
    // Tokens, so that what the reward model was asked about is known.
    let prompts = [vec![1, 40, 50, 60], vec![1, 70, 80]];
    let rows = prompts.iter().map(|ids| format!("{}\n", json!({ "input_ids": ids })));
    models.place.write("rows.jsonl", &rows.collect::<String>());
    let all = models.judged(&[]);
    assert_eq!(all.len(), 8);
    let plain = models.generate(&[]);
    let asked = plain.iter().enumerate().map(|(row, line)| {
        assert!(line.get("score").is_none() && line["output_ids"] == all[row]["output_ids"]);
        let tokens = line["output_ids"].as_array().expect("a list");
        let prompt = prompts[row / 4].iter().map(|it| json!(it));
        let tokens: Vec<Value> = prompt.chain(tokens.iter().cloned()).collect();
        format!("{}\n", json!({ "input_ids": tokens }))
    });
    models.place.write("asked.jsonl", &asked.collect::<String>());
    let scored =
        models.place.succeed(&["score", "--model", &models.reward, "--input", "asked.jsonl"]);
    for (got, want) in all.iter().zip(lines(&scored)) {
        assert!((score(got) - score(&want)).abs() < 1e-5, "{got} and {want}");
    }
    for batch_size in ["1", "3", "16"] {
        let best = models.judged(&["--best", "2", "--batch-size", batch_size]);
        for (row, of_a_row) in all.chunks(4).enumerate() {
            let mut sorted = of_a_row.to_vec();
            sorted.sort_by(|a, b| score(b).total_cmp(&score(a)));
            assert_eq!(best[2 * row]["output_ids"], sorted[0]["output_ids"]);
            assert_eq!(best[2 * row + 1]["output_ids"], sorted[1]["output_ids"]);
        }
    }
    let mut scores: Vec<f64> = all.iter().map(score).collect();
    scores.sort_by(f64::total_cmp);
    let least = (scores[4] + scores[5]) / 2.0;
    let kept = models.judged(&["--min-score", &least.to_string()]);
    assert!(kept.len() == 3 && kept.iter().all(|it| score(it) > least), "{kept:?}");
}

fn picks_are_demonstrations(models: &Models) {
    let prompts: Vec<String> = (0..12).map(|it| format!("My phone {it} gets hot.")).collect();
    let rows = prompts.iter().map(|it| format!("{}\n", json!({ "prompt": it, "topic": 3 })));
    models.place.write("rows.jsonl", &rows.collect::<String>());
    let flags = ["--best", "1", "--stop", "e", "--demonstrations"];
    let rows = models.judged(&flags);
    assert!(!rows.is_empty(), "an `e` comes soon");
    for row in &rows {
        let prompt = row["prompt"].as_str().expect("a text");
        assert!(prompts.iter().any(|it| it == prompt), "{row}");
        assert!(row["completion"].is_string() && row["score"].is_f64());
        assert!(row.get("output_ids").is_none() && row.get("topic").is_none());
    }
    models.place.write("best.jsonl", &rows.iter().map(|it| format!("{it}\n")).collect::<String>());
    let config = "stages = [\"sft\"]\n[sft]\nmax_tokens = 64\nbatch_rows = 2\nmicro_batch_rows = 2\n\
                  [data]\nkind = \"files\"\ndemonstrations = \"best.jsonl\"\nheldout_share = 0.0\n";
    models.place.write("best.toml", config);
    let sft =
        ["sft", "--config", "best.toml", "--plain", "--run", "raft", "--model", &models.model];
    models.place.succeed(&sft);
}

fn what_cannot_be_chosen_is_refused(models: &Models) {
    let reward = ["--reward-model", &models.reward];
    let told = models.refused(&[&reward[..], &["--best", "3", "--samples", "2"]].concat());
    assert!(told.contains("`--best 3` of `--samples 2`"), "{told}");
    assert!(models.refused(&["--best", "1"]).contains("--reward-model"));
    models.place.write("rows.jsonl", "{\"input_ids\": [1, 40]}\n");
    let told = models.refused(&["--demonstrations"]);
    assert!(told.contains("rows.jsonl:1") && told.contains("needs rows with a `prompt`"), "{told}");
}
