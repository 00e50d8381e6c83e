//! People's own data sets: inspected, mixed, and trained on in several formats and schemas.

#![allow(dead_code, reason = "each test program uses a part of what they share")]

mod program;

use std::fs;

use expect_test::expect;
use program::Workplace;
use serde_json::{Value, json};

/// A model for `rein inspect`: the one that a run trained on its rows.
fn model(place: &Workplace) -> String {
    let checkpoints = fs::read_dir(place.path("run/checkpoints/sft")).expect("reads");
    let folders = checkpoints.map(|entry| entry.expect("reads").path()).filter(|it| it.is_dir());
    let newest = folders.max().expect("there is a checkpoint");
    newest.join("model").display().to_string()
}

/// A small run of fine-tuning and evaluation on these data.
fn config(place: &Workplace, data: &str) {
    let text = format!(
        "seed = 3\n[model]\nkind = \"new\"\nvocab_size = 300\nhidden_size = 8\nmlp_size = 16\nn_layers = 1\n\
         n_heads = 2\nn_kv_heads = 1\nmax_positions = 160\n[sft]\nbatch_rows = 8\nmicro_batch_rows = 8\n\
         max_tokens = 128\ncheckpoints = {{ save_every = 10 }}\n[reward]\nbatch_rows = 4\nmicro_batch_rows = 4\n\
         max_tokens = 128\n[rl]\nmax_new_tokens = 8\nmicro_batch_rows = 8\n\
         [evaluate]\nprompts = 4\nsamples = 1\n[data]\nkind = \"files\"\n{data}"
    );
    place.write("data.toml", &text);
}

fn lines(rows: impl IntoIterator<Item = Value>) -> String {
    rows.into_iter().map(|row| format!("{row}\n")).collect()
}

fn talk(number: usize) -> Value {
    json!([
        { "role": "user", "content": format!("count to {number}") },
        { "role": "assistant", "content": format!("one to {number}") },
    ])
}

/// What a run wrote of its evaluation.
fn evaluation(place: &Workplace) -> Value {
    let text = fs::read_to_string(place.path("run/evaluation.json")).expect("reads");
    serde_json::from_str(&text).expect("is JSON")
}

const TRAIN: [&str; 6] = ["train", "--config", "data.toml", "--run", "run", "--plain"];

#[test]
fn a_mix_of_conversations_in_three_formats_is_trained_on_and_evaluated() {
    let place = Workplace::new();
    place.write("a.jsonl", &lines((0..40).map(|n| json!({ "messages": talk(n) }))));
    let wrapped = (0..40).map(|n| {
        json!({ "conversations": [{ "from": "human", "value": format!("q {n}") }, { "from": "gpt", "value": "a" }] })
    });
    let wrapped = json!({ "version": 1, "data": wrapped.collect::<Vec<_>>() });
    place.write("b.json", &wrapped.to_string());
    let split = |n| {
        let turns = talk(n);
        json!({ "prompt": [turns[0]], "completion": [turns[1]] })
    };
    place.write("c.jsonl", &lines((100..140).map(split)));
    config(
        &place,
        "learn = \"assistant\"\nchat_template = \"chatml\"\nheldout_share = 0.2\nmix_until = \"all_exhausted\"\n\
         [[data.mix]]\npath = \"a.jsonl\"\nweight = 2\n[[data.mix]]\npath = \"b.json\"\nweight = 1\n\
         [[data.mix]]\npath = \"c.jsonl\"\nweight = 1\n",
    );
    place.succeed(&TRAIN);
    let found = evaluation(&place);
    let names: Vec<&Value> =
        found["models"].as_array().expect("a list").iter().map(|it| &it["name"]).collect();
    assert_eq!(names, ["before", "SFT"]);
    let loss = |model: usize| found["models"][model]["heldout_loss"].as_f64().expect("a number");
    assert!(loss(0).is_finite() && loss(1).is_finite());
    assert_eq!(found["judge"], Value::Null);
    // Run again, the very same: the draws follow from the seed.
    let again = [&TRAIN[..4], &["again", "--plain"]].concat();
    place.succeed(&again);
    let read = |run: &str| fs::read(place.path(run).join("evaluation.json")).expect("reads");
    assert_eq!(
        String::from_utf8_lossy(&read("run")).replace("run/", ""),
        String::from_utf8_lossy(&read("again")).replace("again/", "")
    );
}

#[test]
fn a_reward_model_learns_from_conversations() {
    let place = Workplace::new();
    place.write("talks.jsonl", &lines((0..60).map(|n| json!({ "messages": talk(n) }))));
    let pair = |n: usize| {
        let prompt = talk(n)[0].clone();
        let says = |text: &str| json!([{ "role": "assistant", "content": text }]);
        json!({ "prompt": [prompt], "chosen": says("one"), "rejected": says("no"), "margin": 0.1 })
    };
    place.write("pairs.jsonl", &lines((0..60).map(pair)));
    config(
        &place,
        "demonstrations = \"talks.jsonl\"\npreferences = \"pairs.jsonl\"\n\
         chat_template = \"chatml\"\nheldout_share = 0.2\n",
    );
    place.succeed(&[&TRAIN[..], &["--set", "stages=[\"sft\",\"reward\",\"evaluate\"]"]].concat());
    // The model is saved with the template that it was trained with.
    let model = model(&place);
    let asked = json!({ "messages": [talk(7)[0]] });
    place.write("asked.jsonl", &lines([asked]));
    place.succeed(&["generate", "--model", &model, "--input", "asked.jsonl", "--greedy"]);
    let settings = fs::read_to_string(format!("{model}/tokenizer_config.json")).expect("reads");
    assert!(settings.contains("chat_template") && settings.contains("im_start"), "{settings}");
    assert!(fs::exists(format!("{model}/chat_template.jinja")).expect("looks"));
    let judge = &evaluation(&place)["judge"];
    assert_eq!(judge["against"], "people");
    assert!(judge["all"]["n_pairs"].as_u64().is_some_and(|n| n > 0), "{judge}");
    let text = json!({ "prompt": "a", "chosen": "b", "rejected": "c" });
    place.write("pairs.jsonl", &lines((0..9).map(pair).chain([text])));
    let output = place.output(&[&TRAIN[..4], &["other", "--plain"]].concat());
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("pairs.jsonl:10: texts and conversations don't mix"), "{error}");
}

#[test]
fn a_policy_is_optimised_on_conversations() {
    let place = Workplace::new();
    place.write("talks.jsonl", &lines((0..60).map(|n| json!({ "messages": talk(n) }))));
    let pair = |n: usize| {
        let says = |text: &str| json!([{ "role": "assistant", "content": text }]);
        json!({ "prompt": [talk(n)[0]], "chosen": says("one"), "rejected": says("no") })
    };
    place.write("pairs.jsonl", &lines((0..60).map(pair)));
    // One of these ends messages with the end of sequence, the other with a text of several tokens.
    for template in ["zephyr", "chatml"] {
        config(
            &place,
            &format!(
                "demonstrations = \"talks.jsonl\"\npreferences = \"pairs.jsonl\"\n\
                 chat_template = \"{template}\"\nheldout_share = 0.2\n"
            ),
        );
        let sets =
            ["rl.steps=2", "rl.prompts_per_step=8", "rl.eval_prompts=4", "rl.sample_every=1"];
        let sets: Vec<&str> = sets.iter().flat_map(|it| ["--set", it]).collect();
        let run = ["train", "--config", "data.toml", "--run", template, "--plain"];
        place.succeed(&[&run[..], &sets].concat());
        let samples =
            fs::read_to_string(place.path(template).join("samples.jsonl")).expect("reads");
        assert!(samples.contains("\"prompt\":\"count to "), "what people read: {samples}");
        let found =
            fs::read_to_string(place.path(template).join("evaluation.json")).expect("reads");
        let found: Value = serde_json::from_str(&found).expect("is JSON");
        assert_eq!(found["models"].as_array().map(Vec::len), Some(3), "{found}");
    }
    // A prompt without room for an answer isn't asked, and that is told.
    let letter = |n: u32| char::from(b'a' + ((n * n * 31 + n * 17) % 1009 % 26) as u8);
    let long = json!([
        { "role": "user", "content": (0..400).map(letter).collect::<String>() },
        { "role": "assistant", "content": "y" },
    ]);
    let talks = (0..59).map(|n| json!({ "messages": talk(n) }));
    place.write("talks.jsonl", &lines(talks.chain([json!({ "messages": long })])));
    let plan = place.succeed(&["train", "--config", "data.toml", "--dry-run"]);
    assert!(plan.contains("prompts leave no room for `rl.max_new_tokens`"), "{plan}");
}

#[test]
fn preferences_are_optional_and_tables_do() {
    let place = Workplace::new();
    let rows: String = (0..60).map(|n| format!("say {n},\"fine, {n}\"\n")).collect();
    place.write("rows.csv", &format!("instruction,output\n{rows}"));
    let pair = |n| json!({ "chosen": format!("say {n} yes"), "rejected": format!("say {n} no") });
    place.write("pairs.jsonl", &lines((0..40).map(pair)));
    config(&place, "demonstrations = \"rows.csv\"\nheldout_share = 0.2\n");
    place.succeed(&TRAIN);
    assert!(!place.path("run/checkpoints/reward").exists());
    let model = model(&place);
    let table = place.succeed(&["inspect", "rows.csv", "--model", &model, "--rows", "0"]);
    assert!(
        table.starts_with("rows.csv: csv, schema alpaca of texts; columns instruction, output\n"),
        "{table}"
    );
    config(
        &place,
        "demonstrations = \"rows.csv\"\npreferences = \"pairs.jsonl\"\nheldout_share = 0.2\n",
    );
    place.succeed(&[
        "train",
        "--config",
        "data.toml",
        "--run",
        "more",
        "--plain",
        "--set",
        "stages=[\"sft\",\"reward\"]",
    ]);
    assert!(place.path("more/checkpoints/reward/finished.json").exists());
}

#[test]
fn inspect_shows_rows_and_tells_what_is_wrong() {
    let place = Workplace::new();
    let pair =
        |prompt: &str, completion: &str| json!({ "prompt": prompt, "completion": completion });
    place.write("good.jsonl", &lines((0..20).map(|n| pair(&format!("p {n}"), "c"))));
    config(&place, "demonstrations = \"good.jsonl\"\nheldout_share = 0.2\n");
    place.succeed(&TRAIN);
    let rows = [
        pair("<|eos|>", "de<|eos|>"),
        json!({ "prompt": "x" }),
        pair("\u{1b}[2J", "f"),
        pair("0123456789", "a"),
    ];
    place.write("rows.jsonl", &lines(rows));
    let model = model(&place);
    let args = ["inspect", "rows.jsonl", "--model", &model, "--max-tokens", "12", "--rows", "4"];
    let output = place.output(&args);
    assert_eq!(output.status.code(), Some(2));
    expect![[r#"
        rows.jsonl: jsonl, schema prompt-completion of texts; columns prompt, completion

        line 1: 11 tokens, 3 learned
          <|bos|>\<|eos|>⟦de<|eos|>⟧

        line 3: 7 tokens, 2 learned
          <|bos|>\u{1b}[2J⟦f<|eos|>⟧

        line 4: 13 tokens, 2 learned
          <|bos|>0123456789⟦a ✂ <|eos|>⟧

        tokens           min    50 %    90 %    99 %     max
        prompt             5       8      11      11      11
        completion         2       2       3       3       3
        row                7      11      13      13      13

        4 examples, 3 rows of 31 tokens; 22.6 % of them are learned
        cut at 12 tokens: 1 of 3 rows lose their end, 0 have nothing left to learn and are dropped; 3.2 % of all tokens are lost

        1 of 4 examples can't be used:
          rows.jsonl:2: no column `completion`; found `prompt` (the schema is prompt-completion)
    "#]]
    .assert_eq(&String::from_utf8_lossy(&output.stdout));
    let output = place.output(&[&args[..], &["--json"]].concat());
    let found: Value = serde_json::from_slice(&output.stdout).expect("is JSON");
    assert_eq!((&found["examples"], &found["problems"]["count"]), (&json!(4), &json!(1)));
    assert_eq!(found["row"]["max"], 13);
    assert_eq!(found["cut"]["n_truncated"], 1);
    assert_eq!(found["shown"][0]["learned"], json!([&[false; 8][..], &[true; 3]].concat()));
    // The model's own length where none is given.
    let found = place.succeed(&["inspect", "good.jsonl", "--model", &model, "--json"]);
    let found: Value = serde_json::from_str(&found).expect("is JSON");
    assert_eq!(found["max_tokens"], 160);
}

/// A run that fits a reward model to `judged.jsonl`, with these settings; what it told.
fn judge(place: &Workplace, run: &str, set: &str) -> String {
    config(place, "preferences = \"judged.jsonl\"\nheldout_share = 0.2\n");
    let sets = ["stages=[\"sft\",\"reward\"]", "reward.reference_completions=16", set];
    let mut args = vec!["train", "--config", "data.toml", "--plain", "--run", run];
    sets.iter().for_each(|set| args.extend(["--set", set]));
    let output = place.output(&args);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() || told.contains("error: "), "{told}");
    told
}

/// The folder of the reward model that a run left.
fn reward_model(place: &Workplace, run: &str) -> String {
    let folders = fs::read_dir(place.path(run).join("checkpoints/reward")).expect("reads");
    let folders = folders.map(|it| it.expect("reads").path()).filter(|it| it.is_dir());
    folders.max().expect("there is a checkpoint").join("model").display().to_string()
}

/// Rankings with ties are learned from, odd rows are told, and `rein reward evaluate` measures what came of it.
#[test]
fn a_reward_model_of_rankings_is_trained_and_measured() {
    let place = Workplace::new();
    let ranking = |n: usize| {
        let replies = [format!("he counts {n}"), "no".into(), "maybe".into()];
        json!({ "prompt": format!("count to {n}"), "completions": replies, "ranks": [1, 3, 1 + n % 2],
                "weight": 2, "subset": if n.is_multiple_of(2) { "even" } else { "odd" } })
    };
    let same = json!({ "prompt": "count", "completions": ["a", "a"], "ranks": [1, 2] });
    place.write("judged.jsonl", &lines((0..60).map(ranking).chain([same])));
    let told = judge(&place, "run", "reward.loss.ties=davidson");
    for note in [
        "judged.jsonl: 1 of 61 judgements compare completions that are the same, and are left out",
        "the fine-tuned model completes 16 training prompts; rewards are normalised by these",
        "reward: agrees with ",
    ] {
        assert!(told.contains(note), "{told}");
    }
    let model = reward_model(&place, "run");
    let args =
        ["reward", "evaluate", "--reward-model", &model, "--data", "judged.jsonl", "--swaps"];
    let table = place.succeed(&[&args[..], &["--output", "report.json"]].concat());
    for line in ["gender: men, women", "the best scored highest"] {
        assert!(table.contains(line), "{table}");
    }
    let found = fs::read_to_string(place.path("report.json")).expect("reads");
    let found: Value = serde_json::from_str(&found).expect("is JSON");
    let report = &found["report"];
    assert_eq!(report["n_judgements"], 60);
    assert_eq!(report["categories"]["even"]["n_cases"], 30);
    let accuracy = report["accuracy"]["value"].as_f64().expect("a number");
    assert!((0.0..=1.0).contains(&accuracy), "{report}");
    // Every text's first reply has a man in it.
    assert_eq!(found["reward_swaps"][0]["n_texts"], 60);
}

/// Grades are learned from by the thresholds between them, and refused where they lie outside of their range.
#[test]
fn a_reward_model_of_grades_knows_their_thresholds() {
    let place = Workplace::new();
    let graded = |n: usize| json!({ "completion": format!("it is {n}"), "score": 1 + n % 3 });
    place.write("judged.jsonl", &lines((0..60).map(graded)));
    judge(&place, "run", "reward.loss.score=ordinal");
    let saved = format!("{}/config.json", reward_model(&place, "run"));
    let saved = fs::read_to_string(saved).expect("reads");
    let saved: Value = serde_json::from_str(&saved).expect("is JSON");
    assert_eq!(saved["reward_objective"]["levels"], json!([1.0, 2.0, 3.0]));
    let thresholds = saved["reward_objective"]["thresholds"].as_array().expect("a list");
    assert!(thresholds[0].as_f64() < thresholds[1].as_f64(), "{thresholds:?}");
    let error = judge(&place, "range", "reward.loss.score_range=[1, 2]");
    let reason = "scores lie outside of `reward.loss.score_range` = [1, 2]";
    assert!(error.contains(reason), "{error}");
    assert!(!place.path("range").exists(), "refused before anything is made");
}
